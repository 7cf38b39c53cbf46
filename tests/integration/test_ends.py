"""The end of jobs of many files, a few in each transaction; and sweeps, of which one failure stops nothing else."""

import hashlib
import threading
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import event, select, text, update

from data_mover.config.settings import Settings
from data_mover.domain.errors import NoSuchFile
from data_mover.domain.proof import Proof
from data_mover.domain.states import FileKind, FileState, Phase, Status
from data_mover.doorbell import Doorbell, doorbell_queue, redis_connection
from data_mover.store import events, file_lists, files, queue, reports, submissions, transitions
from data_mover.store.claims import Beat, record_path, record_proof, renew, renew_all
from data_mover.store.database import Database
from data_mover.store.file_lists import ListedFile
from data_mover.store.list_proofs import arrived_after, list_proof
from data_mover.store.models import Job, JobFile
from data_mover.store.transitions import ArrivedFile, PathLock
from data_mover.store.workers import WorkerProcess
from data_mover.worker.sweeper import Sweeper
from tests.integration.conftest import LEASE_SECONDS, a_submission

COUNT = 10


@pytest.fixture(autouse=True)
def few_at_once(monkeypatch):
    for module in "ends", "files", "sweep":
        monkeypatch.setattr(f"data_mover.store.transitions.{module}.FILES_AT_ONCE", 3)
    monkeypatch.setattr("data_mover.store.file_lists.FILES_AT_ONCE", 3)


@pytest.fixture
def folder(written, claim):
    """A claimed job of many files: two have arrived, one is marked, one failed for a reason of its own, one is on its
    way."""
    written(submissions.add, a_submission())
    claimed = claim()
    planned = [ListedFile(FileKind.FILE, 0, f"/a/{n}", f"{n}", f"/b/{n}", 5) for n in range(COUNT)]
    written(file_lists.complete_file_list, claimed, "/b", 0, planned)
    written(transitions.lock_paths, claimed, [PathLock(n, f"vis:/b/{n}") for n in range(4)], LEASE_SECONDS)
    proofs = {n: Proof(5, "ab", "size") for n in range(3)}
    written(transitions.mark_publishing, claimed, proofs, Phase.TRANSFERRING, LEASE_SECONDS)
    written(transitions.record_arrived, claimed, [ArrivedFile(n, proofs[n], FileState.PUBLISHED) for n in range(2)])
    written(transitions.record_failures, claimed, {4: NoSuchFile("disk:/a/4")})
    return claimed


@pytest.fixture
def read(database):
    def run(function, *arguments):
        with database.reading() as session:
            return function(session, *arguments)

    return run


def settled(written, job_id):
    """Settles all files of the job; in how many transactions."""
    for count in range(1, 100):
        if written(transitions.settle, job_id):
            return count
    raise AssertionError("it comes to no end")


def numbers(session):
    return list(session.scalars(select(JobFile.number).order_by(JobFile.number)))


def states(session, job_id):
    rows = session.execute(select(JobFile.state, JobFile.code, JobFile.locked).order_by(JobFile.number))
    return [(row.state, row.code) for row in rows if not row.locked]


ARRIVED, UNKNOWN, GONE = ("published", None), ("failed", "unknown-outcome"), ("failed", "no-such-file")
OVER, LEFT = ("failed", "deadline"), ("pending", None)


def test_a_job_of_many_files_fails_a_few_files_at_a_time(folder, written, read, claim):
    assert written(transitions.fail, folder, "deadline", "It is late.")

    reported = read(reports.report, "ann", folder.job_id)
    assert (reported.status, reported.phase, reported.code) == (Status.IN_PROGRESS, Phase.ENDING, "deadline")
    assert settled(written, folder.job_id) == 4
    reported = read(reports.report, "ann", folder.job_id)
    assert (reported.status, reported.phase, reported.code) == (Status.FAILED, None, "deadline")
    assert (reported.files_done, reported.bytes_done) == (2, 10)
    assert read(states, folder.job_id) == [ARRIVED, ARRIVED, UNKNOWN, OVER, GONE, *[OVER] * 5]
    log = read(events.of_job, folder.job_id)
    assert [line.event for line in log][-2:] == ["ending", "failed"]
    assert [line.to_status for line in log][-2:] == ["IN_PROGRESS", "FAILED"]


