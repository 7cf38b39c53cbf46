"""The end of jobs, and of their files."""

from collections.abc import Collection, Mapping, Sequence
from functools import cache
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    BindParameter,
    ColumnElement,
    Select,
    Text,
    Update,
    bindparam,
    case,
    exists,
    func,
    or_,
    select,
    update,
)
from sqlalchemy.orm import Session

from data_mover.domain.errors import UnknownOutcome
from data_mover.domain.states import ARRIVED, EventKind, FileKind, FileState, Phase, Status
from data_mover.store import claims
from data_mover.store.claims import Claim
from data_mover.store.models import ENDING, JOB_FILES, JOBS, Job, JobFile
from data_mover.store.transitions.change import UNATTENDED, Change, now_but_not_before

_NOTHING: Mapping[str, Any] = MappingProxyType({})
_NO_CAUSE = {"code": None, "reason": None}
#: how many files are changed in one transaction, which keeps it short
FILES_AT_ONCE = 2_000


def marked_files() -> Select[int]:
    """Return the job ids of files that an attempt was about to publish, with unknown outcome."""
    return select(JobFile.job_id).where(JobFile.state == FileState.VERIFIED)


def has_arrived() -> ColumnElement[bool]:
    """Return the condition that all files of a job are at their final paths."""
    missing = select(JobFile.job_id).where(JobFile.job_id == Job.id, JobFile.state.not_in(ARRIVED))
    return Job.planned & ~missing.exists()


def end_all(
    session: Session,
    kind: EventKind,
    guard: Sequence[ColumnElement[bool]],
    status: Status,
    cause: Mapping[str, Any] = _NOTHING,
    given: Mapping[str, Any] = _NOTHING,
) -> list[int]:
    """End the jobs that meet the guard; no attempt may run them any more. Returns their ids. `cause` is the code and
    the reason, if the jobs get any; `given` are the parameters of the guard.

    A job with more files than one transaction may settle is only marked as ending; `settle` then ends it.
    """
    if status is Status.COMPLETED:  # its files are settled
        return _end(session, _ending(kind, guard, status, cause), status, cause, **given)
    many = exists().where(JobFile.job_id == Job.id, JobFile.number >= FILES_AT_ONCE)
    marking = Change(EventKind.ENDING, (*guard, many), {"phase": Phase.ENDING, "ending": status, **cause})
    few = (*guard, Job.ending.is_(None))
    ids = marking.make(session, **given)
    return ids + _end(session, _ending(kind, few, status, cause), status, cause, **given)


def end_completed(session: Session, claim: Claim) -> list[int]:
    """End the job as COMPLETED, and return its id; nothing if it is no longer this attempt's."""
    return _end(session, _COMPLETING, Status.COMPLETED, {}, **claims.of(claim))


def settle(session: Session, job_id: int) -> bool:
    """Settle the next files of a job that is ending, or end it if none is left. Returns True once nothing is left to
    do, or another process does it."""
    ending = select(Job).where(Job.id == job_id, Job.ending.is_not(None))
    job = session.scalars(ending.with_for_update(skip_locked=True)).one_or_none()
    if job is None:
        return True
    status, cause = Status(str(job.ending)), {"code": job.code, "reason": job.reason}
    which, settled = _settled(status)
    some = select(JobFile.number).where(JobFile.job_id == job_id, which).order_by(JobFile.number).limit(FILES_AT_ONCE)
    numbers = list(session.scalars(some, {"ended_jobs": [job_id]}))
    if not numbers:
        _end(session, _ending(EventKind(status.lower()), (Job.id == job_id,), status, cause), status, cause)
        return True
    files = (JobFile.job_id == job_id, JobFile.number.in_(numbers))
    session.execute(update(JOB_FILES).where(*files).values(settled), _given(status, [job_id], cause))
    return False


def ending_jobs(session: Session, limit: int) -> list[int]:
    """Return the ids of jobs whose files are still to be settled."""
    return list(session.scalars(select(Job.id).where(ENDING).limit(limit)))


