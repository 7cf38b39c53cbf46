"""The Python client against a running service, and what is shipped of it."""

import subprocess
import sys
import zipfile
from itertools import islice
from pathlib import Path

import pytest

from data_mover.client import Client, MoveFailed, Rejected, ServiceUnavailable
from tests.servers.processes import free_port

PROJECT = Path(__file__).resolve().parents[2]


@pytest.fixture
def client(service):
    with Client(service.url) as client:
        yield client


def test_a_move_is_waited_for_with_its_progress(client, roots):
    (roots.disk / "client.txt").write_text("by the client")
    seen = []

    move = client.move("disk:/client.txt", "archive:/client/").wait(60, progress=lambda now: seen.append(now.status))

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


def test_the_client_is_shipped_alone(tmp_path):
    command = [sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-q"]
    subprocess.run([*command, "-w", str(tmp_path), str(PROJECT / "packaging" / "client")], check=True)

    wheel = next(tmp_path.glob("data_mover_client-*.whl"))
    names = {name for name in zipfile.ZipFile(wheel).namelist() if not name.startswith("data_mover_client-")}
    sources = {f"data_mover/client/{path.name}" for path in (PROJECT / "data_mover" / "client").glob("*.py")}
    zipfile.ZipFile(wheel).extractall(tmp_path / "site")
    program = "import sys, data_mover.client as client; print(client.__file__); print(*sys.modules)"
    environment = {"PYTHONPATH": str(tmp_path / "site"), "PATH": "/usr/bin"}
    ran = subprocess.run([sys.executable, "-c", program], env=environment, cwd=tmp_path, capture_output=True, text=True)

    assert names == {*sources, "data_mover/client/py.typed"}
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.startswith(str(tmp_path / "site"))
    assert not {"pyramid", "sqlalchemy", "data_mover.domain"} & set(ran.stdout.split())