def test_a_job_of_few_files_ends_the_same_at_once(folder, written, read, monkeypatch):
    monkeypatch.setattr("data_mover.store.transitions.ends.FILES_AT_ONCE", 1000)

    assert written(transitions.fail, folder, "deadline", "It is late.")

    assert read(reports.report, "ann", folder.job_id).status is Status.FAILED
    assert read(states, folder.job_id) == [ARRIVED, ARRIVED, UNKNOWN, OVER, GONE, *[OVER] * 5]
    assert settled(written, folder.job_id) == 1


def test_nobody_works_on_a_job_that_is_ending(folder, written, read, claim):
    written(transitions.fail, folder, "deadline", "It is late.")
    written(transitions.settle, folder.job_id)

    proof = Proof(5, "ab", "size")
    assert not written(renew, folder, LEASE_SECONDS)
    assert not written(record_path, folder, "/other")
    assert written(renew_all, [Beat(folder, 7, 1)], LEASE_SECONDS) == {}
    assert not written(transitions.record_arrived, folder, [ArrivedFile(5, proof, FileState.PUBLISHED)])
    assert not written(transitions.complete, folder)
    assert not written(transitions.end_cancelled, folder)
    written(transitions.cancel, folder.job_id)
    written(lambda session: session.execute(update(Job).values(lease_until_ms=1, deadline_ms=1)) and None)
    assert written(transitions.take_back_lost, 10) == []
    assert written(transitions.end_overdue, 10) == []
    assert claim() is None
    assert read(reports.report, "ann", folder.job_id).phase is Phase.ENDING


def test_a_waiting_job_of_many_files_is_cancelled_a_few_at_a_time_and_not_claimed_meanwhile(
    folder, written, read, claim
):
    written(transitions.unmark_publishing, folder, [2], LEASE_SECONDS)
    written(transitions.hand_back, folder, NoSuchFile("disk:/a"))
    written(transitions.cancel, folder.job_id)

    assert read(reports.report, "ann", folder.job_id).phase is Phase.ENDING
    assert not read(queue.runnable)
    assert claim() is None
    settled(written, folder.job_id)
    assert read(reports.report, "ann", folder.job_id).status is Status.CANCELLED
    assert read(states, folder.job_id) == [ARRIVED, ARRIVED, LEFT, LEFT, GONE, *[LEFT] * 5]


def test_what_did_not_appear_at_once_has_not_arrived_however_many_files_it_has(written, read, claim, database):
    job_id = written(submissions.add, a_submission())
    with database.writing() as session:
        selection = {**session.get_one(Job, job_id).selection, "atomic": True}
        session.execute(update(Job).values(selection=selection))
    claimed = claim()
    top = ListedFile(FileKind.DIRECTORY, 0, "/a", "", "/b")
    planned = [ListedFile(FileKind.FILE, 0, f"/a/{n}", f"{n}", f"/b/{n}", 5) for n in range(COUNT)]
    written(file_lists.complete_file_list, claimed, "/b", 0, [top, *planned])
    proofs = {n: Proof(5, "ab", "size") for n in range(1, COUNT + 1)}
    written(
        transitions.record_arrived, claimed, [ArrivedFile(n, proof, FileState.PUBLISHED) for n, proof in proofs.items()]
    )

    assert written(transitions.fail, claimed, "deadline", "It is late.")
    settled(written, job_id)

    assert read(states, job_id) == [OVER] * (COUNT + 1)
    assert read(reports.report, "ann", job_id).files_done == 0


def test_a_folder_is_begun_afresh_a_few_files_at_a_time(folder, written, read):
    steps = 0
    while read(files.is_begun, folder):
        assert written(transitions.begin_afresh, folder, LEASE_SECONDS)
        steps += 1

    assert steps == 2
    assert [state for state, _ in read(states, folder.job_id)] == ["pending"] * 4 + ["failed"] + ["pending"] * 5


def test_a_list_that_came_to_no_end_is_forgotten_a_few_files_at_a_time(folder, written, read):
    steps = 0
    while read(file_lists.is_listed, folder):
        assert written(file_lists.forget_listed, folder)
        steps += 1

    assert steps == 4


