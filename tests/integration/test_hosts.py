"""Hosts on record: what waits for one that cannot be reached, and who finds out."""

import pytest
from sqlalchemy import case, delete, select, update

from data_mover.domain.backoff import Backoff
from data_mover.domain.errors import Cancelled, HostUnreachable, LoginRefused, NoSpace, NoSuchFile, PathBusy, Superseded
from data_mover.domain.locations import Endpoint
from data_mover.domain.proof import Proof
from data_mover.domain.states import FileKind, FileState, Phase, Priority, Status
from data_mover.store import (
    claims,
    explanations,
    file_lists,
    host_health,
    queue,
    reports,
    submissions,
    sweeps,
    temporary_files,
    transitions,
    workers,
)
from data_mover.store.claims import POISON_LOSSES, SUSPECT_SECONDS
from data_mover.store.database import ms, now_ms
from data_mover.store.host_health import HostHealth
from data_mover.store.models import HostRecord, Job, SweepRecord, WorkerRecord
from data_mover.store.temporary_files import NewTemporaryFile
from data_mover.store.transitions import ArrivedFile, PathLock
from data_mover.store.workers import WorkerProcess
from tests.integration.conftest import a_file, a_submission
from tests.servers.processes import eventually

LIMITS = queue.Limits({"disk": 100, "vis": 4, "hpc": 4})
LEASE_SECONDS = 30
WORKER = WorkerProcess(1, "here", 1, "1.0")
SLOW, AT_ONCE = Backoff(60, 60), Backoff(0, 0)


@pytest.fixture
def submit(database, written):
    """Puts a job on record and returns its id; only the source has been reached before."""

    def add(destination="vis", path="/b", priority=Priority.NORMAL):
        changes = {"destination": Endpoint(destination, path), "priority": priority}
        job_id = written(submissions.add, a_submission(**changes))
        written(host_health.record_reached, "disk")
        return job_id

    return add


@pytest.fixture
def claim(database):
    def take(worker=WORKER, job_id=None):
        with database.writing() as session:
            workers.beat(session, worker, ())
        with database.reading() as session:
            candidates = queue.candidates(session, worker, LIMITS)
        for candidate in candidates:
            with database.writing() as session:
                claimed = queue.take(session, candidate, worker, LIMITS, LEASE_SECONDS)
            if claimed:
                return claimed
        return None

    return take


@pytest.fixture
def report(database):
    def read(job_id):
        with database.reading() as session:
            return reports.report(session, "ann", job_id)

    return read


@pytest.fixture
def lose(database, written):
    """Lets the leases of all running jobs run out; what has become of the jobs."""

    def run_out():
        with database.writing() as session:
            session.execute(update(Job).where(Job.status == Status.IN_PROGRESS).values(lease_until_ms=1))
        return written(transitions.take_back_lost, 10)

    return run_out


def unreachable(written, claimed, backoff=SLOW):
    """What an attempt does that could not reach the host."""
    written(host_health.record_unreachable, "vis", HostUnreachable("vis"), backoff)
    written(transitions.hand_back, claimed, HostUnreachable("vis"))


def test_one_job_finds_out_whether_a_host_lets_it_in_while_others_go_elsewhere(submit, claim, written):
    first, second = submit(), submit()
    other = submit(destination="hpc")
    written(host_health.record_reached, "hpc")

    assert [claim().job_id, claim().job_id] == [first, other]
    assert claim() is None
    assert written(host_health.record_reached, "vis")
    assert claim().job_id == second


def test_a_host_that_is_being_found_out_about_lets_proven_ones_go_first(submit, claim, written):
    submit()
    claim()
    submit(destination="silent", priority=Priority.HIGH)
    proven = submit(destination="hpc")
    written(host_health.record_reached, "hpc")

    assert claim().job_id == proven


def test_jobs_of_a_host_that_cannot_be_reached_wait_and_spend_no_attempt(submit, claim, written, report, database):
    job_id, other = submit(), submit()
    unreachable(written, claim())

    assert claim() is None
    for each in (job_id, other):
        reported = report(each)
        assert (reported.status, reported.phase, reported.code) == (Status.PENDING, Phase.BLOCKED, "host-unreachable")
        assert reported.retryable
        assert reported.next_attempt_at > reported.submitted_at
    assert (report(job_id).attempt, report(other).attempt) == (1, 0)
    with database.reading() as session:
        assert session.get_one(Job, job_id).failures == 0
        reason = HostUnreachable("vis").reason
        assert host_health.health(session)["vis"] == HostHealth("failing", "host-unreachable", reason)


