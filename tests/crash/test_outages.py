"""Redis, database, hosts and networks are killed, emptied, away or hard to reach: acknowledged moves still complete."""

import itertools
import shutil
import signal
import time as clock
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from types import SimpleNamespace

import pytest
from sqlalchemy import insert, update

from data_mover.store.models import TemporaryFile
from data_mover.transfer.names import TEMPORARY_PREFIX
from tests.crash.rough import UNANSWERED, UNNOTICED, rough_world
from tests.crash.supervisor import strike
from tests.crash.world import LEASE_SECONDS
from tests.servers.processes import eventually
from tests.servers.proxy import Fault

_numbers = itertools.count(1)

#: longer than a lease, and than the time-outs of the host
OUTAGE_SECONDS = 4


@pytest.fixture(scope="module")
def rough(tmp_path_factory, openssh):
    with rough_world(tmp_path_factory.mktemp("rough"), openssh, "postgresql") as rough:
        yield rough


@pytest.fixture
def world(rough):
    rough.world.ready()
    yield rough.world
    for way in rough.ways.values():
        way.heal()
    for name in rough.servers.names():
        rough.start_server(name)


@pytest.fixture
def copying(world):
    """Begins a copy at 1 MB/s and some quick moves behind it; their ids."""

    def begin(size_bytes=2_000_000):
        number = next(_numbers)
        slow = world.submit(world.source(f"slow-{number}", size_bytes, number), "slow")
        world.in_mid_copy(slow)
        quick = [world.submit(world.source(f"{host}-{number}", 50_000, host), host) for host in ("vis", "shelf")]
        return SimpleNamespace(slow=slow, quick=quick, all=[slow, *quick])

    return begin


def require_done(world, ids):
    """All have arrived, once, and nothing is left behind."""
    assert {world.service.ended(job_id)["status"] for job_id in ids} == {"COMPLETED"}
    eventually(lambda: not world.left_behind(), "nothing is left behind")
    assert world.violations() == []


@pytest.mark.soak
def test_redis_is_killed_and_comes_back(rough, world, copying, time):
    jobs = copying()

    rough.stop_server("redis")
    rough.start_server("redis")

    require_done(world, jobs.all)


@pytest.mark.soak
def test_redis_comes_back_without_its_file(rough, world, copying, time):
    jobs = copying()

    rough.stop_server("redis")
    shutil.rmtree(world.directory / "redis")
    (world.directory / "redis").mkdir()
    rough.start_server("redis")

    require_done(world, jobs.all)


def test_redis_is_emptied(rough, world, copying, time):
    jobs = copying()

    rough.empty_redis()

    require_done(world, jobs.all)


@pytest.mark.soak
def test_redis_is_away_for_a_while_and_moves_are_accepted_meanwhile(rough, world, copying, time):
    jobs = copying()

    rough.stop_server("redis")
    began = clock.monotonic()
    ids = [world.submit(world.source(f"away-{next(_numbers)}", 1000, index), "shelf") for index in range(10)]
    took_seconds = clock.monotonic() - began
    assert world.service.ended(jobs.slow)["status"] == "COMPLETED"
    rough.start_server("redis")

    assert took_seconds < 10
    require_done(world, jobs.all + ids)


KINDS = [pytest.param(signal.SIGINT, id="stopped", marks=pytest.mark.soak), pytest.param(signal.SIGQUIT, id="broken")]


@pytest.mark.parametrize("kind", KINDS)
def test_the_database_is_away_during_a_copy(rough, world, copying, kind, time):
    jobs = copying()

    rough.stop_server("database", kind)
    clock.sleep(LEASE_SECONDS)
    rough.start_server("database")
    world.ready()

    require_done_once_up(world, jobs.all)


@pytest.mark.parametrize("point", [pytest.param("marked", marks=pytest.mark.soak), "moved"])
def test_the_database_is_away_exactly_at_the_finish(rough, world, point, time):
    """The attempt is stopped when it has published, before its row says so."""
    number = next(_numbers)
    world.order(point, "stop")
    job_id = world.submit(world.source(f"finish-{number}", 50_000, number), "vis")
    [asleep] = eventually(world.supervisor.stopped, "it is stopped")

    rough.stop_server("database", signal.SIGINT)
    strike(asleep, signal.SIGCONT)
    clock.sleep(LEASE_SECONDS)
    rough.start_server("database")

    require_done_once_up(world, [job_id])


def require_done_once_up(world, ids):
    """The same, after an outage of the database during which `check` is answered with a fault."""
    eventually(lambda: world.has_ended(ids), "all have ended")
    require_done(world, ids)


OBSTRUCTIONS = [
    (way, fault) for way in ("host", "redis", "database") for fault in Fault if (way, fault) not in UNNOTICED
]
QUICK = {("host", Fault.CUT), ("database", Fault.SWALLOW)}
CASES = [
    pytest.param(*case, id=f"{case[0]}-{case[1].name.lower()}", marks=[] if case in QUICK else pytest.mark.soak)
    for case in OBSTRUCTIONS
]