def test_files_may_be_listed_again_when_the_answer_of_the_database_was_lost(folder, written, read):
    page = [ListedFile(FileKind.FILE, 0, f"/a/{n}", f"{n}", f"/b/{n}", 5) for n in range(5, 8)]

    assert written(file_lists.record_files, folder, "/b", 5, page)
    assert written(file_lists.record_files, folder, "/b", 5, page)

    assert read(numbers) == list(range(COUNT))


@pytest.fixture
def changed_at_once(database):
    """How many files each transaction has changed; the last number is that of the next one."""
    counts = [0]

    def note(connection, cursor, statement, *_):
        if statement.startswith("UPDATE job_files"):
            counts[-1] += cursor.rowcount

    def committed(connection):
        counts.append(0)

    event.listen(database.writing_engine, "after_cursor_execute", note)
    event.listen(database.writing_engine, "commit", committed)
    yield counts
    event.remove(database.writing_engine, "after_cursor_execute", note)
    event.remove(database.writing_engine, "commit", committed)


def claim_folders(written, claim, count):
    """Claims jobs of two files each, which are on their way."""
    for number in range(count):
        written(submissions.add, a_submission(caller=f"caller {number}"))
        held = claim()
        path = f"/b/{held.job_id}"
        planned = [ListedFile(FileKind.FILE, 0, f"/a/{n}", f"{n}", f"{path}/{n}", 5) for n in range(2)]
        written(file_lists.complete_file_list, held, path, 0, planned)
        written(transitions.lock_paths, held, [PathLock(n, f"vis:{path}/{n}") for n in range(2)], LEASE_SECONDS)


@pytest.mark.parametrize("end", ["overdue", "cancelled", "poison"])
def test_many_jobs_that_end_together_change_no_more_files_at_once_than_one_may(
    end, written, read, claim, sweeper, changed_at_once
):
    claim_folders(written, claim, 8)
    changes: dict[str, Any] = {"lease_until_ms": 1, "worker_id": None}
    if end == "overdue":
        changes = {"deadline_ms": 1, "reason": "r" + Job.caller}
    elif end == "cancelled":
        changes["phase"] = Phase.CANCELLING
    else:
        changes |= {"losses": 9, "reason": "r" + Job.caller}
    written(lambda session: session.execute(update(Job).values(changes)) and None)
    changed_at_once[:] = [0]

    sweeper.sweep()

    assert read(lambda session: set(session.scalars(select(Job.status)))) <= {Status.FAILED, Status.CANCELLED}
    assert sum(changed_at_once) == 16
    assert max(changed_at_once) <= 3  # and two jobs have four


def test_a_completed_job_of_many_files_has_their_weakest_proof_whoever_completes_it(
    written, read, claim, sweeper, monkeypatch
):
    monkeypatch.setattr("data_mover.store.list_proofs.PAGE", 2)
    methods = ["sha256-remote", "size", "sha256-readback"]
    proofs = {n: Proof(5, f"ab{n}", method) for n, method in enumerate(methods)}
    by_sweeper = brought(written, claim, proofs)
    written(lambda session: session.execute(update(Job).values(lease_until_ms=1, losses=9)) and None)
    sweeper.sweep()
    by_attempt = brought(written, claim, proofs)
    proof = read(lambda session: list_proof(lambda number: arrived_after(session, by_attempt.job_id, number)))
    assert written(record_proof, by_attempt, proof.sha256, proof.verified)
    assert read(reports.report, "ann", by_attempt.job_id).verified is None
    assert written(transitions.complete, by_attempt)

    listed = "".join(f"ab{n}  {n}\0" for n in range(3)).encode()
    for held in by_sweeper, by_attempt:
        told = read(reports.report, "ann", held.job_id)
        assert (told.status, told.verified) == (Status.COMPLETED, "size")
        assert told.sha256 == hashlib.sha256(listed).hexdigest()


def brought(written, claim, proofs):
    """A claimed job of which all files have arrived."""
    written(submissions.add, a_submission())
    held = claim()
    path = f"/b/{held.job_id}"
    planned = [ListedFile(FileKind.FILE, 0, f"/a/{n}", f"{n}", f"{path}/{n}", 5) for n in range(len(proofs))]
    written(file_lists.complete_file_list, held, path, 0, planned)
    written(
        transitions.record_arrived, held, [ArrivedFile(n, proof, FileState.PUBLISHED) for n, proof in proofs.items()]
    )
    return held


