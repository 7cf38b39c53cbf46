"""Outages of Redis and the database that are shorter than a lease or longer, with the settings of a deployment."""

import itertools
import signal
import time as clock

import pytest

from tests.crash.rough import rough_world
from tests.crash.supervisor import strike
from tests.servers.processes import eventually

pytestmark = pytest.mark.soak

REDIS_AWAY_SECONDS = 60
DATABASE_AWAY_SECONDS = 20
ANSWERED_SECONDS = 1
#: of the slow host
BYTES_PER_SECOND = 1_000_000

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def rough(tmp_path_factory, openssh):
    directory = tmp_path_factory.mktemp("rough")
    with rough_world(directory, openssh, "postgresql", extra="data_mover.fault_points = true", pace="") as rough:
        yield rough


@pytest.fixture
def world(rough):
    rough.world.ready()
    yield rough.world
    for name in rough.servers.names():
        rough.start_server(name)
    rough.world.supervisor.wake()


def copying_for(world, seconds):
    """Begins a copy that takes so long; its id."""
    number = next(_numbers)
    job_id = world.submit(world.source(f"slow-{number}", seconds * BYTES_PER_SECOND, number), "slow")
    world.in_mid_copy(job_id)
    return job_id


def require_done_at_the_first_attempt(world, job_id):
    job = world.service.ended(job_id, 120)
    assert (job["status"], job["attempt"]) == ("COMPLETED", 1), job
    eventually(lambda: not world.left_behind(), "nothing is left behind")
    assert world.violations() == []


def test_while_redis_is_away_for_a_minute_copies_continue_and_moves_are_accepted(rough, world, time):
    slow = copying_for(world, 30)
    rough.stop_server("redis")
    back_at = clock.monotonic() + REDIS_AWAY_SECONDS

    ids, took_seconds = [], []
    for number in range(20):
        source = world.source(f"away-{next(_numbers)}", 1000, number)
        began = clock.monotonic()
        ids.append(world.submit(source, "shelf"))
        took_seconds.append(clock.monotonic() - began)
    assert world.service.ended(slow)["status"] == "COMPLETED"
    clock.sleep(back_at - clock.monotonic())
    rough.start_server("redis")

    assert max(took_seconds) < ANSWERED_SECONDS
    assert {world.service.ended(job_id)["status"] for job_id in ids} == {"COMPLETED"}
    require_done_at_the_first_attempt(world, slow)


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGQUIT], ids=["stopped", "broken"])
def test_while_the_database_is_away_for_twenty_seconds_a_copy_continues(rough, world, kind, time):
    slow = copying_for(world, 30)
    way = rough.ways["host"]
    rough.stop_server("database", kind)
    sent_before = way.sent_bytes

    clock.sleep(DATABASE_AWAY_SECONDS)
    sent_bytes = way.sent_bytes - sent_before
    rough.start_server("database")

    assert sent_bytes > DATABASE_AWAY_SECONDS * BYTES_PER_SECOND / 2
    eventually(lambda: world.has_ended([slow]), "the copy has ended", 120)
    require_done_at_the_first_attempt(world, slow)


@pytest.mark.parametrize("point", ["verified", "marked", "moved"])
def test_the_database_is_away_for_twenty_seconds_exactly_at_the_finish(rough, world, point, time):
    number = next(_numbers)
    world.order(point, "stop")
    job_id = world.submit(world.source(f"finish-{number}", 50_000, number), "vis")
    [asleep] = eventually(world.supervisor.stopped, "it is stopped")

    rough.stop_server("database", signal.SIGINT)
    strike(asleep, signal.SIGCONT)
    clock.sleep(DATABASE_AWAY_SECONDS)
    rough.start_server("database")

    eventually(lambda: world.has_ended([job_id]), "the job has ended", 120)
    require_done_at_the_first_attempt(world, job_id)