def test_one_probe_at_a_time_lets_the_jobs_continue(submit, claim, written, report):
    job_id = submit()
    unreachable(written, claim(), AT_ONCE)

    assert written(host_health.probe_due)
    assert written(host_health.take_probe, LEASE_SECONDS).host == "vis"
    assert written(host_health.take_probe, LEASE_SECONDS) is None
    assert report(job_id).phase is Phase.BLOCKED

    assert written(host_health.record_reached, "vis")
    assert report(job_id).phase is Phase.QUEUED
    assert claim().attempt == 2


def test_a_host_for_which_no_job_waits_is_not_probed(submit, claim, written):
    submit()
    claimed = claim()
    written(host_health.record_unreachable, "vis", HostUnreachable("vis"), AT_ONCE)
    written(transitions.fail, claimed, HostUnreachable.code, "vis")

    assert not written(host_health.probe_due)


def test_a_host_on_which_an_ended_job_has_left_something_is_probed(submit, claim, written):
    submit()
    claimed = claim()
    written(temporary_files.record_temporary_files, claimed, [NewTemporaryFile(0, FileKind.FILE, "/x")], LEASE_SECONDS)
    written(host_health.record_unreachable, "vis", HostUnreachable("vis"), AT_ONCE)
    assert not written(host_health.probe_due)

    written(transitions.fail, claimed, HostUnreachable.code, "vis")

    assert written(host_health.take_probe, LEASE_SECONDS).host == "vis"


def test_a_probe_whose_worker_has_died_is_anothers_once_its_lease_has_run_out(submit, claim, written):
    submit()
    unreachable(written, claim(), AT_ONCE)
    lost = written(host_health.take_probe, -1)

    taken = written(host_health.take_probe, LEASE_SECONDS)

    assert taken.host == lost.host
    assert written(host_health.renew_probe, lost, LEASE_SECONDS) is None
    assert written(host_health.take_probe, LEASE_SECONDS) is None


def test_a_probe_is_kept_for_as_long_as_it_is_renewed_and_no_longer_than_nothing_is_known(submit, claim, written):
    submit()
    unreachable(written, claim(), AT_ONCE)
    taken = written(host_health.take_probe, -1)

    renewed = written(host_health.renew_probe, taken, LEASE_SECONDS)

    assert renewed.until_ms > taken.until_ms
    assert written(host_health.take_probe, LEASE_SECONDS) is None
    written(host_health.record_reached, "vis")
    assert written(host_health.renew_probe, renewed, LEASE_SECONDS) is None
    assert claim() is not None


def test_a_probe_that_no_clock_can_mean_is_due(submit, claim, written, database):
    submit()
    unreachable(written, claim())
    with database.writing() as session:
        session.execute(update(HostRecord).where(HostRecord.name == "vis").values(probe_at_ms=2**50))

    assert written(host_health.take_probe, LEASE_SECONDS).host == "vis"


def test_a_host_that_answers_with_a_refusal_lets_its_jobs_hear_so(submit, claim, written):
    submit()
    unreachable(written, claim())

    written(host_health.record_refused, "vis", LoginRefused("vis"))

    assert claim() is not None


def test_past_the_deadline_a_job_that_waited_for_a_host_fails_for_that_reason(submit, claim, written, report, database):
    job_id = submit()
    unreachable(written, claim())
    with database.writing() as session:
        session.execute(update(Job).values(deadline_ms=1))

    assert written(transitions.end_overdue, 10) == [job_id]

    reported = report(job_id)
    assert (reported.status, reported.code) == (Status.FAILED, "host-unreachable")
    assert "vis" in reported.reason


def test_jobs_of_a_paused_host_wait_until_it_is_resumed(submit, claim, written, report, database):
    job_id = submit()
    written(host_health.set_paused, "vis", True)

    assert claim() is None
    reported = report(job_id)
    assert (reported.phase, reported.code, reported.next_attempt_at) == (Phase.BLOCKED, None, None)
    assert "paused vis" in reported.reason
    with database.reading() as session:
        assert host_health.health(session)["vis"].state == "paused"

    written(host_health.set_paused, "vis", False)
    assert claim().job_id == job_id


