"""State changes of a job, from its submission to its end."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, bindparam, case, func, insert, select, update
from sqlalchemy.orm import Session

from data_mover.domain.errors import DataMoverError, MoveFailure, PathBusy
from data_mover.domain.states import EventKind, Phase, Status
from data_mover.store import claims, host_health
from data_mover.store.claims import Claim
from data_mover.store.database import insert_if_absent, ms, now_ms
from data_mover.store.figures import bytes_reserved_on
from data_mover.store.models import EVENTS, TEMPORARY_FILES, Job, JobFile, TemporaryFile
from data_mover.store.transitions.change import UNATTENDED, Change, given, new, now_but_not_before
from data_mover.store.transitions.ends import end_all, end_completed, has_arrived, marked_files, unlock_paths
from data_mover.store.workers import WorkerProcess

#: how long a job waits for a path that another one writes to: the first time, the second, and so on
PATH_WAITS_SECONDS = (1, 2, 4, 8, 16, 32, 60)


_SUBMITTED = insert(EVENTS).values(
    job_id=bindparam("job_id"),
    at_ms=bindparam("at_ms"),
    number=1,
    event=EventKind.SUBMITTED,
    to_status=Status.PENDING,
    to_phase=Phase.QUEUED,
    attempt=0,
)
_BEGIN = Change(
    EventKind.CLAIMED,
    (Job.id.in_(bindparam("pending_jobs", expanding=True)), Job.status == Status.PENDING, Job.ending.is_(None)),
    {
        "status": Status.IN_PROGRESS,
        "phase": Phase.RESOLVING,
        "attempt": Job.attempt + 1,
        "lease_until_ms": now_ms() + bindparam("new_lease_ms"),
        "started_ms": func.coalesce(Job.started_ms, now_but_not_before(Job.submitted_ms)),
        **given("worker", "worker_id", "lease_ms"),
    },
)
_PHASE = Change(
    EventKind.PHASE,
    (*claims.ACTIVE, Job.phase != bindparam("new_phase")),
    {"lease_until_ms": now_ms() + bindparam("new_lease_ms"), **given("phase")},
)
_CLEARABLE = (
    update(TEMPORARY_FILES).where(TemporaryFile.job_id == bindparam("ended_job")).values(not_before_ms=now_ms())
)


def submit(session: Session, values: dict[str, Any]) -> int | None:
    """Insert a PENDING job and its first event; return its id, or None if the caller has used the key before."""
    state = {"status": Status.PENDING, "phase": Phase.QUEUED, "events": 1}
    job_id = insert_if_absent(session, Job, {**values, **state})
    if job_id is not None:
        session.connection().execute(_SUBMITTED, {"job_id": job_id, "at_ms": values["submitted_ms"]})
    return job_id


def begin(session: Session, job_ids: Sequence[int], worker: WorkerProcess, lease_seconds: float) -> list[int]:
    """Begin the next attempt of PENDING jobs: they become IN_PROGRESS. Returns the ids of those that were still
    PENDING."""
    lease = new(worker=str(worker), worker_id=worker.id, lease_ms=ms(lease_seconds))
    return _BEGIN.make(session, pending_jobs=list(job_ids), **lease)


def record_phase(session: Session, claim: Claim, phase: Phase, lease_seconds: float) -> bool:
    """Record the phase and extend the lease. Returns False if the job is no longer this attempt's."""
    if claims.renewed_phase(session, claim) is phase:
        return True
    if _PHASE.make(session, **claims.of(claim), **new(phase=phase, lease_ms=ms(lease_seconds))):
        claims.note_renewal(session, claim, phase)
        return True
    return claims.renew(session, claim, lease_seconds)


def reserve(session: Session, claim: Claim, lease_seconds: float) -> int:
    """Reserve the job's bytes at its destination; return the bytes that other running jobs have reserved there. Locks
    the host's row: of two jobs that begin at once, the second one counts the first.

    The phase does not change if the job is no longer this attempt's.
    """
    host_health.lock(session, [claim.destination.host])
    record_phase(session, claim, Phase.TRANSFERRING, lease_seconds)
    return bytes_reserved_on(session, claim.destination.host, claim.job_id)


def complete(session: Session, claim: Claim) -> bool:
    """End the job as COMPLETED. Returns False if it is no longer this attempt's."""
    return _over(session, claim, end_completed(session, claim))


