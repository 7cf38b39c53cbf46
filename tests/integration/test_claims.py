"""Claims on real databases: who gets which job, and who is fenced."""

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest
from sqlalchemy import select, update

from data_mover.domain.errors import HostUnreachable, NoSuchFile
from data_mover.domain.locations import Endpoint
from data_mover.domain.proof import Proof
from data_mover.domain.states import FileKind, FileState, Phase, Priority, Status
from data_mover.store import (
    claims,
    file_lists,
    host_health,
    queue,
    reports,
    submissions,
    temporary_files,
    transitions,
    workers,
)
from data_mover.store.claims import Beat
from data_mover.store.database import Database, ms, now_ms
from data_mover.store.models import Job
from data_mover.store.temporary_files import NewTemporaryFile
from data_mover.store.transitions import ArrivedFile
from data_mover.store.workers import WorkerProcess
from tests.integration.conftest import a_file, a_submission

SLOTS = {"disk": 100, "vis": 4, "hpc": 4}
LEASE_SECONDS = 30
CHECKPOINT = {"offset_bytes": 5, "sha256": "ab", "source_bytes": 9, "source_modified_at": 1700000000.1234567}
MISSING = NoSuchFile.code, NoSuchFile("disk:/a").reason
WORKER = WorkerProcess(1, "here", 1, "1.0")


@pytest.fixture
def submit(database):
    """Puts a job between hosts that have lately been reached on record and returns its id."""

    def add(destination="vis", **changes):
        with database.writing() as session:
            job_id = submissions.add(session, a_submission(destination=Endpoint(destination, "/b"), **changes))
            for name in ("disk", destination):
                host_health.record_reached(session, name)
            return job_id

    return add


@pytest.fixture
def claim(database):
    def take(slots=SLOTS, last=None, worker=WORKER):
        return claim_best(database, queue.Limits(slots), last, worker)

    return take


def claim_best(database, limits, last=None, worker=WORKER):
    with database.reading() as session:
        candidates = queue.candidates(session, worker, limits, last)
    for candidate in candidates:
        with database.writing() as session:
            claimed = queue.take(session, candidate, worker, limits, LEASE_SECONDS)
        if claimed:
            return claimed
    return None


@pytest.fixture
def set_job(database):
    def change(job_id, **values):
        with database.writing() as session:
            session.execute(update(Job).where(Job.id == job_id).values(**values))

    return change


@pytest.fixture
def report(database):
    def read(job_id, caller="ann"):
        with database.reading() as session:
            return reports.report(session, caller, job_id)

    return read


def claimed_ids(claim, count):
    return [claimed.job_id if claimed else None for claimed in (claim() for _ in range(count))]


def test_jobs_are_claimed_by_priority_and_then_by_age(submit, claim):
    low = submit(priority=Priority.LOW)
    first, second = submit(), submit()
    high = submit(priority=Priority.HIGH)

    assert claimed_ids(claim, 4) == [high, first, second, low]


def test_the_caller_with_the_least_running_goes_first(submit, claim):
    ann = [submit(caller="ann") for _ in range(3)]
    bob = submit(caller="bob")

    assert claimed_ids(claim, 3) == [ann[0], bob, ann[1]]


def test_the_same_hosts_go_first_where_nothing_else_decides(submit, claim):
    submit(destination="hpc")
    first = claim()
    submit(destination="vis")
    same = submit(destination="hpc")

    assert claim(last=first).job_id == same


def test_a_full_host_makes_only_its_own_jobs_wait(submit, claim):
    for _ in range(6):
        submit(destination="vis")
    other = submit(destination="hpc")

    assert other in claimed_ids(claim, 5)
    assert claim() is None


def test_a_claim_says_all_that_an_attempt_needs(submit, claim, report):
    job_id = submit(checksum="ab")

    claimed = claim()

    assert (claimed.job_id, claimed.attempt, claimed.checksum, claimed.path) == (job_id, 1, "ab", None)
    assert (claimed.sources, claimed.destination) == ((Endpoint("disk", "/a"),), Endpoint("vis", "/b"))
    reported = report(job_id)
    assert (reported.status, reported.phase, reported.attempt) == (Status.IN_PROGRESS, Phase.RESOLVING, 1)
    assert reported.submitted_at <= reported.started_at


