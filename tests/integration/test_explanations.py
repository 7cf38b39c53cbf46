"""`explain` names the true cause for which a move waits, and who can release it."""

import pytest
from sqlalchemy import delete, update

from data_mover.config.callers import Caller, CallersFile
from data_mover.config.registry_file import RegistryFile
from data_mover.config.settings import Settings
from data_mover.domain.backoff import Backoff
from data_mover.domain.errors import GaveWay, HostUnreachable, NoSpace, PathBusy, Refusal
from data_mover.domain.locations import Endpoint
from data_mover.domain.rights import Rights
from data_mover.domain.states import Phase, Priority, Status
from data_mover.doorbell import Doorbell, redis_connection
from data_mover.services.explanations import Explanations
from data_mover.store import file_lists, host_health, queue, submissions, sweeps, transitions, workers
from data_mover.store.models import HostRecord, Job, SweepRecord, WorkerRecord
from data_mover.store.transitions import PathLock
from tests.integration.conftest import WORKER, a_file, a_submission
from tests.servers.deployment import host_table

SLOTS = {"disk": 100, "vis": 2, "hpc": 2}
NO_REDIS = "redis://127.0.0.1:1/0"
LEASE_SECONDS = 30
ANN, BOB = Caller("ann", Rights()), Caller("bob", Rights())
CALLERS = "[callers.ann]\n[callers.bob]\n[callers.bob.quota]\nrunning = 1\n"


@pytest.fixture
def settings(tmp_path):
    (tmp_path / "callers.toml").touch(0o600)
    (tmp_path / "callers.toml").write_text(CALLERS)
    local = {"protocol": "local", "root": tmp_path, "roles": ["source", "destination"]}
    tables = [host_table(name, {**local, "max_transfers": slots}) for name, slots in SLOTS.items()]
    (tmp_path / "registry.toml").write_text("".join(tables))
    return Settings.from_mapping(
        {
            "sqlalchemy.url": f"sqlite:///{tmp_path}/jobs.db",
            "redis.url": NO_REDIS,
            "data_mover.registry": str(tmp_path / "registry.toml"),
            "data_mover.callers": str(tmp_path / "callers.toml"),
            "data_mover.state_dir": str(tmp_path / "state"),
        }
    )


@pytest.fixture
def callers(settings):
    return CallersFile(settings.callers)


@pytest.fixture
def explain(settings, database, callers, redis_url):
    registry = RegistryFile(settings.registry, False)

    def ask(job_id, caller=ANN, redis=redis_url):
        with redis_connection(redis, None) as connection:
            return Explanations(settings, database, registry, callers, Doorbell(connection)).explain(caller, job_id)

    return ask


@pytest.fixture(autouse=True)
def everything_runs(written):
    """A worker and a sweeper are alive, and all hosts were reached."""
    written(workers.beat, WORKER, ())
    written(sweeps.record, 5)
    written(host_health.know, SLOTS)
    written(host_health.record_reached, *SLOTS)


@pytest.fixture
def submit(written):
    def add(caller="ann", destination="vis", priority=Priority.NORMAL):
        end = Endpoint(destination, "/b")
        return written(submissions.add, a_submission(caller=caller, destination=end, priority=priority))

    return add


@pytest.fixture
def claim(written, callers):
    """Claims the best job."""

    def take():
        limits = queue.Limits(SLOTS, callers.running_limit())
        candidates = written(queue.candidates, WORKER, limits)
        return written(queue.take, candidates[0], WORKER, limits, LEASE_SECONDS)

    return take


@pytest.fixture
def running(submit, claim):
    """Moves of a caller that run."""
    return lambda caller, count, destination="vis": [(submit(caller, destination), claim())[1] for _ in range(count)]


def answer(why):
    return why.cause, why.who_can_release


def test_no_worker(submit, explain, written):
    job_id = submit()
    written(lambda session: session.execute(delete(WorkerRecord)) and None)

    why = explain(job_id)

    assert answer(why) == ("no-worker", "operator")
    assert "`data_mover worker`" in why.sentence


def test_no_sweeper(submit, explain, written):
    job_id = submit()
    written(lambda session: session.execute(delete(SweepRecord)) and None)

    why = explain(job_id)

    assert answer(why) == ("no-sweeper", "operator")
    assert "`data_mover sweep`" in why.sentence


def test_redis_down(submit, explain):
    job_id = submit()

    why = explain(job_id, redis=NO_REDIS)

    assert answer(why) == ("no-redis", "operator")
    assert "Redis does not answer" in why.sentence


def test_host_limit(submit, running, explain):
    running("ann", 2)

    why = explain(submit())

    assert (*answer(why), why.host) == ("host-limit", "operator", "vis")


def test_a_dead_host_that_another_move_tries(submit, running, explain, written):
    running("ann", 1)
    written(lambda session: session.execute(update(HostRecord).values(reached_ms=1)) and None)
    written(host_health.record_reached, "disk")
    job_id = submit()

    why = explain(job_id)

    assert (*answer(why), why.host) == ("host-unproven", None, "vis")
    written(host_health.record_reached, "vis")
    assert explain(job_id).cause == "queued"