def fail(session: Session, claim: Claim, code: str, reason: str) -> bool:
    """End the job, and its files that have not arrived, as FAILED. Returns False if it is no longer this attempt's.

    The reason of a job with many files begins with the number of those that have not arrived.
    """
    job = session.get_one(Job, claim.job_id, populate_existing=True)
    missing = job.files_total if job.selection["atomic"] else job.files_total - job.files_done
    if missing and job.files_total > 1:
        reason = f"{missing} of {job.files_total} files have not arrived. {reason}"
    cause, of = {"code": code, "reason": reason}, claims.of(claim)
    ended = end_all(session, EventKind.FAILED, claims.ACTIVE, Status.FAILED, cause, of)
    return _over(session, claim, ended)


def put_back(session: Session, claim: Claim, failure: MoveFailure, wait_seconds: float) -> bool:
    """Make the job PENDING again after a failure; the next attempt is due after the wait. Returns False if the job is
    no longer this attempt's."""
    values = {"phase": Phase.WAITING_RETRY, "failures": claim.failures + 1}
    return _release(session, EventKind.ATTEMPT_FAILED, claim, failure, ms(wait_seconds), **values)


def hand_back(session: Session, claim: Claim, cause: DataMoverError, wait_seconds: float = 0) -> bool:
    """Make the job PENDING again without spending an attempt. Returns False if it is no longer this attempt's."""
    phase = Phase.WAITING_RETRY if wait_seconds else Phase.QUEUED
    return _release(session, EventKind.ATTEMPT_POSTPONED, claim, cause, ms(wait_seconds), phase=phase)


def wait_for_path(session: Session, claim: Claim, cause: PathBusy) -> bool:
    """PENDING again while another job writes to one of its paths: it spends no attempt, and waits longer each time.
    False if the job is no longer this attempt's."""
    waits_ms = [ms(seconds) for seconds in PATH_WAITS_SECONDS]
    wait_ms = case(dict(enumerate(waits_ms)), value=Job.path_waits, else_=waits_ms[-1])
    values = {"phase": Phase.WAITING_RETRY, "path_waits": Job.path_waits + 1}
    return _release(session, EventKind.ATTEMPT_POSTPONED, claim, cause, wait_ms, **values)


def cancel(session: Session, job_id: int) -> None:
    """End a waiting job as CANCELLED; the worker of a running one stops it at its next heartbeat.

    Does not change a job that has ended, that is publishing its last file or has done so, or whose outcome is unknown.
    Locks the row first: a concurrent claim precedes this, or blocks and finds the job CANCELLED.
    """
    session.execute(select(Job.id).where(Job.id == job_id).with_for_update())
    unmarked = ~marked_files().where(JobFile.job_id == job_id).exists()
    #: a marked file does not prevent the cancellation of a job of many files
    in_part = Job.files_total > 1
    running = (Job.id == job_id, Job.status == Status.IN_PROGRESS, Job.ending.is_(None), unmarked | in_part)
    cancellable = Job.phase.not_in((Phase.PUBLISHING, Phase.CANCELLING))
    Change(EventKind.CANCEL_REQUESTED, (*running, cancellable), {"phase": Phase.CANCELLING}).make(session)
    waiting = (Job.id == job_id, Job.status == Status.PENDING, Job.ending.is_(None), unmarked, ~has_arrived())
    end_all(session, EventKind.CANCELLED, waiting, Status.CANCELLED)


def end_cancelled(session: Session, claim: Claim) -> bool:
    """End the job as CANCELLED, once the attempt has stopped. Returns False if it is no longer this attempt's, or is
    not being cancelled."""
    guard = (*claims.MINE, Job.phase == Phase.CANCELLING)
    return _over(session, claim, end_all(session, EventKind.CANCELLED, guard, Status.CANCELLED, given=claims.of(claim)))


def _over(session: Session, claim: Claim, ended: Sequence[int]) -> bool:
    """Return whether the job has ended. Makes its temporary files due then: its attempt has stopped, so that nothing
    writes to them."""
    if ended:
        session.connection().execute(_CLEARABLE, {"ended_job": claim.job_id})
    return bool(ended)


def _release(
    session: Session,
    kind: EventKind,
    claim: Claim,
    cause: DataMoverError,
    wait_ms: int | ColumnElement[int],
    **values: Any,
) -> bool:
    waiting = {**UNATTENDED, "bytes_per_second": None}
    code = cause.code if isinstance(cause, MoveFailure) else None
    reported = {"code": code, "reason": str(cause) or None, "not_before_ms": now_ms() + wait_ms}
    release = Change(kind, claims.ACTIVE, {"status": Status.PENDING, **waiting, **reported, **values})
    mine = bool(release.make(session, **claims.of(claim)))
    if mine:
        unlock_paths(session, [claim.job_id])
    return mine
