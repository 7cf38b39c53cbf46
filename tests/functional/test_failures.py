"""Failures: what the service reports, and what stays behind."""

import os
import shutil
import signal
import stat
import time
from contextlib import ExitStack, contextmanager
from pathlib import Path
from types import SimpleNamespace
from xmlrpc.client import Fault

import pytest
from redis import Redis
from rq import Queue
from sqlalchemy import func, select
from sqlalchemy.engine import make_url

from data_mover.store.database import Database
from data_mover.store.models import TemporaryFile
from tests.servers.deployment import deployment, host_table
from tests.servers.openssh import openssh_server
from tests.servers.postgresql import postgresql_server
from tests.servers.processes import answers, end, eventually, free_port
from tests.servers.redis import redis_server

IMPATIENT = """
data_mover.max_attempts = 2
data_mover.retry_first_seconds = 0.1
data_mover.lease_seconds = 2
"""


@contextmanager
def prepared(directory, openssh):
    """A service of its own, with Redis and hosts that a test may break; nothing runs yet."""
    roots = SimpleNamespace(disk=directory / "disk", vis=directory / "vis")
    roots.disk.mkdir()
    roots.vis.mkdir()
    (roots.disk / "a").write_bytes(os.urandom(1_000_000))
    redis_port = free_port()
    hosts = {"idle_timeout_seconds": 3, "connect_timeout_seconds": 2}
    registry = (
        host_table("disk", {"protocol": "local", "root": roots.disk, "roles": ["source"]})
        + host_table("vis", openssh.options(roots.vis, **hosts))
        + host_table("slow", openssh.options(roots.vis, bandwidth="2MB/s", **hosts))
        + host_table("away", openssh.options(roots.vis, port=free_port(), **hosts))
    )
    with deployment(directory / "service", f"redis://127.0.0.1:{redis_port}/0", registry, extra=IMPATIENT) as service:
        yield SimpleNamespace(
            service=service, roots=roots, redis=lambda: redis_server(directory / "redis", redis_port), port=redis_port
        )


@contextmanager
def everything_started(world):
    with world.redis():
        world.service.start_web()
        world.service.start_worker()
        world.service.start_sweeper()
        yield


@pytest.fixture
def world(tmp_path, openssh):
    with prepared(tmp_path, openssh) as world:
        yield world


@pytest.fixture
def running(world):
    """The world with everything started."""
    with everything_started(world):
        yield world


@pytest.fixture(scope="module")
def _shared(tmp_path_factory, openssh):
    with prepared(tmp_path_factory.mktemp("shared"), openssh) as world, everything_started(world):
        yield world


@pytest.fixture
def shared(_shared):
    """A running world for tests that neither end nor replace a part of it; nothing has been moved there."""
    shutil.rmtree(_shared.roots.vis)
    _shared.roots.vis.mkdir()
    return _shared


def temporary_files(world):
    return [name for name in os.listdir(world.roots.vis) if name.startswith(".data_mover-")]


def recorded_temporary_files(world):
    database = Database(make_url(f"sqlite:///{world.service.directory}/jobs.db"))
    with database.reading() as session:
        count = session.scalars(select(func.count()).select_from(TemporaryFile)).one()
    database.close()
    return count


def in_mid_copy(world, job_id):
    """Waits until bytes of a slow move have arrived."""
    with world.service.proxy as proxy:
        eventually(lambda: proxy.check(job_id)["bytes_done"] > 0, "bytes have moved")


def submit_slowly(world, size=40_000_000):
    (world.roots.disk / "large").write_bytes(os.urandom(size))
    with world.service.proxy as proxy:
        return proxy.move("local://disk/large", "sftp://slow/large")["id"]


def test_a_host_that_stays_away_fails_the_move_at_its_deadline_and_says_who_can_help(shared):
    eventually(lambda: "Listening" in shared.service.log("worker"), "the worker listens")
    with shared.service.proxy as proxy:
        shared.service.ended(proxy.move("local://disk/a", "sftp://vis/a")["id"])  # the worker has started
        job = shared.service.ended(proxy.move("local://disk/a", "sftp://away/a", {"deadline": 12})["id"])
        health = {host["name"]: host["health"] for host in proxy.hosts()}

    assert (job["status"], job["code"], job["attempt"]) == ("FAILED", "host-unreachable", 1)
    assert job["retryable"]
    assert job["who_can_fix"] == "host owner"
    assert "away" in job["reason"]
    assert "127.0.0.1" not in job["reason"]
    assert health["away"] == "failing"


