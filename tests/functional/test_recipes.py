"""The programs in docs/recipes, run as their readers run them."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.processes import absent, eventually, program, running

RECIPES = Path(__file__).parents[2] / "docs" / "recipes"
SCRIPTS = Path(sys.executable).parent


@pytest.fixture
def run(service, redis_url):
    """Runs a program in the folder of the recipes."""

    def run(*command):
        return subprocess.run(command, cwd=RECIPES, env=variables(service, redis_url), capture_output=True, text=True)

    return run


def variables(service, redis_url):
    url = f"http://127.0.0.1:{service.port}"
    celery = {"CELERY_BROKER_URL": redis_url, "CELERY_RESULT_BACKEND": redis_url}
    return {**os.environ, **celery, "DATA_MOVER_URL": url, "PYTHONDONTWRITEBYTECODE": "1"}


ASK = """
from celery_task import publish
print(publish.delay("DATA_TYPE:12", "archive:/celery/").get(timeout=100))
try:
    publish.delay("disk:/nothing.txt", "archive:/").get(timeout=100)
except Exception as failure:
    print(type(failure).__name__, failure.code, failure)
"""


def test_a_celery_task_moves_a_file_and_fails_with_the_reason(run, service, roots, redis_url, tmp_path):
    command = [str(SCRIPTS / "celery"), "-A", "celery_task", "worker", "--pool", "solo", "--loglevel", "INFO"]
    log = tmp_path / "celery.log"
    with running(command, log, cwd=RECIPES, env=variables(service, redis_url)):
        eventually(lambda: "ready." in log.read_text(), "a worker of Celery")
        asked = run(sys.executable, "-c", ASK)

    assert asked.returncode == 0, asked.stderr + log.read_text()
    arrived, failed = asked.stdout.splitlines()
    assert "'path': '/celery/12.csv'" in arrived
    assert failed.startswith("MoveFailed no-such-file move ")
    assert (roots.archive / "celery" / "12.csv").read_text() == "species,count\nkoala,3\n"


def test_every_cell_of_the_notebook_runs(run, roots):
    """Its code is plain Python, so that no Jupyter is needed to try it."""
    cells = json.loads((RECIPES / "moves.ipynb").read_text())["cells"]
    code = "\n".join("".join(cell["source"]) for cell in cells if cell["cell_type"] == "code")

    ran = run(sys.executable, "-c", code)

    assert ran.returncode == 0, ran.stderr
    assert "/notebook/12.csv sha256" in ran.stdout
    assert "no-such-file | " in ran.stdout
    assert (roots.visualizer / "notebook" / "12.csv").exists()


def test_r_moves_a_file_once_and_ends_with_the_reason_of_a_failure(run, roots):
    rscript = program("Rscript")
    if run(rscript, "-e", "library(curl); library(jsonlite)").returncode:
        absent("R has no curl or no jsonlite")

    moved, again = (run(rscript, "move.R", "DATA_TYPE:12", "archive:/r/") for _ in range(2))
    failed = run(rscript, "move.R", "disk:/nothing.txt", "archive:/")
    refused = run(rscript, "move.R", "nowhere:/x", "archive:/")

    assert moved.returncode == 0, moved.stderr
    assert moved.stdout.startswith("/r/12.csv ")
    assert again.stdout == moved.stdout
    assert (failed.returncode, refused.returncode) == (1, 1)
    assert "Unknown source 'nowhere'" in refused.stderr
