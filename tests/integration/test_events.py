"""The log of a job: each change of it, once, in order."""

from pathlib import Path

import pytest
from sqlalchemy import func, select, update

from data_mover.domain.errors import Fenced, HostUnreachable, NameConflict, NoSuchFile
from data_mover.domain.proof import Proof
from data_mover.domain.states import EventKind, FileKind, FileState, Phase, Status
from data_mover.store import events, file_lists, submissions, transitions
from data_mover.store.file_lists import ListedFile
from data_mover.store.models import Event, Job, JobFile
from data_mover.store.transitions import ArrivedFile, PathLock
from tests.integration.conftest import LEASE_SECONDS, a_file, a_submission


@pytest.fixture
def log(database):
    def read(job_id):
        with database.reading() as session:
            return events.of_job(session, job_id)

    return read


def kinds(log):
    return [event.event.value for event in log]


def test_the_log_of_a_job_shows_each_change_from_its_submission_to_its_end(written, claim, log):
    job_id = written(submissions.add, a_submission())
    first = claim()
    written(transitions.put_back, first, HostUnreachable("vis"), 0)
    second = claim()
    written(file_lists.complete_file_list, second, "/b", 0, [a_file("/b")])
    proven = Proof(1, "ab", "size")
    written(transitions.record_phase, second, Phase.TRANSFERRING, LEASE_SECONDS)
    written(transitions.mark_publishing, second, {0: proven}, Phase.PUBLISHING, LEASE_SECONDS)
    written(transitions.record_arrived, second, [ArrivedFile(0, proven, FileState.PUBLISHED)])
    written(transitions.complete, second)

    lines = log(job_id)

    assert [(line.number, line.event.value, line.from_status, line.to_status, line.to_phase) for line in lines] == [
        (1, "submitted", None, "PENDING", "queued"),
        (2, "claimed", "PENDING", "IN_PROGRESS", "resolving"),
        (3, "attempt-failed", "IN_PROGRESS", "PENDING", "waiting-retry"),
        (4, "claimed", "PENDING", "IN_PROGRESS", "resolving"),
        (5, "phase", "IN_PROGRESS", "IN_PROGRESS", "transferring"),
        (6, "phase", "IN_PROGRESS", "IN_PROGRESS", "publishing"),
        (7, "completed", "IN_PROGRESS", "COMPLETED", None),
    ]
    assert [line.from_phase for line in lines][1:] == [line.to_phase for line in lines][:-1]
    assert [line.attempt for line in lines] == [0, 1, 1, 2, 2, 2, 2]
    assert [line.worker for line in lines] == [None] + ["here:7"] * 6
    assert (lines[2].code, lines[2].reason) == ("host-unreachable", HostUnreachable("vis").reason)
    assert [line.at for line in lines] == sorted(line.at for line in lines)


def test_what_is_refused_by_the_guard_leaves_no_event(written, claim, log):
    job_id = written(submissions.add, a_submission(key="k"))
    fenced = claim()
    written(transitions.hand_back, fenced, Fenced())
    before = log(job_id)

    assert written(submissions.add, a_submission(key="k")) is None
    assert not written(transitions.record_phase, fenced, Phase.VERIFYING, LEASE_SECONDS)
    assert not written(transitions.complete, fenced)
    assert not written(transitions.fail, fenced, "no-such-file", "disk:/a")
    assert not written(transitions.end_cancelled, fenced)
    assert written(transitions.take_back_lost, 10) == []
    assert written(transitions.end_overdue, 10) == []

    assert log(job_id) == before


def test_a_phase_that_is_recorded_twice_is_one_event(written, claim, log):
    job_id = written(submissions.add, a_submission())
    claimed = claim()

    assert written(transitions.record_phase, claimed, Phase.VERIFYING, LEASE_SECONDS)
    assert written(transitions.record_phase, claimed, Phase.VERIFYING, LEASE_SECONDS)

    assert kinds(log(job_id)) == ["submitted", "claimed", "phase"]


def test_a_lost_lease_a_wish_to_cancel_and_a_passed_deadline_are_events(written, claim, log, database):
    lost = written(submissions.add, a_submission())
    claim()
    written(run_out)
    written(transitions.take_back_lost, 10)
    claimed = claim()
    written(transitions.cancel, lost)
    written(transitions.end_cancelled, claimed)
    overdue = written(submissions.add, a_submission())
    written(lambda session: session.execute(update(Job).where(Job.id == overdue).values(deadline_ms=1)) and None)
    written(transitions.end_overdue, 10)

    assert kinds(log(lost)) == ["submitted", "claimed", "lease-lost", "claimed", "cancel-requested", "cancelled"]
    assert kinds(log(overdue)) == ["submitted", "failed"]
    assert log(overdue)[-1].code == "deadline"


