"""Interrupted moves of a whole service: what is sent again, what callers see meanwhile, and what is left behind."""

import os
import signal
import threading
from contextlib import contextmanager
from types import SimpleNamespace

import pytest
from sqlalchemy import select
from sqlalchemy.engine import make_url

from data_mover.store.database import Database
from data_mover.store.models import TemporaryFile
from tests.servers.deployment import deployment, host_table
from tests.servers.openssh import openssh_server
from tests.servers.processes import eventually
from tests.servers.proxy import Fault, proxy

MEBIBYTE = 2**20
#: SSH's and SFTP's own share of what is on the wire
OVERHEAD = 1.01
IMPATIENT = """
data_mover.max_attempts = {max_attempts}
data_mover.retry_first_seconds = {retry_seconds}
data_mover.lease_seconds = 2
data_mover.checkpoint_bytes = {checkpoint_bytes}
"""


@contextmanager
def world(directory, redis_url, *, max_attempts=3, retry_seconds=0.1, checkpoint_bytes=MEBIBYTE // 2, bandwidth=None):
    """A service with a worker and a sweeper, and hosts behind a proxy."""
    roots = SimpleNamespace(disk=directory / "disk", vis=directory / "vis")
    roots.disk.mkdir(parents=True)
    roots.vis.mkdir()
    extra = IMPATIENT.format(max_attempts=max_attempts, retry_seconds=retry_seconds, checkpoint_bytes=checkpoint_bytes)
    with openssh_server(directory / "ssh") as server, proxy(server.port) as network:
        registry = host_table("disk", {"protocol": "local", "root": roots.disk, "roles": ["source"]})
        for protocol in ("sftp", "scp"):
            limits = {"idle_timeout_seconds": 20} | ({"bandwidth": bandwidth} if bandwidth else {})
            registry += host_table(protocol, server.options(roots.vis, protocol=protocol, port=network.port, **limits))
        with deployment(directory / "service", redis_url, registry, extra=extra) as service:
            service.start_web()
            service.start_worker()
            service.start_sweeper()
            yield SimpleNamespace(service=service, roots=roots, network=network)


def submit(world, protocol, size):
    """The id of a job that moves a new file of that size."""
    with (world.roots.disk / "large").open("wb") as file:
        for _ in range(size // MEBIBYTE):
            file.write(os.urandom(MEBIBYTE))
    with world.service.proxy as service:
        return service.move("local://disk/large", f"{protocol}://{protocol}/large")["id"]


def recorded(world):
    """The temporary files on record, with how far each has a checkpoint."""
    database = Database(make_url(f"sqlite:///{world.service.directory}/jobs.db"))
    with database.reading() as session:
        rows = list(session.scalars(select(TemporaryFile)))
    database.close()
    return {row.path.strip("/"): (row.checkpoint or {}).get("offset_bytes", 0) for row in rows}


def temporary_files(world):
    return {name for name in os.listdir(world.roots.vis) if name.startswith(".data_mover-")}


def assert_arrived(world):
    assert (world.roots.vis / "large").read_bytes() == (world.roots.disk / "large").read_bytes()
    assert temporary_files(world) == set()
    assert recorded(world) == {}


@contextmanager
def watched(world, job_id):
    """The values of `bytes_done` that `check` returns, in order, until the block ends."""
    reported, over = [], threading.Event()

    def look():
        with world.service.proxy as service:
            while not over.wait(0.02):
                reported.append(service.check(job_id)["bytes_done"])

    thread = threading.Thread(target=look)
    thread.start()
    try:
        yield reported
    finally:
        over.set()
        thread.join()


def test_after_a_worker_was_killed_the_next_resumes_and_progress_does_not_go_back(tmp_path, redis_url):
    size = 8 * MEBIBYTE
    with world(tmp_path, redis_url, bandwidth="4MB/s") as running:
        job_id = submit(running, "scp", size)
        with watched(running, job_id) as reported:
            eventually(lambda: max(recorded(running).values(), default=0) > size // 2, "half of it has a checkpoint")
            running.service.workers[0].send_signal(signal.SIGKILL)
            running.service.start_worker()
            job = running.service.ended(job_id)

        assert (job["status"], job["attempt"]) == ("COMPLETED", 2), job
        assert reported == sorted(reported)
        assert "copy-resumed" in running.service.log("worker")
        assert running.network.sent_bytes < 1.5 * size
        assert_arrived(running)


def test_a_connection_that_breaks_leaves_the_file_to_the_retry(tmp_path, redis_url):
    size = 8 * MEBIBYTE
    with world(tmp_path, redis_url, retry_seconds=3, bandwidth="8MB/s") as running:
        job_id = submit(running, "sftp", size)
        eventually(lambda: max(recorded(running).values(), default=0) > size // 2, "half of it has a checkpoint")
        running.network.strike(Fault.RESET)
        with running.service.proxy as service:
            eventually(lambda: service.check(job_id)["phase"] == "waiting-retry", "the attempt has failed")

        assert temporary_files(running) == set(recorded(running)) != set()

        job = running.service.ended(job_id)
        assert (job["status"], job["attempt"]) == ("COMPLETED", 2), job
        assert running.network.sent_bytes < 1.5 * size
        assert_arrived(running)


def test_once_the_job_has_failed_nobody_waits_for_the_file_and_it_is_cleared(tmp_path, redis_url):
    size = 8 * MEBIBYTE
    with world(tmp_path, redis_url, max_attempts=1, bandwidth="8MB/s") as running:
        job_id = submit(running, "sftp", size)
        eventually(lambda: max(recorded(running).values(), default=0) > 0, "a part of it has a checkpoint")
        running.network.strike(Fault.RESET)

        job = running.service.ended(job_id)

        assert (job["status"], job["code"]) == ("FAILED", "connection-lost"), job
        eventually(lambda: temporary_files(running) == set(), "the temporary file is gone")
        eventually(lambda: recorded(running) == {}, "nothing is on record")
        assert not (running.roots.vis / "large").exists()


@pytest.mark.soak
@pytest.mark.parametrize("protocol", ["sftp", "scp"])
def test_of_a_gibibyte_whose_worker_is_killed_at_nine_tenths_little_is_sent_again(
    tmp_path, redis_url, protocol, capsys
):
    size, reserved = 1024 * MEBIBYTE, 64 * MEBIBYTE
    with world(tmp_path, redis_url, checkpoint_bytes=32 * MEBIBYTE) as running:
        job_id = submit(running, protocol, size)
        eventually(lambda: running.network.sent_bytes > 0.9 * size, "nine tenths are on the wire", 300)
        running.service.workers[0].send_signal(signal.SIGKILL)
        eventually(lambda: not running.network.connections, "the connection has ended")
        killed_at, [kept] = running.network.sent_bytes, recorded(running).values()
        running.service.start_worker()
        job = running.service.ended(job_id, 300)
        sent_again = running.network.sent_bytes - size

        assert (job["status"], job["attempt"]) == ("COMPLETED", 2), job
        with capsys.disabled():
            mebibytes = [f"{count / MEBIBYTE:.1f} MiB" for count in (killed_at, kept, sent_again)]
            print("\n{}: killed at {} on the wire, checkpoint at {}, sent again {}".format(protocol, *mebibytes))
        assert sent_again < reserved + size * (OVERHEAD - 1)
        assert_arrived(running)


def test_a_line_that_breaks_again_and_again_spends_no_attempts_while_checkpoints_advance(tmp_path, redis_url):
    size, breaks = 12 * MEBIBYTE, 4
    with world(tmp_path, redis_url, max_attempts=2, bandwidth="4MB/s") as running:
        job_id = submit(running, "sftp", size)
        for _ in range(breaks):
            before = max(recorded(running).values(), default=0)
            eventually(lambda b=before: max(recorded(running).values(), default=0) > b, "the checkpoint advances")
            running.network.strike(Fault.RESET)
        job = running.service.ended(job_id)

        assert (job["status"], job["attempt"]) == ("COMPLETED", 1 + breaks), job
        assert_arrived(running)
