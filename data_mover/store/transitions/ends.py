"""The end of jobs, and what it means for their files."""

from collections.abc import Collection, Mapping, Sequence
from typing import Any

from sqlalchemy import ColumnElement, Select, func, select, update
from sqlalchemy.orm import Session

from data_mover.domain.errors import UnknownOutcome
from data_mover.domain.states import ARRIVED, SETTLED, EventKind, FileKind, FileState, Status
from data_mover.store.models import Job, JobFile
from data_mover.store.transitions.change import UNATTENDED, change, now_but_not_before


def marked_files() -> Select[int]:
    """The job ids of files that an attempt was about to publish, while nobody has found out yet whether it did."""
    return select(JobFile.job_id).where(JobFile.state == FileState.VERIFIED)


def has_arrived() -> ColumnElement[bool]:
    """Whether all that a job consists of is in its place, whoever was to record that."""
    missing = select(JobFile.job_id).where(JobFile.job_id == Job.id, JobFile.state.not_in(ARRIVED))
    return Job.planned & ~missing.exists()


def end_all(
    session: Session, kind: EventKind, guard: Sequence[ColumnElement[bool]], status: Status, **cause: Any
) -> list[int]:
    """Ends the jobs that meet the guard, and on which nobody works any more. Returns their ids."""
    ended = {"phase": None, **UNATTENDED, "bytes_per_second": None, **cause}
    ended["ended_ms"] = now_but_not_before(func.coalesce(Job.started_ms, Job.submitted_ms))
    ids = change(session, kind, guard, status=status, **ended)
    if ids:
        end_files(session, ids, status, cause)
    return ids


def end_files(session: Session, ids: Collection[int], status: Status, cause: Mapping[str, Any]) -> None:
    """Settles the files of jobs that have ended.

    What has not arrived by the end of its job has failed with it, for a reason of its own if it has one, or is left
    alone where nobody wants it any more. Of what was about to be published nobody can say whether it has arrived. What
    the job has come to follows from its files.
    """
    of_jobs = update(JobFile).where(JobFile.job_id.in_(ids)).execution_options(synchronize_session=False)
    if status is not Status.COMPLETED:
        unseen = of_jobs.where(JobFile.job_id.in_(_not_appeared(ids)), JobFile.state.in_(ARRIVED))
        session.execute(unseen.values(state=FileState.PENDING))
    unknown = {"state": FileState.FAILED, "code": UnknownOutcome.code, "reason": UnknownOutcome().reason}
    session.execute(of_jobs.where(JobFile.state == FileState.VERIFIED).values(unknown))
    unsettled = of_jobs.where(JobFile.state.not_in(SETTLED))
    if status is Status.FAILED:
        reported = {name: func.coalesce(getattr(JobFile, name), cause[name]) for name in ("code", "reason")}
        session.execute(unsettled.values(state=FileState.FAILED, **reported))
    else:
        session.execute(unsettled.values(state=FileState.PENDING))
    session.execute(of_jobs.where(JobFile.locked).values(locked=False))
    there = (JobFile.job_id == Job.id, JobFile.kind == FileKind.FILE, JobFile.state.in_(ARRIVED))
    count = select(func.count()).select_from(JobFile).where(*there).scalar_subquery()
    size = select(func.coalesce(func.sum(JobFile.size_bytes), 0)).where(*there).scalar_subquery()
    totals = update(Job).where(Job.id.in_(ids)).values(files_done=count, bytes_done=size)
    session.execute(totals.execution_options(synchronize_session=False))


def unlock_paths(session: Session, ids: Collection[int]) -> None:
    """Others may publish at the final paths of the jobs; not so where one of these may still be about to."""
    unmarked = (JobFile.job_id.in_(ids), JobFile.locked, JobFile.state != FileState.VERIFIED)
    session.execute(update(JobFile).where(*unmarked).values(locked=False))


def _not_appeared(ids: Collection[int]) -> Select[int]:
    """Those of which a folder was to appear at once, and it is not on record that it has."""
    top = (JobFile.number == 0, JobFile.kind == FileKind.DIRECTORY, JobFile.state != FileState.PUBLISHED)
    return select(JobFile.job_id).join(Job).where(Job.id.in_(ids), Job.selection["atomic"].as_boolean(), *top)