def test_a_job_that_was_lost_twice_runs_alone_on_its_machine(submit, claim, written, lose):
    written(host_health.know, ["vis"])
    written(host_health.record_reached, "vis")
    suspect = submit()
    for _ in range(2):
        claim()
        lose()
    other = submit(destination="hpc")
    written(host_health.record_reached, "hpc")

    assert claim().job_id == suspect
    assert claim() is None
    assert claim(WorkerProcess(1, "elsewhere", 1, "1.0")).job_id == other


def test_a_job_that_was_lost_twice_waits_until_its_machine_is_quiet_and_keeps_others_from_beginning(
    submit, claim, written, lose
):
    written(host_health.know, ["vis"])
    written(host_health.record_reached, "vis")
    suspect = submit()
    for _ in range(2):
        claim()
        lose()
    written(host_health.set_paused, "vis", True)
    running = submit(destination="hpc")
    written(host_health.record_reached, "hpc")
    claimed = claim()
    assert claimed.job_id == running
    submit(destination="hpc")
    written(host_health.set_paused, "vis", False)

    assert claim() is None
    written(transitions.fail, claimed, HostUnreachable.code, "vis")
    assert claim().job_id == suspect


def test_a_job_that_is_lost_while_it_runs_alone_is_poison(submit, claim, written, lose, report):
    job_id = submit()
    for outcome in (Status.PENDING, Status.PENDING, Status.FAILED):
        claim()
        assert lose() == [(job_id, outcome)]

    reported = report(job_id)
    assert (reported.status, reported.code, reported.who_can_fix) == (Status.FAILED, "poison", "operator")


def test_a_job_whose_files_arrive_is_not_to_blame_for_the_workers_that_it_lost(submit, claim, written, lose):
    job_id = submit()
    written(file_lists.complete_file_list, claim(), "/b", 0, [a_file(f"/b/{number}") for number in range(5)])
    lose()
    for number in range(5):
        arrived = ArrivedFile(number, Proof(1, "ab", "size"), FileState.PUBLISHED)
        written(transitions.record_arrived, claim(), [arrived])
        assert lose() == [(job_id, Status.PENDING)]


def test_a_job_that_was_handed_back_is_not_suspected(submit, claim, written, lose, database):
    job_id = submit()
    for _ in range(5):
        written(transitions.hand_back, claim(), HostUnreachable("vis"))

    with database.reading() as session:
        job = session.get_one(Job, job_id)
        assert (job.losses, job.failures, job.attempt) == (0, 0, 5)


def hold(written, claimed, lock_name="vis:22/b"):
    written(file_lists.complete_file_list, claimed, "/b", 0, [a_file("/b", 1)])
    if refused := written(transitions.lock_paths, claimed, [PathLock(0, lock_name)], LEASE_SECONDS):
        raise refused[0]


def test_a_job_waits_while_another_writes_to_the_same_path(submit, claim, written):
    submit(), submit()
    written(host_health.record_reached, "vis")
    first, second = claim(), claim()
    hold(written, first)

    with pytest.raises(PathBusy, match=f"job {first.job_id}"):
        hold(written, second)
    written(transitions.hand_back, second, PathBusy(), 0)
    assert claim() is None

    written(transitions.fail, first, HostUnreachable.code, "vis")
    hold(written, eventually(claim, "the second job may be claimed"))


def test_a_job_is_superseded_by_a_later_one_that_has_published(submit, claim, written):
    submit(), submit()
    written(host_health.record_reached, "vis")
    older, later = claim(), claim()
    hold(written, later)
    written(transitions.mark_publishing, later, {0: Proof(1, "ab", "size")}, Phase.PUBLISHING, LEASE_SECONDS)
    written(transitions.record_arrived, later, [ArrivedFile(0, Proof(1, "ab", "size"), FileState.PUBLISHED)])
    written(transitions.complete, later)

    with pytest.raises(Superseded, match=f"job {later.job_id}"):
        hold(written, older)


def test_a_path_at_which_a_lost_attempt_may_still_publish_stays_held(submit, claim, written, lose):
    submit(), submit()
    written(host_health.record_reached, "vis")
    first, second = claim(), claim()
    hold(written, first)
    written(transitions.mark_publishing, first, {0: Proof(1, "ab", "size")}, Phase.PUBLISHING, LEASE_SECONDS)
    lose()

    second = next(claimed for claimed in (claim(), claim()) if claimed.job_id == second.job_id)
    with pytest.raises(PathBusy):
        hold(written, second)