def test_a_killed_worker_loses_its_job_to_the_next_which_leaves_nothing_behind(running):
    job_id = submit_slowly(running, 6_000_000)
    in_mid_copy(running, job_id)

    running.service.workers[0].send_signal(signal.SIGKILL)
    running.service.start_worker()
    job = running.service.ended(job_id)

    assert (job["status"], job["attempt"]) == ("COMPLETED", 2)
    assert (running.roots.vis / "large").read_bytes() == (running.roots.disk / "large").read_bytes()
    assert temporary_files(running) == []
    assert recorded_temporary_files(running) == 0


def test_a_work_horse_dies_with_its_worker(running):
    job_id = submit_slowly(running)
    in_mid_copy(running, job_id)
    worker = running.service.workers[0]
    [horse] = Path(f"/proc/{worker.pid}/task/{worker.pid}/children").read_text().split()

    worker.send_signal(signal.SIGKILL)

    eventually(lambda: not os.path.exists(f"/proc/{horse}"), "the work-horse is gone", 5)


def test_past_its_deadline_a_running_job_ends_and_its_bytes_are_cleared(shared):
    (shared.roots.disk / "large").write_bytes(os.urandom(40_000_000))
    with shared.service.proxy as proxy:
        job_id = proxy.move("local://disk/large", "sftp://slow/large", {"deadline": 2})["id"]

    job = shared.service.ended(job_id)

    assert (job["status"], job["code"]) == ("FAILED", "deadline")
    assert not (shared.roots.vis / "large").exists()
    eventually(lambda: temporary_files(shared) == [], "the temporary file is gone")
    eventually(lambda: recorded_temporary_files(shared) == 0, "nothing is on record")


def test_a_source_that_changes_while_it_is_read_is_not_published(shared):
    job_id = submit_slowly(shared, 4_000_000)
    in_mid_copy(shared, job_id)

    with (shared.roots.disk / "large").open("ab") as file:
        file.write(b"more")
    job = shared.service.ended(job_id)

    assert job["status"] == "COMPLETED"
    assert job["attempt"] == 2
    assert (shared.roots.vis / "large").read_bytes() == (shared.roots.disk / "large").read_bytes()
    assert temporary_files(shared) == []


def test_a_destination_that_vanishes_in_mid_copy_is_made_anew(shared):
    (shared.roots.disk / "large").write_bytes(os.urandom(4_000_000))
    with shared.service.proxy as proxy:
        job_id = proxy.move("local://disk/large", "sftp://slow/maps/large")["id"]
    in_mid_copy(shared, job_id)

    shutil.rmtree(shared.roots.vis / "maps")
    job = shared.service.ended(job_id)

    assert (job["status"], job["attempt"]) == ("COMPLETED", 2)
    assert (shared.roots.vis / "maps" / "large").read_bytes() == (shared.roots.disk / "large").read_bytes()
    assert os.listdir(shared.roots.vis / "maps") == ["large"]
    eventually(lambda: recorded_temporary_files(shared) == 0, "nothing is on record")


def test_without_redis_moves_are_accepted_at_once_and_run_when_it_is_back(world):
    world.service.start_web()
    world.service.start_sweeper()
    with world.service.proxy as proxy:
        began = time.monotonic()
        ids = [proxy.move("local://disk/a", f"sftp://vis/{number}")["id"] for number in range(5)]
        assert time.monotonic() - began < 5
        assert proxy.check(ids[0])["status"] == "PENDING"

    with world.redis():
        world.service.start_worker()
        assert {world.service.ended(job_id)["status"] for job_id in ids} == {"COMPLETED"}


def test_a_worker_outlives_an_absence_of_redis_and_the_copy_continues(world):
    world.service.start_web()
    world.service.start_sweeper()
    with world.redis():
        worker = world.service.start_worker()
        job_id = submit_slowly(world, 10_000_000)
        in_mid_copy(world, job_id)
    eventually(lambda: not answers(world.port), "Redis is away")

    assert world.service.ended(job_id)["status"] == "COMPLETED"

    with world.redis():
        with world.service.proxy as proxy:
            job_id = proxy.move("local://disk/a", "sftp://vis/after")["id"]
        assert world.service.ended(job_id)["status"] == "COMPLETED"
        assert worker.poll() is None


