"""The clock that all processes share, which is the database's, jumps while jobs run, wait and end."""

import itertools
import time as clock_time

import pytest
from sqlalchemy import select

from data_mover.store.database import now_ms
from tests.crash.world import crash_world
from tests.servers.clocks import Clock
from tests.servers.postgresql import postgresql_server
from tests.servers.processes import eventually

HOUR_SECONDS = 3600

_numbers = itertools.count(1)


@pytest.fixture(scope="module")
def clock(tmp_path_factory):
    directory = tmp_path_factory.mktemp("clock")
    directory.chmod(0o755)
    return Clock(directory / "offset")


@pytest.fixture(scope="module")
def world(tmp_path_factory, redis_url, openssh, clock):
    with (
        postgresql_server(tmp_path_factory.mktemp("postgresql"), environment=clock.environment) as url,
        crash_world(tmp_path_factory.mktemp("world"), redis_url, openssh, database_url=url) as world,
    ):
        yield world


def database_seconds(world):
    with world.database.reading() as session:
        return session.scalars(select(now_ms())).one() / 1000


@pytest.mark.soak
@pytest.mark.parametrize("jump_seconds", [HOUR_SECONDS, -HOUR_SECONDS], ids=["forth", "back"])
def test_a_clock_that_jumps_loses_nothing_and_ends_nothing_before_it_began(world, clock, jump_seconds, time):
    clock.set_forth(0)
    world.ready()
    number = next(_numbers)
    slow = world.submit(world.source(f"slow-{number}", 3_000_000, number), "slow")
    world.in_mid_copy(slow)

    clock.set_forth(jump_seconds)
    assert abs(database_seconds(world) - clock_time.time() - jump_seconds) < HOUR_SECONDS / 2
    quick = [world.submit(world.source(f"{host}-{number}", 50_000, host), host) for host in ("vis", "shelf")]
    jobs = [world.service.ended(job_id) for job_id in (slow, *quick)]

    assert {job["status"] for job in jobs} == {"COMPLETED"}
    assert all(job["submitted_at"] <= job["started_at"] <= job["ended_at"] for job in jobs)
    eventually(lambda: not world.left_behind(), "nothing is left behind")
    assert world.violations() == []