def test_a_waiting_job_is_cancelled_at_once(submit, claim, written, report):
    job_id = submit()

    written(transitions.cancel, job_id)

    assert (report(job_id).status, report(job_id).phase) == (Status.CANCELLED, None)
    assert claim() is None


def test_a_running_job_is_cancelled_once_its_attempt_has_stopped(submit, claim, written, report):
    job_id = submit()
    claimed = claim()
    written(temporary_files.record_temporary_files, claimed, [NewTemporaryFile(0, FileKind.FILE, "/x")], LEASE_SECONDS)

    written(transitions.cancel, job_id)

    assert (report(job_id).status, report(job_id).phase) == (Status.IN_PROGRESS, Phase.CANCELLING)
    assert not written(claims.renew, claimed, LEASE_SECONDS)
    assert not written(
        transitions.mark_publishing, claimed, {0: Proof(1, "ab", "size")}, Phase.PUBLISHING, LEASE_SECONDS
    )
    assert not written(transitions.put_back, claimed, HostUnreachable("vis"), 0)
    assert isinstance(written(claims.why_not, claimed), Cancelled)
    assert written(transitions.end_cancelled, claimed)
    assert report(job_id).status is Status.CANCELLED
    assert [left.path for left in written(temporary_files.claim_temporary_files, 10, 1)] == ["/x"]


def test_a_job_whose_worker_dies_before_it_has_stopped_is_cancelled_with_its_lease(submit, claim, written, lose):
    job_id = submit()
    claim()
    written(transitions.cancel, job_id)

    assert lose() == [(job_id, Status.CANCELLED)]


def test_a_job_that_may_have_published_is_not_cancelled(submit, claim, written, lose, report):
    job_id = submit()
    claimed = claim()
    written(file_lists.complete_file_list, claimed, "/b", 0, [a_file("/b", 1)])
    written(transitions.mark_publishing, claimed, {0: Proof(1, "ab", "size")}, Phase.PUBLISHING, LEASE_SECONDS)

    written(transitions.cancel, job_id)
    assert report(job_id).phase is Phase.PUBLISHING
    lose()
    written(transitions.cancel, job_id)
    assert report(job_id).status is Status.PENDING
    claim()
    written(transitions.cancel, job_id)
    assert report(job_id).phase is Phase.RESOLVING


def test_a_host_whose_moves_fail_for_its_own_fault_is_failing_until_one_ends_well(database, written):
    def health(name):
        with database.reading() as session:
            return host_health.health(session)[name]

    for name in ("disk", "vis"):
        written(host_health.know, [name])
        written(host_health.record_reached, name)
    both = ("disk", "vis")

    written(host_health.record_move, both, NoSuchFile("disk:/a"))
    assert (health("disk").state, health("vis").state) == ("ok", "ok")
    written(host_health.record_move, both, NoSpace("vis:/a"))
    assert (health("disk").state, health("vis").state, health("vis").code) == ("ok", "failing", "no-space")
    written(host_health.record_reached, "vis")
    assert health("vis").reason == NoSpace("vis:/a").reason
    written(host_health.record_move, both, None)
    assert health("vis").state == "ok"


@pytest.mark.parametrize("detail", ["vis:/a", "vis has 3 bytes free, the file has 4", "vis"])
def test_a_host_that_fails_a_file_of_many_is_failing(submit, claim, written, database, detail):
    submit()
    held = claim()
    written(file_lists.complete_file_list, held, "/b", 0, [a_file(f"/b/{number}") for number in range(5)])

    written(transitions.record_failures, held, {3: NoSpace(detail), 4: NoSuchFile("disk:/a/4")})

    with database.reading() as session:
        health = host_health.health(session)
    assert (health["vis"].state, health["vis"].code, health["vis"].reason) == (
        "failing",
        "no-space",
        NoSpace(detail).reason,
    )
    assert health["disk"].state == "ok"