def test_redis_has_a_doorbell_job_that_names_nothing_and_runs_nothing_else(world):
    with world.redis() as url:
        world.service.start_web()
        connection = Redis.from_url(url)
        with world.service.proxy as proxy:
            job_id = proxy.move("local://disk/a", "sftp://vis/secret-name")["id"]
        [doorbell] = connection.keys("rq:job:*")
        held = repr(connection.hgetall(doorbell))
        assert "secret-name" not in held

        mark = world.service.directory / "mark"
        Queue("moves", connection=connection, serializer="json").enqueue("os.system", f"touch {mark}")
        Queue("moves", connection=connection).enqueue("os.system", f"touch {mark}")
        world.service.start_worker()

        assert world.service.ended(job_id)["status"] == "COMPLETED"
        eventually(lambda: connection.llen("rq:queue:moves") == 0, "everything in the queue was heard")
        with world.service.proxy as proxy:
            after = proxy.move("local://disk/a", "sftp://vis/after")["id"]
        world.service.start_sweeper()
        assert world.service.ended(after)["status"] == "COMPLETED"
        assert not mark.exists()
        connection.close()


def test_a_worker_that_finds_every_slot_taken_goes_back_to_sleep(world):
    """If it woke workers for what it could not claim, it would wake itself without end."""
    registry = world.service.directory / "registry.toml"
    registry.write_text(registry.read_text().replace("bandwidth", "max_transfers = 1\nbandwidth"))
    with world.redis():
        world.service.start_web()
        for _ in range(2):
            world.service.start_worker()
        ids = [submit_slowly(world, 4_000_000) for _ in range(2)]
        assert {world.service.ended(job_id)["status"] for job_id in ids} == {"COMPLETED"}

    assert world.service.log("worker").count("answer_doorbell") < 12


def test_an_empty_queue_loses_no_job(shared):
    job_id = submit_slowly(shared, 4_000_000)
    with shared.service.proxy as proxy:
        others = [proxy.move("local://disk/a", f"sftp://vis/{number}")["id"] for number in range(3)]
    connection = Redis(port=shared.port)
    connection.flushall()
    connection.close()

    assert {shared.service.ended(each)["status"] for each in [job_id, *others]} == {"COMPLETED"}


def test_a_database_that_is_away_is_distinguished_from_a_job_that_does_not_exist(tmp_path, redis_url):
    (tmp_path / "root").mkdir()
    registry = host_table("here", {"protocol": "local", "root": tmp_path / "root", "roles": ["source", "destination"]})
    port = free_port()
    with ExitStack() as stack:
        with postgresql_server(tmp_path / "postgresql", port) as url:
            service = stack.enter_context(deployment(tmp_path / "service", redis_url, registry, database_url=url))
            service.start_web()
            proxy = stack.enter_context(service.proxy)
            job_id = proxy.move("local://here/a", "local://here/b")["id"]

        with pytest.raises(Fault) as asked:
            proxy.check(job_id)
        with pytest.raises(Fault) as moved:
            proxy.move("local://here/a", "local://here/b")

        with postgresql_server(tmp_path / "postgresql", port):
            assert proxy.check(job_id)["status"] == "PENDING"
            assert proxy.check(job_id + 1)["reason"] == "Job does not exist"

    assert (asked.value.faultCode, moved.value.faultCode) == (-32010, -32010)


def test_no_secret_and_no_address_is_in_row_queue_or_log(world, monkeypatch):
    monkeypatch.setenv("VIS_PASSWORD", "hunter2-hunter2")
    registry = world.service.directory / "registry.toml"
    table = {"password": "env:VIS_PASSWORD", "protocol": "sftp", "address": "127.0.0.1", "username": "nobody-here"}
    with openssh_server(world.service.directory / "ssh", extra="PasswordAuthentication yes") as server:
        options = {**server.options(world.roots.vis), **table}
        del options["key_file"]
        registry.write_text(registry.read_text() + host_table("locked", options))
        with world.redis():
            world.service.start_web()
            world.service.start_worker()
            with world.service.proxy as proxy:
                job = world.service.ended(proxy.move("local://disk/a", "sftp://locked/a")["id"])

    assert job["code"] == "login-refused"
    for file in world.service.directory.rglob("*"):
        if stat.S_ISREG(file.stat().st_mode):
            assert b"hunter2" not in file.read_bytes(), file


def test_a_graceful_stop_of_an_idle_worker_ends_it(running):
    eventually(lambda: "Listening" in running.service.log("worker"), "the worker listens")

    end(running.service.workers[0])

    assert running.service.workers[0].returncode == 0, running.service.log("worker")