@pytest.mark.parametrize(("way", "fault"), CASES)
def test_a_way_is_bad_for_a_while(rough, world, copying, way, fault, time):
    jobs = copying()

    rough.obstruct(way, fault, OUTAGE_SECONDS)

    require_done_once_up(world, jobs.all)


@pytest.mark.soak
@pytest.mark.parametrize("fault", list(Fault))
def test_the_way_to_the_source_is_bad_for_a_while(rough, world, fault, time):
    number = next(_numbers)
    job_id = world.submit(world.source(f"far-{number}", 2_000_000, number), "shelf", origin="far")
    world.in_mid_copy(job_id)

    rough.obstruct("host", fault, OUTAGE_SECONDS)

    require_done(world, [job_id])


@pytest.mark.parametrize(
    "fault",
    [
        pytest.param(fault, marks=[] if fault is Fault.RESET else pytest.mark.soak)
        for fault in Fault
        if ("web", fault) not in UNNOTICED
    ],
)
def test_callers_whose_way_is_bad_ask_again_with_the_same_key_and_have_one_job(rough, world, fault, time):
    sources = [world.source(f"asked-{next(_numbers)}", 1000, number) for number in range(8)]
    with ThreadPoolExecutor() as callers:
        asked = [callers.submit(ask_until_answered, world, source) for source in sources]
        rough.obstruct("web", fault, OUTAGE_SECONDS)

    ids = [each.result() for each in asked]

    assert ids == [world.find(world.destination("shelf", source.name)) for source in sources]
    require_done(world, ids)


def ask_until_answered(world, source):
    def ask():
        with suppress(*UNANSWERED):
            return world.submit(source, "shelf")

    return eventually(ask, f"{source.name} is answered")


@pytest.mark.parametrize("action", ["kill", pytest.param("stop", marks=pytest.mark.soak)])
def test_a_worker_that_is_lost_while_it_tries_a_host_keeps_nobody_from_it_for_long(rough, world, action, time):
    number = next(_numbers)
    rough.ways["host"].strike(Fault.SWALLOW)
    job_id = world.submit(world.source(f"tried-{number}", 50_000, number), "vis")
    world.order("probing", action)
    eventually(lambda: world.struck("probing"), "a worker tries the host again")

    rough.ways["host"].heal()

    require_done(world, [job_id])
    world.supervisor.wake()


@pytest.mark.parametrize("action", ["kill", "raise", pytest.param("stop", marks=pytest.mark.soak)])
def test_a_worker_that_is_lost_while_it_clears_leaves_that_to_the_next(world, action, time):
    number = next(_numbers)
    job_id = world.submit(world.source(f"cleared-{number}", 1_000, number), "shelf")
    require_done(world, [job_id])
    left = world.destination("shelf", f"{TEMPORARY_PREFIX}{job_id}-0-1-{'0' * 16}")
    left.write_text("half")
    world.order("clearing", action)
    row = {"job_id": job_id, "attempt": 1, "host": "shelf", "path": f"/{left.name}", "kind": "file"}
    with world.database.writing() as session:
        session.execute(insert(TemporaryFile).values(**row, not_before_ms=0))
    eventually(lambda: world.struck("clearing"), "a worker clears")

    with world.database.writing() as session:  # else it is tried again in minutes
        session.execute(update(TemporaryFile).values(not_before_ms=0))

    eventually(lambda: not left.exists(), "another has cleared")
    world.supervisor.wake()
    require_done(world, [job_id])


@pytest.mark.soak
def test_without_a_sweeper_what_a_dead_worker_dropped_waits_for_the_next_one(world, copying, time):
    sweeper = world.supervisor.process("sweeper")
    world.supervisor.pause("sweeper")
    sweeper.send_signal(signal.SIGKILL)
    sweeper.wait(timeout=10)
    jobs = copying()

    strike(world.supervisor.pid(world.at_work(jobs.slow)[0]), signal.SIGKILL)
    assert {world.service.ended(job_id)["status"] for job_id in jobs.quick} == {"COMPLETED"}
    clock.sleep(LEASE_SECONDS)
    assert world.job(jobs.slow).status == "IN_PROGRESS"
    world.supervisor.resume("sweeper")

    require_done(world, jobs.all)


@pytest.mark.soak
def test_two_sweepers_take_a_lost_job_back_once(world, copying, time):
    another = world.service.start_sweeper()
    jobs = copying()

    strike(world.supervisor.pid(world.at_work(jobs.slow)[0]), signal.SIGKILL)
    require_done(world, jobs.all)
    world.service.stop(another)

    assert world.service.log("sweeper").count(f"lease-expired job={jobs.slow} ") == 1
