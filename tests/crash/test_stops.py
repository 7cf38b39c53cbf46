"""Workers that are asked to stop, or lose their work-horse or are lost to it."""

import os
import signal

import pytest

from tests.crash.supervisor import strike
from tests.servers.processes import eventually


@pytest.fixture
def copying(world):
    """Begins a copy at 1 MB/s; the job, the worker that is at it, and the pid of its work-horse."""

    def begin(name, size_bytes):
        world.ready()
        job_id = world.submit(world.source(name, size_bytes, name), "slow")
        world.in_mid_copy(job_id)
        return job_id, *world.at_work(job_id)

    return begin


@pytest.fixture
def asked_to_stop(world):
    """Asks a worker to stop, as a supervisor does, and returns its exit status."""
    paused = []

    def stop(name):
        world.supervisor.pause(name)
        paused.append(name)
        worker = world.supervisor.process(name)
        worker.send_signal(signal.SIGTERM)
        return worker.wait(timeout=40)

    yield stop
    for name in paused:
        world.supervisor.resume(name)


def test_a_worker_that_is_asked_to_stop_ends_the_job_in_hand(world, copying, asked_to_stop, time):
    job_id, worker, _ = copying(f"short-{time}", 1_500_000)

    status = asked_to_stop(worker)
    job = world.service.ended(job_id)

    assert (status, job["status"], job["attempt"]) == (0, "COMPLETED", 1)
    assert world.violations() == []


def test_a_job_that_takes_longer_is_handed_back_which_costs_it_no_attempt(world, copying, asked_to_stop, time):
    job_id, worker, _ = copying(f"long-{time}", 6_000_000)

    status = asked_to_stop(worker)
    job = world.service.ended(job_id)

    assert (status, job["status"], job["attempt"]) == (0, "COMPLETED", 2)
    assert (world.job(job_id).failures, world.job(job_id).losses) == (0, 0)
    assert world.violations() == []


@pytest.mark.soak
def test_a_worker_that_is_asked_twice_ends_at_once_and_another_continues(world, copying, time):
    job_id, worker, horse = copying(f"twice-{time}", 5_000_000)
    process = world.supervisor.process(worker)

    def tell():
        """RQ takes a second word within a second for the first."""
        process.send_signal(signal.SIGTERM)
        return process.poll() is not None

    eventually(tell, "the worker ends")

    assert not os.path.exists(f"/proc/{horse}")
    assert world.service.ended(job_id)["status"] == "COMPLETED"
    assert world.violations() == []


def test_a_job_whose_worker_dies_a_third_time_is_poison_and_what_waited_continues(world, time):
    world.ready()
    source = world.source(f"poison-{time}", 50_000, time)
    job_id = None
    for _ in range(3):
        world.order("transferring", "kill")
        job_id = job_id or world.submit(source, "vis")
        eventually(lambda: world.struck("transferring"), "its worker dies")
    after = world.submit(world.source(f"after-{time}", 50_000, time), "shelf")

    job = world.service.ended(job_id)

    assert (job["status"], job["code"], job["attempt"]) == ("FAILED", "poison", 3)
    assert world.service.ended(after)["status"] == "COMPLETED"
    eventually(lambda: not world.left_behind(), "what the last one had put on record is cleared")
    assert world.violations(failures={"poison"}) == []
    del world.moves[job_id]


@pytest.mark.parametrize("victim", [pytest.param("worker", marks=pytest.mark.soak), "horse"])
def test_of_a_worker_and_its_horse_neither_continues_without_the_other(world, copying, victim, time):
    job_id, worker, horse = copying(f"{victim}-{time}", 1_500_000)
    process = world.supervisor.process(worker)

    strike(process.pid if victim == "worker" else horse, signal.SIGKILL)

    eventually(lambda: not os.path.exists(f"/proc/{horse}"), "the work-horse is gone", 5)
    assert world.service.ended(job_id)["status"] == "COMPLETED"
    assert (process.poll() is None) == (victim == "horse")
    eventually(lambda: not world.left_behind(), "nothing is left behind")
    assert world.violations() == []
