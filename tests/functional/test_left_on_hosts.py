"""What a failed move has to leave on a host that is away: it is on record, and gone once the host is back."""

import os
import signal
from contextlib import ExitStack

import pytest
from sqlalchemy import select
from sqlalchemy.engine import make_url

from data_mover.db import Database
from data_mover.jobs.models import TemporaryFile
from tests.servers.deployment import deployment, host_table
from tests.servers.openssh import openssh_server
from tests.servers.processes import descendants, eventually, free_port

SETTINGS = """
data_mover.max_attempts = 2
data_mover.retry_first_seconds = 0.1
data_mover.probe_longest_seconds = 0.5
data_mover.lease_seconds = 1.5
"""


@pytest.fixture
def on_record(tmp_path):
    """The paths of the temporary files that are on record, host by host."""

    def look():
        database = Database(make_url(f"sqlite:///{tmp_path}/service/jobs.db"))
        with database.reading() as session:
            rows = [(row.host, row.path) for row in session.scalars(select(TemporaryFile))]
        database.close()
        return rows

    return look


def test_what_lies_on_a_host_that_is_away_stays_on_record_until_it_is_back(tmp_path, redis_url, on_record):
    for name in ("disk", "vis"):
        (tmp_path / name).mkdir()
    (tmp_path / "disk" / "a").write_bytes(os.urandom(8_000_000))
    (tmp_path / "vis" / "a").write_bytes(b"old")
    port = free_port()
    with ExitStack() as stack:
        with openssh_server(tmp_path / "ssh", port=port) as server:
            terms = {"bandwidth": "2MB/s", "idle_timeout_seconds": 1, "connect_timeout_seconds": 1}
            registry = host_table("disk", {"protocol": "local", "root": tmp_path / "disk", "roles": ["source"]})
            registry += host_table("vis", server.options(tmp_path / "vis", **terms))
            service = stack.enter_context(deployment(tmp_path / "service", redis_url, registry, extra=SETTINGS))
            service.start_web()
            service.start_worker()
            service.start_sweeper()
            eventually(lambda: "Listening" in service.log("worker"), "the worker listens")
            proxy = stack.enter_context(service.proxy)
            job_id = proxy.move("local://disk/a", "sftp://vis/a", {"deadline": 6})["id"]
            eventually(lambda: proxy.check(job_id)["bytes_done"] > 0, "bytes have moved")
            for pid in descendants(server.pid):
                os.kill(pid, signal.SIGKILL)

        job = service.ended(job_id)
        left = on_record()
        assert (job["status"], job["code"]) == ("FAILED", "host-unreachable")
        assert {host for host, _ in left} == {"vis"}
        assert {f"/{name}" for name in os.listdir(tmp_path / "vis")} == {"/a", *(path for _, path in left)}

        with openssh_server(tmp_path / "ssh", port=port):
            eventually(lambda: os.listdir(tmp_path / "vis") == ["a"], "the temporary file is gone")
            eventually(lambda: on_record() == [], "nothing is on record")
        assert (tmp_path / "vis" / "a").read_bytes() == b"old"