def _ending(kind: EventKind, guard: Sequence[ColumnElement[bool]], status: Status, cause: Mapping[str, Any]) -> Change:
    ended_ms = now_but_not_before(func.coalesce(Job.started_ms, Job.submitted_ms))
    values = {"status": status, "ended_ms": ended_ms, "phase": None, "ending": None, **UNATTENDED, **cause}
    return Change(kind, guard, values)


_COMPLETING = _ending(EventKind.COMPLETED, claims.ACTIVE, Status.COMPLETED, _NO_CAUSE)
_ENDED: BindParameter[int] = bindparam("ended_jobs", expanding=True)


def _end(session: Session, ending: Change, status: Status, cause: Mapping[str, Any], **parameters: Any) -> list[int]:
    """End jobs, settle their files, and sum up their totals; return the jobs' ids."""
    ids = ending.make(session, **parameters)
    if ids:
        session.connection().execute(_settling(status), _given(status, ids, cause))
        session.connection().execute(_TOTALS, {"ended_jobs": ids})
    return ids


@cache
def _settling(status: Status) -> Update:
    which, settled = _settled(status)
    return update(JOB_FILES).where(JobFile.job_id.in_(_ENDED), which).values(settled)


def _settled(status: Status) -> tuple[ColumnElement[bool], dict[str, Any]]:
    """Return the condition of the files that are still to be settled, and their new values.

    A file that has not arrived fails with its job, for a reason of its own if it has one; in a cancelled job it is left
    as it is. A file that was about to be published gets UnknownOutcome.
    """
    unknown = JobFile.state == FileState.VERIFIED
    undone = (FileState.PENDING, FileState.TRANSFERRING) if status is Status.FAILED else (FileState.TRANSFERRING,)
    unseen = JobFile.state.in_(ARRIVED) & JobFile.job_id.in_(_not_appeared())
    open_ = JobFile.state.in_(undone) if status is Status.COMPLETED else or_(JobFile.state.in_(undone), unseen)
    left = FileState.FAILED if status is Status.FAILED else FileState.PENDING
    values: dict[str, Any] = {
        "state": case((unknown, FileState.FAILED.value), (open_, left.value), else_=JobFile.state),
        "code": case((unknown, UnknownOutcome.code), else_=JobFile.code),
        "reason": case((unknown, UnknownOutcome().reason), else_=JobFile.reason),
        "locked": False,
    }
    if status is Status.FAILED:
        for name in ("code", "reason"):
            own = func.coalesce(getattr(JobFile, name), bindparam(f"cause_{name}", type_=Text))
            values[name] = case((unknown, getattr(UnknownOutcome(), name)), (open_, own), else_=getattr(JobFile, name))
    return open_ | unknown | JobFile.locked, values


def _given(status: Status, ids: Collection[int], cause: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters of a statement that settles files."""
    named = {f"cause_{name}": cause[name] for name in ("code", "reason")} if status is Status.FAILED else {}
    return {"ended_jobs": list(ids), **named}


def _totals() -> Update:
    there = (JobFile.job_id == Job.id, JobFile.kind == FileKind.FILE, JobFile.state.in_(ARRIVED))
    count = select(func.count()).select_from(JobFile).where(*there).scalar_subquery()
    size = select(func.coalesce(func.sum(JobFile.size_bytes), 0)).where(*there).scalar_subquery()
    return update(JOBS).where(Job.id.in_(_ENDED)).values(files_done=count, bytes_done=size)


_TOTALS = _totals()
_UNLOCKING = (
    update(JOB_FILES)
    .where(JobFile.job_id.in_(_ENDED), JobFile.locked, JobFile.state != FileState.VERIFIED)
    .values(locked=False)
)


def unlock_paths(session: Session, ids: Collection[int]) -> None:
    """Unlock the final paths of the jobs, unless the file may still be published."""
    session.connection().execute(_UNLOCKING, {"ended_jobs": list(ids)})


def _not_appeared() -> Select[int]:
    """Return the jobs with an atomic folder that is not recorded as published."""
    top = (JobFile.number == 0, JobFile.kind == FileKind.DIRECTORY, JobFile.state != FileState.PUBLISHED)
    return select(JobFile.job_id).join(Job).where(Job.id.in_(_ENDED), Job.selection["atomic"].as_boolean(), *top)
