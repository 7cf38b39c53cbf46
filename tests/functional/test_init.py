"""`data_mover init`: what it writes is a deployment that works at once."""

import json
import os
import pty
import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path

import pytest
from click.testing import CliRunner

from data_mover.checks.config import check_configuration
from data_mover.cli.main import main
from data_mover.domain.child_environment import environment
from tests.servers.processes import free_port, running, started

SCRIPTS = Path(sys.executable).parent


def init(directory, *arguments):
    return CliRunner().invoke(main, ["--json", "init", str(directory), *arguments])


def written(directory):
    return sorted(path.name for path in directory.iterdir()) if directory.exists() else []


def test_what_is_written_moves_its_first_file_at_once(tmp_path, redis_url):
    """By the commands that `init` prints."""
    directory, port = tmp_path / "a mover", free_port()
    made = init(directory, "--redis", redis_url, "--listen", f"127.0.0.1:{port}", "--caller", "portal")
    report = json.loads(made.stdout)
    ini = str(directory / "data_mover.ini")
    command = [str(SCRIPTS / "data_mover"), "-c", ini]
    with ExitStack() as stack:
        for name, process in ("web", [str(SCRIPTS / "pserve"), ini]), ("worker", [*command, "worker"]):
            begun = stack.enter_context(running(process, tmp_path / f"{name}.log"))
            if name == "web":
                started(begun, port, tmp_path / "web.log")
        moved = subprocess.run(
            [*command, "move", "source:/hello.txt", "destination:/", "--wait"],
            env={**os.environ, "DATA_MOVER_TOKEN": report["caller"]["token"]},
            capture_output=True,
            text=True,
            timeout=120,
        )

    assert (made.exit_code, report["problems"]) == (0, [])
    assert moved.returncode == 0, moved.stderr + (tmp_path / "worker.log").read_text()
    assert (directory / "destination" / "hello.txt").read_bytes() == (directory / "source" / "hello.txt").read_bytes()


def test_all_three_files_are_explained_and_pass_check_config(tmp_path, redis_url):
    made = init(tmp_path / "mover", "--redis", redis_url, "--caller", "portal", "--source", str(tmp_path))

    files = {
        name: (tmp_path / "mover" / name).read_text() for name in ("data_mover.ini", "registry.toml", "callers.toml")
    }
    assert all(text.startswith("# ") for text in files.values())
    assert json.loads(made.stdout)["caller"]["token"] not in "".join(files.values())
    assert [each for each in check_configuration(str(tmp_path / "mover/data_mover.ini")) if not each.passed] == []
    assert not (tmp_path / "hello.txt").exists()


def test_nothing_is_overwritten(tmp_path):
    (tmp_path / "registry.toml").write_text("[hosts]\n")

    made = init(tmp_path)

    assert made.exit_code == 1
    assert "has registry.toml already; nothing was written" in made.stderr
    assert written(tmp_path) == ["registry.toml"]


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        (["--database", "oracle://here/x"], "must be a database of SQLite or PostgreSQL"),
        (["--redis", "redis://:hunter2@here"], "must not contain a password"),
        (["--redis-password", "hunter2"], "never the secret itself"),
        (["--listen", "0.0.0.0:6543"], "can be reached from other machines"),
        (["--caller", "a portal"], "a name has letters"),
    ],
)
def test_what_the_service_would_refuse_is_not_written(tmp_path, arguments, problem):
    made = init(tmp_path / "mover", *arguments)

    assert made.exit_code == 1
    assert problem in made.stderr
    assert "hunter2" not in made.stderr
    assert written(tmp_path / "mover") == []


def test_a_terminal_is_asked_for_what_is_left_out(tmp_path):
    mine, its = pty.openpty()
    command = [str(SCRIPTS / "data_mover"), "init", "mover", "--redis", "redis://127.0.0.1:1/0"]
    os.write(mine, b"\n127.0.0.1:7777\n\n\nportal\n")

    ran = subprocess.run(
        command, cwd=tmp_path, env={**environment(), "PATH": os.defpath}, stdin=its, capture_output=True, text=True
    )

    assert ran.returncode == 1  # no Redis answers there
    assert "Where the service listens [127.0.0.1:6543]: " in ran.stderr
    assert "URL of Redis" not in ran.stderr
    assert "listen = 127.0.0.1:7777" in (tmp_path / "mover/data_mover.ini").read_text()
    assert "dm_portal_" in ran.stdout
    assert f"  {SCRIPTS / 'pserve'} {tmp_path / 'mover/data_mover.ini'}\n" in ran.stderr