def test_a_job_that_waits_for_its_next_attempt_is_not_runnable_before(submit, claim, written, report):
    job_id = submit()
    claimed = claim()

    assert written(transitions.put_back, claimed, HostUnreachable("vis"), 60)

    assert claim() is None
    reported = report(job_id)
    assert (reported.status, reported.phase, reported.code) == (Status.PENDING, Phase.WAITING_RETRY, "host-unreachable")
    assert reported.retryable
    assert reported.next_attempt_at > reported.started_at


def test_a_wait_that_no_clock_can_mean_counts_as_over(submit, claim, set_job, database):
    job_id = submit()
    with database.reading() as session:
        now = session.scalars(select(now_ms())).one()
    set_job(job_id, not_before_ms=now + 10 * ms(queue.LONGEST_WAIT_SECONDS))

    assert claim().job_id == job_id


def test_a_lease_that_ran_out_gives_the_job_to_the_next_and_fences_the_first(submit, claim, set_job, written, report):
    job_id = submit()
    first = claim()
    set_job(job_id, lease_until_ms=1)

    assert written(transitions.take_back_lost, 10) == [(job_id, Status.PENDING)]
    second = claim()

    assert (second.job_id, second.attempt) == (job_id, 2)
    assert not written(claims.renew, first, LEASE_SECONDS)
    assert not written(transitions.record_phase, first, Phase.VERIFYING, LEASE_SECONDS)
    proven, left = {0: Proof(10, "ab", "size")}, [NewTemporaryFile(0, FileKind.FILE, "/x")]
    assert not written(transitions.mark_publishing, first, proven, Phase.PUBLISHING, LEASE_SECONDS)
    assert not written(transitions.unmark_publishing, first, [0], LEASE_SECONDS)
    assert not written(temporary_files.record_temporary_files, first, left, LEASE_SECONDS)
    assert not written(temporary_files.record_checkpoint, first, "/x", CHECKPOINT, LEASE_SECONDS)
    assert not written(transitions.complete, first)
    assert not written(transitions.fail, first, "no-such-file", "disk:/a")
    assert not written(transitions.put_back, first, HostUnreachable("vis"), 0)
    assert report(job_id).attempt == 2
    assert written(claims.renew_all, [Beat(second, 7, 0)], LEASE_SECONDS)
    assert report(job_id).bytes_done == 7


def test_a_lease_that_holds_is_left_alone(submit, claim, written):
    submit()
    claim()

    assert written(transitions.take_back_lost, 10) == []


def test_a_lease_that_no_clock_can_mean_counts_as_run_out(submit, claim, set_job, written, database):
    job_id = submit()
    claim()
    with database.reading() as session:
        now = session.scalars(select(now_ms())).one()
    set_job(job_id, lease_until_ms=now + 3_600_000)

    assert written(transitions.take_back_lost, 10) == [(job_id, Status.PENDING)]