def test_a_suspect_does_not_stop_its_machine_for_ever(submit, claim, written, lose):
    written(host_health.know, ["vis"])
    written(host_health.record_reached, "vis")
    suspect, other = submit(), submit()
    for _ in range(2):
        assert claim().job_id == suspect
        lose()
    assert claim().job_id == suspect
    assert claim() is None

    written(later)

    assert claim().job_id == other
    assert (suspect, Status.PENDING) in lose()


def later(session):
    """Puts all jobs back by the time for which one that was lost is suspected."""
    session.execute(update(Job).values(lost_ms=Job.lost_ms - 2 * ms(SUSPECT_SECONDS)))


def test_a_job_that_takes_long_to_lose_its_worker_is_poison_at_the_fifth_time(submit, claim, written, lose, report):
    written(host_health.know, ["vis"])
    written(host_health.record_reached, "vis")
    job_id = submit()

    outcomes = []
    for _ in range(POISON_LOSSES):
        assert claim().job_id == job_id
        written(later)
        outcomes += lose()

    assert outcomes == [(job_id, Status.PENDING)] * 4 + [(job_id, Status.FAILED)]
    assert report(job_id).code == "poison"


def test_a_suspect_that_is_postponed_is_suspected_no_longer(submit, claim, written, lose):
    written(host_health.know, ["vis"])
    written(host_health.record_reached, "vis")
    suspect, other = submit(), submit()
    for _ in range(2):
        assert claim().job_id == suspect
        lose()

    held = claim()
    written(later)
    written(transitions.hand_back, held, HostUnreachable("vis"))

    assert {claim().job_id, claim().job_id} == {suspect, other}


def test_what_is_lost_with_its_machine_is_not_to_blame(submit, claim, written, database):
    written(host_health.know, ["vis"])
    written(host_health.record_reached, "vis")
    first, second = submit(), submit()
    workers_of_one_machine = WorkerProcess(1, "here", 1, "1.0"), WorkerProcess(2, "here", 2, "1.0")

    def reboot(session):
        session.execute(update(WorkerRecord).values(beat_ms=WorkerRecord.beat_ms - 2 * ms(LEASE_SECONDS), runs=["job"]))
        session.execute(update(Job).where(Job.status == Status.IN_PROGRESS).values(lease_until_ms=1))

    for _ in range(4):
        claimed = [claim(worker) for worker in workers_of_one_machine]
        assert {each.job_id for each in claimed} == {first, second}
        written(reboot)
        assert {status for _, status in written(transitions.take_back_lost, 10)} == {Status.PENDING}
    with database.reading() as session:
        assert session.get_one(Job, first).losses == 0


@pytest.mark.parametrize(
    "runs", [{1: ["job"], 2: []}, {1: [], 2: ["job"]}], ids=["the other is idle", "only a work-horse died"]
)
def test_what_is_lost_beside_a_worker_that_lives_on_is_to_blame(submit, claim, written, database, runs):
    written(host_health.know, ["vis"])
    written(host_health.record_reached, "vis")
    job_id = submit()
    for id_ in (1, 2):
        written(workers.beat, WorkerProcess(id_, "here", id_, "1.0"), ())
    assert claim(WorkerProcess(1, "here", 1, "1.0")).job_id == job_id

    def lose(session):
        for id_, running in runs.items():
            silent = {"beat_ms": WorkerRecord.beat_ms - 2 * ms(LEASE_SECONDS), "runs": running}
            session.execute(update(WorkerRecord).where(WorkerRecord.id == id_).values(silent))
        session.execute(update(Job).values(lease_until_ms=1))

    written(lose)
    written(transitions.take_back_lost, 10)

    with database.reading() as session:
        assert session.get_one(Job, job_id).losses == 1


def test_any_number_of_jobs_that_wait_for_a_path_keep_no_other_waiting(submit, claim, written):
    written(host_health.know, ["vis"])
    written(host_health.record_reached, "vis")
    holder = submit()
    hold(written, claim())
    waiting = [submit() for _ in range(30)]
    for _ in waiting:
        claimed = claim()
        with pytest.raises(PathBusy):
            hold(written, claimed)
        written(transitions.hand_back, claimed, PathBusy(), 0)
    other = submit()

    assert claim().job_id == other
    assert holder not in waiting


