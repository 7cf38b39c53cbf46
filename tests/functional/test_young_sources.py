"""A source that is written while it is read, within one second of its host's time stamps: no mixture arrives."""

import os
import time
from contextlib import ExitStack

import pytest

from tests.servers.deployment import deployment, host_table
from tests.servers.processes import eventually

SIZE_BYTES = 3_000_000


@pytest.fixture(params=["sftp", "scp"])
def stage(request, tmp_path, openssh, redis_url):
    """A service that moves from a host of 2 MB/s."""
    for name in ("source", "destination"):
        (tmp_path / name).mkdir()
    registry = host_table("far", openssh.options(tmp_path / "source", protocol=request.param, bandwidth="2MB/s"))
    registry += host_table(
        "here", {"protocol": "local", "root": tmp_path / "destination", "roles": ["source", "destination"]}
    )
    settings = "data_mover.retry_first_seconds = 0.1"
    with ExitStack() as stack:
        service = stack.enter_context(deployment(tmp_path / "service", redis_url, registry, extra=settings))
        service.start_web()
        service.start_sweeper()
        service.start_worker()
        eventually(lambda: "Listening" in service.log("worker"), "the worker listens")
        yield service, tmp_path / "source" / "a", tmp_path / "destination" / "a"


def test_what_arrives_is_the_source_as_it_was_written_last(stage):
    service, source, destination = stage
    written_at = int(time.time()) + 1
    source.write_bytes(b"1" * SIZE_BYTES)
    os.utime(source, (written_at, written_at))

    with service.proxy as proxy:
        job_id = proxy.move("sftp://far/a", "local://here/a")["id"]
        eventually(lambda: proxy.check(job_id)["bytes_done"] > 0, "the first bytes have been read")
    with source.open("r+b") as file:
        file.write(b"2" * SIZE_BYTES)
    os.utime(source, (written_at, written_at))
    job = service.ended(job_id)

    assert (job["status"], job["attempt"]) == ("COMPLETED", 2), job
    assert set(destination.read_bytes()) == {ord("2")}
