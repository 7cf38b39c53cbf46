"""The numbers of files and bytes of jobs, summed over their files."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import ColumnElement, ScalarSelect, bindparam, case, func, or_, select
from sqlalchemy.orm import Session

from data_mover.domain.states import ARRIVED, FileKind, FileState, Phase, Status
from data_mover.store.models import EXPECTED_BYTES, Job, JobFile


@dataclass(frozen=True)
class Figures:
    """The numbers of a job's files and directories, the bytes that have arrived and those that are missing, as far as
    sizes are known."""

    files_total: int
    directories_total: int
    arrived_bytes: int
    missing_bytes: int


_ARRIVED = case((JobFile.state.in_(ARRIVED), JobFile.size_bytes), else_=0)
_SUMS = select(
    func.count().filter(JobFile.kind == FileKind.FILE),
    func.count().filter(JobFile.kind == FileKind.DIRECTORY),
    func.coalesce(func.sum(EXPECTED_BYTES), 0),
    func.coalesce(func.sum(_ARRIVED), 0),
).where(JobFile.job_id == bindparam("its_job"))
_BEGUN_ON_HOST = (
    Job.status == Status.IN_PROGRESS,
    Job.phase != Phase.RESOLVING,
    Job.destination_host == bindparam("its_host"),
)


def figures(session: Session, job_id: int) -> Figures:
    """Return the job's figures."""
    files, directories, bytes_, arrived_bytes = session.connection().execute(_SUMS, {"its_job": job_id}).one()
    return Figures(files, directories, int(arrived_bytes), int(bytes_ - arrived_bytes))


def files_total(job: ColumnElement[int]) -> ScalarSelect[int]:
    """Return the number of the job's files."""
    files = (JobFile.job_id == job, JobFile.kind == FileKind.FILE)
    return select(func.count()).select_from(JobFile).where(*files).scalar_subquery()


def bytes_total(job: ColumnElement[int]) -> ScalarSelect[int | None]:
    """Return the size of all files of the job, NULL if one is unknown. Files that failed before their size was known do
    not count."""
    known = case((func.count() == func.count(JobFile.size_bytes), func.coalesce(func.sum(JobFile.size_bytes), 0)))
    counts = or_(JobFile.state != FileState.FAILED, JobFile.size_bytes.is_not(None))
    files = (JobFile.job_id == job, JobFile.kind == FileKind.FILE, counts)
    return select(known).where(*files).scalar_subquery()


_EXPECTED = select(func.coalesce(func.sum(EXPECTED_BYTES), 0)).where(JobFile.job_id == Job.id).scalar_subquery()
_RESERVED = select(_EXPECTED - Job.bytes_done).where(*_BEGUN_ON_HOST, Job.id != bindparam("its_job"))
_RESERVED_BY_CALLER = select(_EXPECTED - Job.bytes_done).where(*_BEGUN_ON_HOST, Job.caller == bindparam("its_caller"))


def bytes_reserved_on(session: Session, host: str, but_of_job: int = 0) -> int:
    """Return the bytes that running jobs, but for this one, have still to write to the host, as far as they are
    known."""
    return _sum(session.connection().scalars(_RESERVED, {"its_host": host, "its_job": but_of_job}))


def bytes_reserved_by(session: Session, caller: str, host: str) -> int:
    """Return the bytes that running jobs of the caller have still to write to the host, as far as they are known."""
    return _sum(session.connection().scalars(_RESERVED_BY_CALLER, {"its_host": host, "its_caller": caller}))


def _sum(rows: Iterable[int]) -> int:
    return sum(max(0, int(each)) for each in rows)