def run_out(session):
    """Lets the leases of all running jobs run out."""
    session.execute(update(Job).where(Job.status == Status.IN_PROGRESS).values(lease_until_ms=1))


def test_many_files_write_an_event_for_a_batch_and_not_for_each_file(written, claim, log):
    count = 300
    job_id = written(submissions.add, a_submission())
    claimed = claim()
    planned = [ListedFile(FileKind.FILE, 0, f"/a/{n}", f"{n}", f"/b/{n}", 1) for n in range(count)]
    written(file_lists.complete_file_list, claimed, "/b", 0, planned)
    locks = [PathLock(n, f"vis:/b/{n}") for n in range(count)]
    proofs = {n: Proof(1, "ab", "size") for n in range(count - 1)}

    assert written(transitions.lock_paths, claimed, locks, LEASE_SECONDS) == {}
    assert written(transitions.mark_publishing, claimed, proofs, Phase.TRANSFERRING, LEASE_SECONDS)
    arrived = [ArrivedFile(n, proof, FileState.PUBLISHED) for n, proof in proofs.items()]
    assert written(transitions.record_arrived, claimed, arrived)
    assert written(transitions.record_failures, claimed, {count - 1: NoSuchFile("disk:/a/299")})
    assert written(transitions.fail, claimed, "no-such-file", "disk:/a/299")

    lines = log(job_id)
    assert kinds(lines) == ["submitted", "claimed", "phase", "files-arrived", "files-failed", "failed"]
    assert [line.files for line in lines][3:5] == [count - 1, 1]
    assert (lines[4].code, "299" in lines[4].reason) == ("no-such-file", True)


def test_a_job_whose_files_fail_without_end_writes_no_log_without_end(written, claim, log, monkeypatch):
    job_id = written(submissions.add, a_submission())
    claimed = claim()
    written(file_lists.complete_file_list, claimed, "/b", 0, [a_file("/b/1")])
    monkeypatch.setattr("data_mover.store.transitions.files.MOST_EVENTS", 5)

    for _ in range(10):
        assert written(transitions.record_failures, claimed, {0: HostUnreachable("vis")})
    assert written(transitions.complete, claimed)

    assert kinds(log(job_id)) == ["submitted", "claimed", *["files-failed"] * 3, "completed"]


def test_numbers_have_no_gap_and_the_row_counts_them(written, claim, database):
    for _ in range(3):
        written(submissions.add, a_submission())
    for _ in range(3):
        written(transitions.fail, claim(), "no-such-file", "disk:/a")

    with database.reading() as session:
        counted = dict(session.execute(select(Job.id, Job.events)).all())
        highest = dict(session.execute(select(Event.job_id, func.max(Event.number)).group_by(Event.job_id)).all())
        rows = dict(session.execute(select(Event.job_id, func.count()).group_by(Event.job_id)).all())
    assert counted == highest == rows == dict.fromkeys(counted, 3)


def test_of_two_files_of_a_job_that_reach_the_same_path_the_second_fails_by_name(written, claim, database):
    written(submissions.add, a_submission())
    claimed = claim()
    planned = [ListedFile(FileKind.FILE, 0, f"/a/{n}", f"{n}", f"/b/{n}", 1) for n in "xyz"]
    written(file_lists.complete_file_list, claimed, "/b", 0, planned)

    same = [PathLock(0, "vis:/real"), PathLock(1, "vis:/real"), PathLock(2, "vis:/other")]
    refused = written(transitions.lock_paths, claimed, same, LEASE_SECONDS)

    assert {number: type(cause) for number, cause in refused.items()} == {1: NameConflict}
    with database.reading() as session:
        locked = session.scalars(select(JobFile.number).where(JobFile.locked).order_by(JobFile.number)).all()
    assert locked == [0, 2]


def test_every_kind_of_event_is_documented():
    text = (Path(__file__).parents[2] / "docs" / "reference" / "codes.md").read_text(encoding="utf-8")

    assert [kind for kind in EventKind if f"`{kind.value}`" not in text] == []
