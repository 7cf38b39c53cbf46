"""The numbers of files and bytes of jobs, summed over their files."""

from dataclasses import dataclass

from sqlalchemy import ColumnElement, ScalarSelect, case, func, or_, select
from sqlalchemy.orm import Session

from data_mover.domain.states import ARRIVED, FileKind, FileState, Phase, Status
from data_mover.store.claims import Claim
from data_mover.store.models import EXPECTED_BYTES, Job, JobFile


@dataclass(frozen=True)
class Figures:
    """The number of a job's files, the bytes that have arrived and those that are missing, as far as sizes are
    known."""

    files_total: int
    arrived_bytes: int
    missing_bytes: int


def figures(session: Session, claim: Claim) -> Figures:
    """Return the job's file count, arrived bytes and missing bytes."""
    arrived = case((JobFile.state.in_(ARRIVED), JobFile.size_bytes), else_=0)
    size, there = func.coalesce(func.sum(EXPECTED_BYTES), 0), func.coalesce(func.sum(arrived), 0)
    files = (JobFile.job_id == claim.job_id, JobFile.kind == FileKind.FILE)
    count, bytes_, arrived_bytes = session.execute(select(func.count(), size, there).where(*files)).one()
    return Figures(count, int(arrived_bytes), int(bytes_ - arrived_bytes))


def bytes_total(claim: Claim) -> ScalarSelect[int | None]:
    """Return the size of all files of the job, NULL if one is unknown. Files that failed before their size was known do
    not count."""
    known = case((func.count() == func.count(JobFile.size_bytes), func.coalesce(func.sum(JobFile.size_bytes), 0)))
    counts = or_(JobFile.state != FileState.FAILED, JobFile.size_bytes.is_not(None))
    files = (JobFile.job_id == claim.job_id, JobFile.kind == FileKind.FILE, counts)
    return select(known).where(*files).scalar_subquery()


def bytes_reserved_on(session: Session, host: str, *which: ColumnElement[bool]) -> int:
    """Return the bytes that running jobs have still to write to the host, as far as they are known."""
    begun = (Job.status == Status.IN_PROGRESS, Job.phase != Phase.RESOLVING, Job.destination_host == host)
    expected = select(func.coalesce(func.sum(EXPECTED_BYTES), 0)).where(JobFile.job_id == Job.id)
    left = expected.scalar_subquery() - Job.bytes_done
    return sum(max(0, int(each)) for each in session.scalars(select(left).where(*begun, *which)))
