"""The end of jobs, and of their files."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, case, exists, func, or_, select, update
from sqlalchemy.orm import Session

from data_mover.domain.errors import UnknownOutcome
from data_mover.domain.states import ARRIVED, EventKind, FileKind, FileState, Phase, Status
from data_mover.store.models import ENDING, Job, JobFile
from data_mover.store.transitions.change import UNATTENDED, change, now_but_not_before

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
    session: Session, kind: EventKind, guard: Sequence[ColumnElement[bool]], status: Status, **cause: Any
) -> list[int]:
    """End the jobs that meet the guard; no attempt may run them any more. Returns their ids.

    A job with more files than one transaction may settle is only marked as ending; `settle` then ends it.
    """
    if status is Status.COMPLETED:  # its files are settled
        return _end(session, kind, guard, status, **cause)
    many = exists().where(JobFile.job_id == Job.id, JobFile.number >= FILES_AT_ONCE)
    marked = change(session, EventKind.ENDING, (*guard, many), phase=Phase.ENDING, ending=status, **cause)
    return marked + _end(session, kind, (*guard, Job.ending.is_(None)), status, **cause)


def settle(session: Session, job_id: int) -> bool:
    """Settle the next files of a job that is ending, or end it if none is left. Returns True once nothing is left to
    do, or another process does it."""
    ending = select(Job).where(Job.id == job_id, Job.ending.is_not(None))
    job = session.scalars(ending.with_for_update(skip_locked=True)).one_or_none()
    if job is None:
        return True
    status, cause = Status(str(job.ending)), {"code": job.code, "reason": job.reason}
    which, values = _settled([job_id], status, cause)
    some = select(JobFile.number).where(JobFile.job_id == job_id, which).order_by(JobFile.number).limit(FILES_AT_ONCE)
    numbers = list(session.scalars(some))
    if not numbers:
        _end(session, EventKind(status.lower()), (Job.id == job_id,), status, **cause)
        return True
    files = update(JobFile).where(JobFile.job_id == job_id, JobFile.number.in_(numbers)).values(values)
    session.execute(files.execution_options(synchronize_session=False))
    return False


def ending_jobs(session: Session, limit: int) -> list[int]:
    """Return the ids of jobs whose files are still to be settled."""
    return list(session.scalars(select(Job.id).where(ENDING).limit(limit)))


def _end(
    session: Session, kind: EventKind, guard: Sequence[ColumnElement[bool]], status: Status, **cause: Any
) -> list[int]:
    ended = {"phase": None, "ending": None, **UNATTENDED}
    ended_ms = now_but_not_before(func.coalesce(Job.started_ms, Job.submitted_ms))
    ids = change(session, kind, guard, status=status, ended_ms=ended_ms, **ended, **cause)
    if ids:
        _end_files(session, ids, status, cause)
    return ids


def _end_files(session: Session, ids: Collection[int], status: Status, cause: Mapping[str, Any]) -> None:
    """Settle the files of jobs that have ended, and sum up the jobs' totals."""
    which, values = _settled(ids, status, cause)
    files = update(JobFile).where(JobFile.job_id.in_(ids), which).values(values)
    session.execute(files.execution_options(synchronize_session=False))
    there = (JobFile.job_id == Job.id, JobFile.kind == FileKind.FILE, JobFile.state.in_(ARRIVED))
    count = select(func.count()).select_from(JobFile).where(*there).scalar_subquery()
    size = select(func.coalesce(func.sum(JobFile.size_bytes), 0)).where(*there).scalar_subquery()
    totals = update(Job).where(Job.id.in_(ids)).values(files_done=count, bytes_done=size)
    session.execute(totals.execution_options(synchronize_session=False))


def _settled(
    ids: Collection[int], status: Status, cause: Mapping[str, Any]
) -> tuple[ColumnElement[bool], dict[str, Any]]:
    """Return the condition of the files that are still to be settled, and their new values.

    A file that has not arrived fails with its job, for a reason of its own if it has one; in a cancelled job it is left
    as it is. A file that was about to be published gets UnknownOutcome.
    """
    unknown = JobFile.state == FileState.VERIFIED
    undone = (FileState.PENDING, FileState.TRANSFERRING) if status is Status.FAILED else (FileState.TRANSFERRING,)
    unseen = JobFile.state.in_(ARRIVED) & JobFile.job_id.in_(_not_appeared(ids))
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
            own = func.coalesce(getattr(JobFile, name), cause[name])
            values[name] = case((unknown, getattr(UnknownOutcome(), name)), (open_, own), else_=getattr(JobFile, name))
    return open_ | unknown | JobFile.locked, values


def unlock_paths(session: Session, ids: Collection[int]) -> None:
    """Unlock the final paths of the jobs, unless the file may still be published."""
    unmarked = (JobFile.job_id.in_(ids), JobFile.locked, JobFile.state != FileState.VERIFIED)
    session.execute(update(JobFile).where(*unmarked).values(locked=False))


def _not_appeared(ids: Collection[int]) -> Select[int]:
    """Return the jobs with an atomic folder that is not recorded as published."""
    top = (JobFile.number == 0, JobFile.kind == FileKind.DIRECTORY, JobFile.state != FileState.PUBLISHED)
    return select(JobFile.job_id).join(Job).where(Job.id.in_(ids), Job.selection["atomic"].as_boolean(), *top)