def test_the_length_of_a_lease_is_that_which_it_was_given(submit, claim, written, database):
    submit()
    claimed = claim()

    assert written(claims.renew, claimed, LEASE_SECONDS)
    with database.reading() as session:
        job = session.get_one(Job, claimed.job_id)
        assert job.lease_ms == ms(LEASE_SECONDS)
    assert written(transitions.take_back_lost, 10) == []
    written(lambda session: session.execute(update(Job).values(lease_ms=ms(LEASE_SECONDS) // 4)) and None)
    assert written(transitions.take_back_lost, 10) == [(claimed.job_id, Status.PENDING)]


def test_what_ended_stays_as_it_is(submit, claim, written, report):
    job_id = submit()
    claimed = claim()
    written(file_lists.complete_file_list, claimed, "/b", 0, [a_file("/b", 10)])
    written(
        transitions.mark_publishing,
        claimed,
        {0: Proof(10, "ab", "sha256-readback")},
        Phase.PUBLISHING,
        LEASE_SECONDS,
    )
    written(
        transitions.record_arrived,
        claimed,
        [ArrivedFile(0, Proof(10, "ab", "sha256-readback"), FileState.PUBLISHED)],
    )

    assert written(transitions.complete, claimed)
    once = report(job_id)

    assert not written(transitions.fail, claimed, "no-such-file", "disk:/a")
    assert report(job_id) == once
    assert (once.status, once.phase, once.sha256, once.verified) == (Status.COMPLETED, None, "ab", "sha256-readback")
    assert (once.bytes_done, once.bytes_total, once.files_done, once.files_total) == (10, 10, 1, 1)
    assert once.submitted_at <= once.started_at <= once.ended_at


def test_a_clock_that_jumps_back_makes_no_job_end_before_it_began(submit, claim, written, set_job, report):
    job_id = submit()
    claimed = claim()
    set_job(job_id, started_ms=2**42)

    written(transitions.fail, claimed, "no-such-file", "disk:/a")

    assert report(job_id).started_at == report(job_id).ended_at


def test_a_failure_is_reported_with_its_code_and_who_can_fix_it(submit, claim, written, report):
    job_id = submit()

    assert written(transitions.fail, claim(), *MISSING)

    reported = report(job_id)
    assert (reported.status, reported.code, reported.retryable, reported.who_can_fix) == (
        Status.FAILED,
        "no-such-file",
        False,
        "caller",
    )
    assert reported.reason == "There is no such file: disk:/a"


def test_the_deadline_ends_what_waits_and_what_runs_but_not_what_is_being_published(
    submit, claim, written, set_job, report
):
    running, publishing = submit(), submit()
    claim()
    claimed = claim()
    written(file_lists.complete_file_list, claimed, "/b", 0, [a_file("/b", 1)])
    written(transitions.mark_publishing, claimed, {0: Proof(10, "ab", "size")}, Phase.PUBLISHING, LEASE_SECONDS)
    waiting = submit(destination="hpc")
    for job_id in (running, publishing, waiting):
        set_job(job_id, deadline_ms=1)

    assert sorted(written(transitions.end_overdue, 100)) == sorted([running, waiting])

    assert {report(running).code, report(waiting).code} == {"deadline"}
    assert report(publishing).status is Status.IN_PROGRESS


def test_past_the_deadline_nobody_claims_to_know_what_a_lost_publication_did(submit, claim, written, set_job, report):
    job_id = submit()
    claimed = claim()
    written(file_lists.complete_file_list, claimed, "/b", 0, [a_file("/b", 1)])
    written(transitions.mark_publishing, claimed, {0: Proof(10, "ab", "size")}, Phase.PUBLISHING, LEASE_SECONDS)
    set_job(job_id, lease_until_ms=1, deadline_ms=1)
    written(transitions.take_back_lost, 10)

    written(transitions.end_overdue, 100)

    assert report(job_id).code == "unknown-outcome"


@pytest.fixture
def all_arrived(submit, claim, written, set_job):
    """A job whose worker is lost before it can say that all is at its final path; its id."""

    def lose(path, **changes):
        job_id, claimed = submit(), claim()
        written(file_lists.complete_file_list, claimed, path, 0, [a_file(path, 7)])
        written(transitions.record_arrived, claimed, [ArrivedFile(0, Proof(7, "ab", "size"), FileState.PUBLISHED)])
        set_job(job_id, lease_until_ms=1, **changes)
        return job_id

    return lose


def test_a_job_of_which_everything_has_arrived_is_completed_though_its_worker_is_lost_for_the_last_time(
    all_arrived, written, report
):
    overdue, poison = all_arrived("/b", deadline_ms=1), all_arrived("/c", losses=claims.POISON_LOSSES)

    lost = written(transitions.take_back_lost, 10)
    written(transitions.end_overdue, 10)

    assert sorted(lost) == [(overdue, Status.PENDING), (poison, Status.COMPLETED)]
    for reported in report(overdue), report(poison):
        assert (reported.status, reported.code, reported.files_done, reported.bytes_done) == (
            Status.COMPLETED,
            None,
            1,
            7,
        )


def test_it_is_too_late_to_cancel_a_job_of_which_everything_has_arrived(all_arrived, written, report):
    job_id = all_arrived("/b")
    written(transitions.take_back_lost, 10)

    written(transitions.cancel, job_id)

    assert report(job_id).status is Status.PENDING


def test_a_checkpoint_belongs_to_one_temporary_file_and_goes_with_it_to_the_next_attempt(
    submit, claim, written, set_job
):
    job_id = submit()
    claimed = claim()
    written(temporary_files.record_temporary_files, claimed, [NewTemporaryFile(0, FileKind.FILE, "/x")], LEASE_SECONDS)
    written(temporary_files.record_temporary_files, claimed, [NewTemporaryFile(0, FileKind.FILE, "/y")], LEASE_SECONDS)
    written(claims.renew_all, [Beat(claimed, 9, 0)], LEASE_SECONDS)

    assert written(temporary_files.record_checkpoint, claimed, "/y", CHECKPOINT, LEASE_SECONDS)
    assert written(temporary_files.record_checkpoint, claimed, "/y", CHECKPOINT | {"offset_bytes": 7}, LEASE_SECONDS)
    set_job(job_id, lease_until_ms=1)
    written(transitions.take_back_lost, 10)
    later = claim()

    left = {each.path: each.checkpoint for each in written(temporary_files.left_by_earlier_attempts, later)}
    assert left == {"/x": None, "/y": CHECKPOINT | {"offset_bytes": 7}}
    assert later.bytes_done == 9


def test_temporary_files_of_live_jobs_are_left_to_the_next_attempt(submit, claim, written, set_job):
    job_id = submit()
    claimed = claim()
    written(temporary_files.record_temporary_files, claimed, [NewTemporaryFile(0, FileKind.FILE, "/.data_mover-1")], 0)
    set_job(job_id, lease_until_ms=1)
    written(transitions.take_back_lost, 10)

    assert written(temporary_files.claim_temporary_files, 10, 60) == []
    later = claim()
    assert [left.path for left in written(temporary_files.left_by_earlier_attempts, later)] == ["/.data_mover-1"]

    written(transitions.fail, later, "no-such-file", "disk:/a")
    assert [left.path for left in written(temporary_files.claim_temporary_files, 10, 60)] == ["/.data_mover-1"]
    assert written(temporary_files.claim_temporary_files, 10, 60) == []


def test_temporary_files_are_given_out_host_by_host(submit, claim, written):
    """One that keeps a worker for its whole time takes none of the others'."""
    for destination in ("vis", "hpc"):
        submit(destination)
        held = claim()
        left = [NewTemporaryFile(0, FileKind.FILE, f"/.data_mover-{number}") for number in range(2)]
        written(temporary_files.record_temporary_files, held, left, 0)
        written(transitions.fail, held, "no-such-file", "disk:/a")

    given = [written(temporary_files.claim_temporary_files, 10, 60) for _ in range(3)]

    assert [sorted({each.host for each in some}) for some in given] == [["vis"], ["hpc"], []]
    assert [len(some) for some in given] == [2, 2, 0]


def test_the_overdue_are_ended_a_few_at_a_time(submit, written, set_job):
    ids = [submit() for _ in range(5)]
    for job_id in ids:
        set_job(job_id, deadline_ms=1)

    ended = [written(transitions.end_overdue, 2) for _ in range(4)]

    assert [len(each) for each in ended] == [2, 2, 1, 0]
    assert sorted(job_id for each in ended for job_id in each) == ids


def test_the_same_key_gives_no_second_job(submit):
    assert submit(key="k") is not None
    assert submit(key="k") is None
    assert submit(key="k", caller="bob") is not None


@pytest.mark.parametrize("same", ["key", "retry_of"])
def test_of_many_who_ask_for_the_same_at_once_one_makes_a_job(submit, database_url, same):
    changes = {same: "k" if same == "key" else submit()}

    def ask(_):
        database = Database(database_url)
        with database.writing() as session:
            job_id = submissions.add(session, a_submission(**changes))
        database.close()
        return job_id

    with ThreadPoolExecutor(8) as callers:
        made = [job_id for job_id in callers.map(ask, range(24)) if job_id is not None]

    assert len(made) == 1


@pytest.mark.parametrize("limits", [queue.Limits({**SLOTS, "vis": 2}), queue.Limits(SLOTS, lambda *_: 2)])
def test_a_limit_holds_against_many_who_claim_at_once(submit, database_url, limits):
    for _ in range(40):
        submit()
    running, most = [], []
    lock = threading.Lock()

    def work():
        database = Database(database_url)
        while True:
            claimed = claim_best(database, limits)
            if claimed is None:
                if not submitted_left(database):
                    break
                continue
            with lock:
                running.append(claimed.job_id)
                most.append(len(running))
            with lock:
                running.remove(claimed.job_id)
            with database.writing() as session:
                transitions.fail(session, claimed, *MISSING)
        database.close()

    workers = [threading.Thread(target=work) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()

    assert len(most) == 40
    assert max(most) <= 2


def test_a_job_counts_against_the_limit_of_the_scopes_that_it_was_submitted_with(submit, database):
    narrow, wide = (submit(caller="campus:ann", scopes=scopes) for scopes in ("narrow", "wide"))
    limits = queue.Limits(SLOTS, lambda caller, scopes: {"narrow": 1, "wide": 2}[scopes])

    first, second = (claim_best(database, limits) for _ in range(2))
    submit(caller="campus:ann", scopes="wide")

    assert [first.job_id, second.job_id] == [narrow, wide]
    assert claim_best(database, limits) is None
    with database.writing() as session:
        transitions.fail(session, first, *MISSING)
    submit("hpc", caller="campus:ann", scopes="narrow")
    third = claim_best(database, limits)
    assert (third.caller, third.destination.host) == ("campus:ann", "vis")
    assert claim_best(database, limits) is None


def test_no_job_gives_way_to_one_whose_caller_has_no_quota_left(submit, database, set_job):
    with database.writing() as session:
        both = [workers.register(session, "here", number, "1.0") for number in (1, 2)]
    submit(caller="ann")
    submit(caller="bob")
    running = [claim_best(database, queue.Limits(SLOTS), worker=worker) for worker in both]
    set_job(running[1].job_id, bytes_per_second=100)
    waiting = submit("hpc", caller="bob")

    def gives_way(most_of_bob):
        limits = queue.Limits(SLOTS, lambda caller, scopes: most_of_bob if caller == "bob" else None)
        with database.reading() as session:
            return queue.kept_waiting(session, running[0], limits, 0)

    assert gives_way(2) == waiting
    assert gives_way(1) is None


def submitted_left(database):
    with database.reading() as session:
        return queue.runnable(session)


def test_what_running_jobs_have_still_to_bring_to_a_host_is_counted_once_they_have_begun(submit, claim, written):
    submit(), submit(), submit(destination="hpc")
    first, second, elsewhere = claim(), claim(), claim()
    for claimed, size_bytes in ((first, 10), (second, 20), (elsewhere, 40)):
        written(file_lists.complete_file_list, claimed, "/b", 0, [a_file("/b", size_bytes)])

    assert [written(transitions.reserve, claimed, LEASE_SECONDS) for claimed in (elsewhere, second, first)] == [
        0,
        0,
        20,
    ]
    written(claims.renew_all, [Beat(second, 15, 0)], LEASE_SECONDS)
    assert written(transitions.reserve, first, LEASE_SECONDS) == 5
    written(transitions.fail, second, *MISSING)
    assert written(transitions.reserve, first, LEASE_SECONDS) == 0


def test_of_jobs_that_begin_at_once_each_counts_those_before_it_and_no_other(submit, claim, written):
    running = [(submit(), claim())[1] for _ in range(4)]
    for claimed in running:
        written(file_lists.complete_file_list, claimed, "/b", 0, [a_file("/b", 10)])

    with ThreadPoolExecutor(len(running)) as pool:
        reserved = pool.map(lambda claimed: written(transitions.reserve, claimed, LEASE_SECONDS), running)

    assert sorted(reserved) == [0, 10, 20, 30]
