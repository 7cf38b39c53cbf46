"""Many moves at once: beside hosts that are sick, and to one that takes one at a time. Each prints what it found.

With the settings that a deployment has by default.
"""

import itertools
import os
import shutil
import socket
import threading
import time as clock
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from sqlalchemy import func, select
from sqlalchemy.engine import make_url

from data_mover.domain.states import Status
from data_mover.store.database import Database
from data_mover.store.models import Job
from tests.servers.deployment import deployment, host_table
from tests.servers.openssh import openssh_server
from tests.servers.postgresql import postgresql_server
from tests.servers.processes import eventually, free_port

pytestmark = pytest.mark.soak

#: one worker of the four may be occupied by a silent host for as long as connecting may take; the rest is chance
SLOWER = 1.5

#: what the tests' deployment sets to be quick
_QUICK = ("data_mover.beat_seconds = 0.1\n", "data_mover.sweep_seconds = 0.5\n")


@contextmanager
def default_service(directory: Path, redis_url: str, registry: str, database_url: str = ""):
    """A service whose every knob is as it is without being set; nothing of it runs yet."""
    with deployment(directory, redis_url, registry, database_url=database_url) as service:
        text = service.ini.read_text()
        for line in _QUICK:
            assert line in text
            text = text.replace(line, "")
        service.ini.write_text(text)
        yield service


def local(root, **options):
    root.mkdir(exist_ok=True)
    return {"protocol": "local", "root": root, "roles": ["source", "destination"], **options}


def test_moves_beside_those_to_dead_and_silent_hosts_are_as_fast_as_without_them(tmp_path, redis_url):
    """Ten to a host that is down, ten to one that takes the connection and never says a word."""
    down = free_port()
    with ExitStack() as stack:
        silent = socket.create_server(("127.0.0.1", 0), backlog=200)
        ssh = stack.enter_context(openssh_server(tmp_path / "ssh"))
        (tmp_path / "vis").mkdir()
        there = ssh.options(tmp_path / "vis", max_transfers=4)
        registry = (
            host_table("disk", local(tmp_path / "disk", max_transfers=100))
            + host_table("vis", there)
            + host_table("down", {**there, "port": down})
            + host_table("silent", {**there, "port": silent.getsockname()[1]})
        )
        (tmp_path / "disk" / "a").write_bytes(os.urandom(3_000_000))
        service = stack.enter_context(default_service(tmp_path / "service", redis_url, registry))
        service.start_web()
        service.start_sweeper()
        for _ in range(4):
            service.start_worker()
        eventually(lambda: service.log("worker").count("Listening") == 4, "the workers listen")
        proxy = stack.enter_context(service.proxy)
        alone = [_thirty(service, proxy, f"alone-{run}") for run in range(2)]
        sick = [
            proxy.move("local://disk/a", f"sftp://{host}/{host}-{n}")["id"]
            for n, host in itertools.product(range(10), ("down", "silent"))
        ]
        beside = [_thirty(service, proxy, f"beside-{run}") for run in range(3)]
        assert {proxy.check(job_id)["status"] for job_id in sick} <= {"PENDING", "IN_PROGRESS"}
        print(f"\n30 moves alone: {alone} s; beside 20 to dead and silent hosts: {beside} s")
        assert min(beside) < SLOWER * max(alone)
        port = silent.getsockname()[1]
        silent.close()
        for name, place in (("ssh-down", down), ("ssh-silent", port)):
            shutil.copytree(ssh.key_file.parent, tmp_path / name, ignore=shutil.ignore_patterns("*.pid"))
            stack.enter_context(openssh_server(tmp_path / name, port=place))
        ended = [service.ended(job_id, 120) for job_id in sick]
    assert {job["status"] for job in ended} == {"COMPLETED"}
    assert max(job["attempt"] for job in ended) <= 3


def _thirty(service, proxy, name):
    began = clock.monotonic()
    ids = [proxy.move("local://disk/a", f"sftp://vis/{name}-{number}")["id"] for number in range(30)]
    assert {service.ended(job_id, 120)["status"] for job_id in ids} == {"COMPLETED"}
    return round(clock.monotonic() - began, 1)


def test_a_limit_of_one_holds_for_five_hundred_moves_and_eight_workers_on_postgresql(tmp_path, redis_url):
    registry = host_table("disk", local(tmp_path / "disk", max_transfers=100)) + host_table(
        "one", local(tmp_path / "one", max_transfers=1)
    )
    (tmp_path / "disk" / "a").write_bytes(b"content")
    most = []
    with ExitStack() as stack:
        url = stack.enter_context(postgresql_server(tmp_path / "postgresql"))
        service = stack.enter_context(default_service(tmp_path / "service", redis_url, registry, url))
        service.start_web()
        service.start_sweeper()
        for _ in range(8):
            service.start_worker()
        database = Database(make_url(url))
        stack.callback(database.close)
        done = threading.Event()

        def sample():
            statement = select(func.count()).where(Job.status == Status.IN_PROGRESS)
            while not done.wait(0.002):
                with database.reading() as session:
                    most.append(session.scalars(statement).one())

        sampler = threading.Thread(target=sample)
        sampler.start()
        with ThreadPoolExecutor(4) as pool:
            ids = list(pool.map(lambda n: _submit(service, n), range(500)))
        eventually(lambda: _open(database) == 0, "all have ended", 600)
        done.set()
        sampler.join()
        with database.reading() as session:
            rows = session.execute(select(Job.id, Job.status, Job.started_ms, Job.ended_ms)).all()
    spans = sorted((row.started_ms, row.ended_ms) for row in rows if row.id in set(ids))
    overlaps = sum(later[0] < earlier[1] for earlier, later in itertools.pairwise(spans))
    print(f"\n500 moves, 8 workers: {len(most)} samples, {max(most)} at once at most, {overlaps} overlaps of time")
    assert {row.status for row in rows} == {"COMPLETED"}
    assert max(most) == 1
    assert overlaps == 0


def _submit(service, number):
    with service.proxy as proxy:
        return proxy.move("local://disk/a", f"local://one/{number}")["id"]


def _open(database):
    with database.reading() as session:
        return session.scalars(select(func.count()).where(Job.ended_ms.is_(None))).one()
