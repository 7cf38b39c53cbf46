"""The transactions of requests: pyramid_tm keeps them, and nobody waits for one longer than its writes take."""

import os
import sqlite3
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any
from xmlrpc.client import MultiCall

import pytest
from sqlalchemy import func, select

from data_mover.domain.states import Status
from data_mover.store.database import Database
from data_mover.store.models import Event, Job
from tests.servers.deployment import deployment, host_table
from tests.servers.processes import eventually

CLIENTS = 8
#: PostgreSQL has locks of rows
of_sqlite = pytest.mark.parametrize("database_url", ["sqlite"], indirect=True)


@pytest.fixture
def service(tmp_path, redis_url, database_url):
    """Without a worker: what is submitted stays as it is."""
    for name in ("disk", "archive"):
        (tmp_path / name).mkdir()
    registry = host_table("disk", {"protocol": "local", "root": tmp_path / "disk", "roles": ["source"]})
    registry += host_table("archive", {"protocol": "local", "root": tmp_path / "archive", "roles": ["destination"]})
    url = database_url.render_as_string(hide_password=False).replace("%", "%%")
    with deployment(tmp_path / "service", redis_url, registry, database_url=url) as service:
        service.start_web()
        yield service


@pytest.fixture
def stranger(service, database_url):
    """Another program with SQLite's file."""
    with closing(sqlite3.connect(str(database_url.database), isolation_level=None)) as connection:
        yield connection


def test_the_transaction_manager_is_among_the_tweens(service):
    program = Path(sys.executable).parent / "ptweens"
    environment = {**os.environ, "DATA_MOVER_INI": str(service.ini)}
    listed = subprocess.run([program, service.ini], env=environment, capture_output=True, text=True, check=True).stdout

    assert "pyramid_tm.tm_tween_factory" in listed


def test_calls_of_a_multicall_have_transactions_of_their_own(service):
    with service.proxy as proxy:
        calls = MultiCall(proxy)
        calls.move("local://disk/a", "local://archive/a")
        calls.move("local://nowhere/a", "local://archive/b")
        calls.move("local://disk/a", "local://archive/c", "no struct", "too many")
        calls.move("local://disk/a", "local://archive/d")
        answers: Any = calls().results

        assert [isinstance(answer, list) and answer[0]["status"] for answer in answers] == [
            "PENDING",
            "REJECTED",
            False,
            "PENDING",
        ]
        assert len(proxy.jobs()) == 2


@of_sqlite
def test_what_only_reads_does_not_wait_for_a_writer(service, stranger):
    with service.proxy as proxy:
        job_id = proxy.move("local://disk/a", "local://archive/a")["id"]
        stranger.execute("BEGIN IMMEDIATE")

        assert proxy.check(job_id)["status"] == "PENDING"
        assert [job["id"] for job in proxy.jobs()] == [job_id]
        stranger.execute("ROLLBACK")


@of_sqlite
def test_no_transaction_is_open_while_a_call_waits(service, stranger):
    with service.proxy as proxy, ThreadPoolExecutor(1) as pool:
        job_id = proxy.move("local://disk/a", "local://archive/a")["id"]
        waiting = pool.submit(waited, service, job_id)
        eventually(waiting.running, "it waits")

        eventually(lambda: not is_read(stranger), "nobody reads")
        assert waiting.running()
        proxy.cancel(job_id)

        assert waiting.result()["status"] == "CANCELLED"


@of_sqlite
def test_a_write_that_fails_leaves_nothing_and_the_next_one_succeeds(service, stranger):
    with service.proxy as proxy:
        stranger.execute("BEGIN IMMEDIATE")
        with pytest.raises(Exception, match="-32010"):
            proxy.move("local://disk/a", "local://archive/a")
        stranger.execute("ROLLBACK")

        job_id = proxy.move("local://disk/a", "local://archive/a")["id"]

        assert [job["id"] for job in proxy.jobs()] == [job_id]


@pytest.mark.parametrize("moves", [40, pytest.param(2000, marks=pytest.mark.soak)])
def test_many_clients_that_write_while_workers_move_lose_nothing(service, database_url, moves):
    (service.directory.parent / "disk" / "a").write_text("content")
    for start in (service.start_worker, service.start_worker, service.start_sweeper):
        start()

    def submit(client):
        with service.proxy as proxy:
            paths = [f"local://archive/{client}-{number}" for number in range(moves // CLIENTS)]
            return [proxy.move("local://disk/a", path)["id"] for path in paths]

    with ThreadPoolExecutor(CLIENTS) as pool:
        ids = [job_id for answered in pool.map(submit, range(CLIENTS)) for job_id in answered]

    assert sorted(ids) == list(range(1, moves + 1))
    with closing(Database(database_url)) as database:
        eventually(lambda: counted(database, Job.ended_ms.is_not(None)) == moves, "all have ended", 60 + moves / 2)
        assert counted(database, Job.status == Status.COMPLETED) == moves
        with database.reading() as session:
            counters, events = session.scalars(select(func.sum(Job.events))).one(), select(func.count(Event.id))
            assert counters == session.scalars(events).one()
    assert len(list((service.directory.parent / "archive").iterdir())) == moves


def counted(database, *which):
    with database.reading() as session:
        return session.scalars(select(func.count()).select_from(Job).where(*which)).one()


def is_read(connection):
    """Whether a transaction of somebody else keeps SQLite from emptying its log."""
    busy, *_ = connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
    return busy


def waited(service, job_id):
    with service.proxy as proxy:
        return proxy.wait(job_id, 20)