def test_circuit_open(submit, explain, written):
    job_id = submit()
    written(host_health.record_unreachable, "vis", HostUnreachable("vis: it does not answer"), Backoff(60, 60))

    why = explain(job_id)

    assert (*answer(why), why.host) == ("host-unreachable", "host owner", "vis")
    assert why.until is not None


def test_host_paused(submit, explain, written):
    job_id = submit()
    written(host_health.set_paused, "vis", True)

    why = explain(job_id)

    assert (*answer(why), why.host) == ("host-paused", "operator", "vis")


def test_retry_waiting(running, explain, written):
    [claimed] = running("ann", 1)
    written(transitions.put_back, claimed, NoSpace("vis:/b"), 60)

    why = explain(claimed.job_id)

    assert answer(why) == ("waiting-retry", NoSpace.who_can_fix)
    assert why.sentence == f"The last attempt failed: {NoSpace('vis:/b').reason}. It is tried again by itself."
    assert why.until is not None


@pytest.mark.parametrize("for_another", [GaveWay(4711), PathBusy("Waits for job 4711, which writes to the same path.")])
def test_an_attempt_that_was_put_off_has_not_failed_and_names_no_other_move(running, explain, written, for_another):
    [claimed] = running("ann", 1)
    written(transitions.hand_back, claimed, for_another, 60)

    why = explain(claimed.job_id)

    assert answer(why) == ("waiting-retry", None)
    assert why.sentence == "The last attempt was put off for another move. It is tried again by itself."


def test_quota(submit, running, explain):
    running("bob", 1, "hpc")

    why = explain(submit("bob"), BOB)

    assert answer(why) == ("quota", "operator")


def test_path_locked_by_another_move(running, explain, written):
    first, second = running("ann", 2)
    for each in (first, second):
        written(file_lists.complete_file_list, each, "/b", 0, [a_file("/b")])
        refused = written(transitions.lock_paths, each, [PathLock(0, "vis:22/b")], LEASE_SECONDS)
    written(transitions.wait_for_path, second, refused[0])

    assert answer(explain(second.job_id)) == ("path-locked", None)
    written(transitions.fail, first, NoSpace.code, NoSpace("vis:/b").reason)
    assert explain(second.job_id).cause == "waiting-retry"


def test_lost_worker(running, explain, written):
    [claimed] = running("ann", 1)
    assert explain(claimed.job_id).cause == "running"
    written(lambda session: session.execute(update(Job).values(lease_until_ms=1)) and None)

    why = explain(claimed.job_id)

    assert (*answer(why), why.worker) == ("worker-lost", "operator", str(WORKER))
    written(lambda session: session.execute(delete(SweepRecord)) and None)
    assert explain(claimed.job_id).cause == "no-sweeper"


def test_others_come_first_whose_callers_have_fewer_running_moves(submit, running, explain):
    running("ann", 1)
    mine = [submit(), submit()]
    assert [explain(job_id).cause for job_id in mine] == ["queued"] * 2
    foreign = submit("bob", "hpc")

    why = explain(mine[1])

    assert (*answer(why), why.host, why.position) == ("others-first", "operator", None, 2)
    assert why.sentence == (
        "It waits for a worker, and so do moves of other callers that come first: of a higher priority, or of callers "
        "with fewer running moves. 1 of your moves come before it."
    )
    assert (explain(foreign, BOB).cause, explain(foreign, BOB).position) == ("queued", 1)


def test_others_come_first_of_a_higher_priority(submit, explain):
    mine, urgent = submit(), submit("bob", "hpc", Priority.HIGH)

    assert explain(mine).cause == "others-first"
    assert explain(urgent, BOB).cause == "queued"


def test_others_come_first_for_a_slot_of_a_full_host(submit, running, explain):
    running("ann", 2)
    mine, foreign = submit(), submit("bob")

    why = explain(mine)

    assert (*answer(why), why.host) == ("others-first", "operator", "vis")
    assert why.sentence.startswith("It waits for a slot of the host vis, and so do moves of other callers")
    assert "bob" not in why.sentence
    assert str(foreign) not in why.sentence
    assert (explain(foreign, BOB).cause, explain(foreign, BOB).host) == ("host-limit", "vis")


def test_moves_of_others_without_quota_delay_nobody(submit, running, explain):
    running("ann", 2, "hpc"), running("bob", 1)
    mine = submit()
    submit("bob")

    assert explain(mine).cause == "queued"


def test_moves_of_others_that_wait_for_another_host_as_well_delay_nobody(submit, running, explain, written):
    running("ann", 2, "hpc")
    mine = submit(destination="hpc")
    written(submissions.add, a_submission(caller="bob", endpoints=(Endpoint("hpc", "/a"),)))
    assert explain(mine).cause == "others-first"

    written(host_health.set_paused, "vis", True)

    assert explain(mine).cause == "host-limit"


def test_moves_of_others_are_not_explained(submit, explain):
    with pytest.raises(Refusal, match="does not exist"):
        explain(submit("bob"), ANN)


def test_what_has_ended_and_what_is_being_settled(submit, running, explain, written):
    [claimed] = running("ann", 1)
    written(lambda session: session.execute(update(Job).values(ending=Status.FAILED, phase=Phase.ENDING)) and None)
    assert answer(explain(claimed.job_id)) == ("settling", None)
    other = submit()
    written(transitions.cancel, other)

    assert explain(other).sentence == "It has ended CANCELLED."