def test_directories_are_recorded_a_page_at_a_time(written, read, claim, changed_at_once):
    written(submissions.add, a_submission())
    held = claim()
    planned = [ListedFile(FileKind.DIRECTORY, 0, f"/a/{n}", f"{n}", f"/b/{n}") for n in range(COUNT)]
    written(file_lists.complete_file_list, held, "/b", 0, planned)
    changed_at_once[:] = [0]

    assert written(transitions.record_directories, held, [9, 8, 7])

    assert changed_at_once == [3, 0]
    assert [state for state, _ in read(states, held.job_id)] == ["pending"] * 7 + ["published"] * 3


@pytest.fixture
def sweeper(tmp_path, database, redis_url):
    settings = Settings.from_mapping(
        {
            "sqlalchemy.url": f"sqlite:///{tmp_path}/jobs.db",
            "redis.url": redis_url,
            "data_mover.registry": str(tmp_path / "registry.toml"),
            "data_mover.callers": "none",
            "data_mover.state_dir": str(tmp_path / "state"),
        }
    )
    connection = redis_connection(settings.redis_url, settings.redis_secret())
    connection.flushall()
    yield SimpleNamespace(
        sweep=Sweeper(settings, database, Doorbell(connection)).sweep, notices=doorbell_queue(connection)
    )
    connection.flushall()
    connection.close()


def test_the_sweeper_ends_what_a_process_left_in_the_middle_of_its_end(folder, written, read, sweeper):
    written(transitions.fail, folder, "deadline", "It is late.")
    written(transitions.settle, folder.job_id)

    sweeper.sweep()

    assert read(reports.report, "ann", folder.job_id).status is Status.FAILED


def test_a_part_of_a_sweep_that_fails_stops_no_other(folder, written, read, sweeper, caplog):
    written(transitions.fail, folder, "deadline", "It is late.")
    lost = written(submissions.add, a_submission())
    written(lambda session: session.execute(text("ALTER TABLE plan_requests RENAME TO elsewhere")) and None)

    sweeper.sweep()

    assert read(reports.report, "ann", folder.job_id).status is Status.FAILED
    assert sweeper.notices.count > 0
    assert "forget_abandoned" in caplog.text
    assert read(reports.report, "ann", lost).status is Status.PENDING


def test_sweeps_have_sqlite_look_at_its_tables_at_the_start_and_then_now_and_then(sweeper, database, read, written):
    def looks():
        tables = text("SELECT count(*) FROM sqlite_schema WHERE name = 'sqlite_stat1'")
        return read(lambda session: session.scalars(tables).one())

    if database.engine.dialect.name != "sqlite":
        sweeper.sweep()
        return
    assert looks() == 0
    sweeper.sweep()
    assert looks() == 1
    written(lambda session: session.execute(text("DROP TABLE sqlite_stat1")) and None)
    sweeper.sweep()
    assert looks() == 0


@pytest.mark.parametrize("statement", range(1, 6))
def test_a_wish_to_cancel_is_not_lost_when_a_claim_comes_between_its_statements(database_url, written, read, statement):
    """The claim tries after each statement of the cancellation in turn, and waits for it or comes first."""
    job_id = written(submissions.add, a_submission())
    cancelling = Database(database_url)
    seen, claims = [], []

    def claim_meanwhile(*arguments):
        seen.append(arguments)
        if len(seen) == statement:
            claims.append(threading.Thread(target=begin, args=(database_url, job_id)))
            claims[0].start()
            claims[0].join(0.5)

    event.listen(cancelling.writing_engine, "after_cursor_execute", claim_meanwhile)
    with cancelling.writing() as session:
        transitions.cancel(session, job_id)
    for thread in claims:
        thread.join()
    cancelling.close()

    reported = read(reports.report, "ann", job_id)
    assert (reported.status, reported.phase) in [(Status.CANCELLED, None), (Status.IN_PROGRESS, Phase.CANCELLING)]


def begin(url, job_id):
    database = Database(url)
    with database.writing() as session:
        transitions.begin(session, [job_id], WorkerProcess(8, "there", 1, "1.0"), LEASE_SECONDS)
    database.close()