def test_folders_that_wait_for_a_path_do_not_pass_what_is_queued(submit, claim, written):
    """As their attempts take longer than their waits, one of them is always due."""
    written(host_health.know, ["vis"])
    written(host_health.record_reached, "vis")
    waiting = [submit() for _ in range(12)]

    def come_back():
        held = claim()
        written(transitions.wait_for_path, held, PathBusy())
        written(lambda session: session.execute(update(Job).values(not_before_ms=due(Job.not_before_ms))) and None)
        return held.job_id

    def due(column):
        return case((column > now_ms(), now_ms()), else_=column)

    for _ in range(2):
        assert sorted(come_back() for _ in waiting) == waiting
    other, elsewhere = submit(), submit(destination="hpc")
    written(host_health.record_reached, "hpc")

    assert {other, elsewhere} <= {come_back() for _ in range(len(waiting) + 2)}


def test_a_job_waits_longer_each_time_it_finds_its_path_taken_until_a_file_arrives(submit, claim, written, database):
    written(host_health.know, ["vis"])
    written(host_health.record_reached, "vis")
    job_id = submit()

    def wait_seconds():
        written(transitions.wait_for_path, claim(), PathBusy())
        with database.writing() as session:
            job = session.get_one(Job, job_id)
            wait_ms, job.not_before_ms = job.not_before_ms - session.scalars(select(now_ms())).one(), 0
        return round(wait_ms / 1000)

    assert [wait_seconds() for _ in range(9)] == [1, 2, 4, 8, 16, 32, 60, 60, 60]
    held = claim()
    written(file_lists.complete_file_list, held, "/b", 0, [a_file("/b", 1), a_file("/c", 1)])
    written(transitions.record_arrived, held, [ArrivedFile(0, Proof(1, "ab", "size"), FileState.PUBLISHED)])
    written(transitions.hand_back, held, PathBusy())

    assert wait_seconds() == 1


def test_a_move_whose_time_has_come_says_which_process_is_missing(submit, claim, written, database):
    """First when it is queued, then when it waits for a retry, then when its worker is lost."""
    job_id = submit()
    redis = ["away"]

    def told():
        with database.reading() as session:
            job = reports.report(session, "ann", job_id, lambda: "away" in redis)
            cause = explanations.obstacle(
                session, session.get_one(Job, job_id), LIMITS, 60, lambda: "away" in redis
            ).cause
        return job.code, cause

    def all_are_missing_in_turn():
        written(lambda session: session.execute(delete(WorkerRecord)) and None)
        written(lambda session: session.execute(delete(SweepRecord)) and None)
        redis[:] = ["away"]
        yield told()
        written(workers.beat, WORKER, ())
        yield told()
        written(sweeps.record, 5)
        yield told()
        redis.clear()
        yield told()

    missing = [(code, code) for code in ("no-worker", "no-sweeper", "no-redis")]
    assert [*all_are_missing_in_turn()] == [*missing, (None, "queued")]
    written(host_health.record_reached, "vis")
    written(transitions.put_back, claim(), NoSpace("vis"), 0)
    assert [*all_are_missing_in_turn()] == [*missing, ("no-space", "queued")]
    claim()
    written(lambda session: session.execute(update(Job).values(lease_until_ms=1)) and None)
    assert [*all_are_missing_in_turn()] == [*[("no-sweeper",) * 2] * 2, *[("worker-lost",) * 2] * 2]


def test_a_sweeper_is_missed_once_it_has_let_pass_three_times_what_it_takes_from_one_sweep_to_the_next(written):
    def is_fresh(age_seconds, every_seconds):
        written(sweeps.record, every_seconds)
        age = {"swept_ms": SweepRecord.swept_ms - age_seconds * 1000}
        written(lambda session: session.execute(update(SweepRecord).values(age)) and None)
        return written(lambda session: session.scalars(select(sweeps.is_fresh())).one())

    assert [is_fresh(*each) for each in ((50, 5), (70, 5), (70, 30), (100, 30))] == [True, False, True, False]


def test_whoever_comes_second_to_a_job_is_given_the_next(submit, database, written):
    """All have seen the same job at the head of the lane."""
    written(host_health.know, ["vis"])
    written(host_health.record_reached, "vis")
    jobs = [submit() for _ in range(4)]
    with database.reading() as session:
        (seen,) = queue.candidates(session, WORKER, LIMITS)

    taken = [written(queue.take, seen, WORKER, LIMITS, LEASE_SECONDS).job_id for _ in jobs]

    assert taken == jobs
