"""The Python client against a running service, and what is shipped of it."""

import asyncio
import importlib.util
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path

import pytest

from data_mover.client import Client, MoveFailed, NotAllowed, Rejected, ServiceUnavailable
from tests.servers.processes import free_port

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def client(service):
    with Client(service.url) as client:
        yield client


def test_a_move_is_waited_for_with_its_progress(client, roots):
    (roots.disk / "client.txt").write_text("by the client")
    seen = []

    move = client.move("disk:/client.txt", "archive:/client/").wait(120, progress=lambda now: seen.append(now.status))

    assert (move.status, seen[-1]) == ("COMPLETED", "COMPLETED")
    assert [file["path"] for file in move.files()] == ["/client/client.txt"]
    assert move.events()[0]["event"] == "submitted"
    assert move.explain()["cause"] == "ended"
    assert client.get(move.id).refresh().status == "COMPLETED"


def test_a_move_that_fails_says_why_and_who_can_fix_it(client):
    move = client.move("disk:/nothing.txt", "archive:/")

    with pytest.raises(MoveFailed) as failure:
        move.wait(60)

    assert (failure.value.code, failure.value.retryable) == ("no-such-file", False)
    assert failure.value.who_can_fix == "caller"
    assert move.retry().id > move.id


def test_a_refusal_names_the_field(client):
    with pytest.raises(Rejected) as refusal:
        client.move("nowhere:/x", "archive:/")

    assert refusal.value.reason.startswith("Unknown source 'nowhere'")
    with pytest.raises(Rejected, match="unknown option"):
        client.move("DATA_TYPE:12", colour="red")


def test_the_same_key_gives_the_same_move(client):
    first, second = (client.move("DATA_TYPE:12", "archive:/k", key="of the client") for _ in range(2))

    assert first.id == second.id


def test_moves_are_listed_over_all_pages(client):
    ids = [client.move("DATA_TYPE:12", label="listed").id for _ in range(3)]

    assert [move.id for move in client.list(label="listed", limit=2)] == ids[::-1]
    assert len(list(islice(client.list(), 2))) == 2


def test_a_wait_that_is_too_short_leaves_the_move_running(client):
    client.pause("archive")
    try:
        move = client.move("DATA_TYPE:12", "archive:/late.csv")
        with pytest.raises(TimeoutError):
            move.wait(0.3)
        cancelled = move.cancel().status
    finally:
        client.resume("archive")

    assert cancelled == "CANCELLED"
    assert {"archive", "disk"} <= {host["name"] for host in client.hosts()}
    assert client.plan("DATA_TYPE:12", "archive:/late.csv")["complete"]


def test_a_service_that_does_not_answer_is_reported():
    with Client(f"http://127.0.0.1:{free_port()}") as client, pytest.raises(ServiceUnavailable):
        client.hosts()


def test_a_page_of_somebody_else_is_no_answer(service):
    with Client(service.url.replace("/data_mover", "/elsewhere")) as client, pytest.raises(Rejected):
        client.hosts()


def test_a_wait_survives_a_service_that_is_started_again(client, service):
    client.pause("archive")
    try:
        move = client.move("DATA_TYPE:12", "archive:/restarted.csv")
        with ThreadPoolExecutor(1) as beside:
            waited = beside.submit(move.wait, 120)
            service.stop(service.processes[0])
            service.start_web()
            client.resume("archive")

            assert waited.result().status == "COMPLETED"
    finally:
        client.resume("archive")


def test_a_coroutine_waits_in_a_thread(client):
    """As docs/reference/client.md says."""

    async def move_two():
        moves = [await asyncio.to_thread(client.move, "DATA_TYPE:12", f"archive:/async-{name}") for name in "ab"]
        return await asyncio.gather(*(asyncio.to_thread(move.wait, 60) for move in moves))

    with ThreadPoolExecutor(1) as thread:  # a browser of other tests may run a loop in this one
        moves = thread.submit(asyncio.run, move_two()).result()

    assert [move.status for move in moves] == ["COMPLETED", "COMPLETED"]


def test_errors_cross_the_borders_of_processes():
    answer = {"id": 7, "status": "FAILED", "code": "no-space", "reason": "x", "retryable": False, "who_can_fix": "y"}
    for error in (MoveFailed(answer), Rejected("Unknown source 'x'", "unknown-host", "source"), NotAllowed("no")):
        again = pickle.loads(pickle.dumps(error))

        assert (type(again), str(again), vars(again)) == (type(error), str(error), vars(error))


#: what the client needs, and all that its environment has beside it
NEEDED = ("httpx", "httpcore", "h11", "anyio", "idna", "certifi", "typing_extensions")


def test_the_client_is_shipped_alone(tmp_path):
    """It is built, and installed where there is nothing else of Data Mover."""
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check"]
    build = [*pip, "wheel", "--no-deps", "--no-build-isolation", "-q", "-w", str(tmp_path)]
    subprocess.run([*build, str(PROJECT / "packaging" / "client")], check=True)
    wheel = next(tmp_path.glob("data_mover_client-*.whl"))
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", str(tmp_path / "venv")], check=True)
    python = tmp_path / "venv" / "bin" / "python"
    subprocess.run([*pip, "--python", str(python), "install", "-q", "--no-index", "--no-deps", str(wheel)], check=True)
    site = next((tmp_path / "venv" / "lib").glob("python*/site-packages"))
    for name in NEEDED:
        found = Path(importlib.util.find_spec(name).origin)
        found = found.parent if found.name == "__init__.py" else found
        (site / found.name).symlink_to(found)

    program = "import sys, data_mover.client as client; print(client.__file__); print(*sys.modules)"
    ran = subprocess.run([python, "-I", "-c", program], cwd=tmp_path, capture_output=True, text=True)

    sources = {path.name for path in (PROJECT / "data_mover" / "client").glob("*.py")}
    assert {path.name for path in (site / "data_mover").iterdir()} == {"client"}
    assert {path.name for path in (site / "data_mover/client").iterdir()} - {"__pycache__"} == {*sources, "py.typed"}
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(str(site))
    assert not {"pyramid", "sqlalchemy", "data_mover.domain"} & set(ran.stdout.split())
