"""The file list of a job: recorded before the first file is moved, and never listed again."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.orm import Session, aliased

from data_mover.domain.errors import NameConflict
from data_mover.domain.locations import Endpoint
from data_mover.domain.states import ARRIVED, FileKind, FileState
from data_mover.store import host_health
from data_mover.store.claims import Claim, is_mine, record_path, record_plan
from data_mover.store.models import JOB_FILES, Job, JobFile
from data_mover.store.transitions import FILES_AT_ONCE, insert_files


@dataclass(frozen=True)
class ListedFile:
    """A file of a job as it is recorded: one to move, a directory to make, or one that cannot be moved."""

    kind: FileKind
    source_number: int
    source_path: str
    name: str
    path: str | None
    size_bytes: int | None = None
    #: of a directory
    mode: int | None = None
    modified_at: float | None = None
    #: why it failed before it was tried
    code: str | None = None
    reason: str | None = None


_FORGET = delete(JOB_FILES).where(
    JobFile.job_id == bindparam("its_job"), JobFile.number.between(bindparam("first"), bindparam("last"))
)

_TAKEN = select(JobFile.path).where(
    JobFile.job_id == bindparam("its_job"), JobFile.path.in_(bindparam("paths", expanding=True))
)


def record_files(session: Session, claim: Claim, path: str, first_number: int, listed: Sequence[ListedFile]) -> bool:
    """Record the final path, for all later attempts, and the next files. Returns False if the job is no longer this
    attempt's.

    Replaces rows with these numbers: the answer to an earlier call may have been lost. Copies the proofs of files that
    the job of `retry_of` has published. Raises NameConflict if two files have the same final path.
    """
    mine = record_path(session, claim, path)
    if mine:
        host_health.record_reached(session, *claim.host_names)  # they have answered; listing may take minutes
    if mine and listed:
        last_number = first_number + len(listed) - 1
        session.connection().execute(_FORGET, {"its_job": claim.job_id, "first": first_number, "last": last_number})
        _require_names(session, claim, first_number, [each.path for each in listed if each.path])
        insert_files(session, claim, first_number, [vars(each) for each in listed])
        if claim.retry_of is not None:
            _take_proofs_over(session, claim, claim.retry_of, first_number)
    return mine


def complete_file_list(
    session: Session, claim: Claim, path: str, first_number: int, listed: Sequence[ListedFile]
) -> bool:
    """Record the last files of the job, as `record_files` does, and that the list is complete."""
    if not record_files(session, claim, path, first_number, listed):
        return False
    return record_plan(session, claim)


def is_listed(session: Session, claim: Claim) -> bool:
    """Whether an attempt has recorded a part of the file list, and did not complete it."""
    listed = select(JobFile.number).where(JobFile.job_id == claim.job_id).limit(1)
    return session.scalars(listed).one_or_none() is not None


def forget_listed(session: Session, claim: Claim) -> bool:
    """Delete the next files of an incomplete list. Returns False if the job is no longer this attempt's."""
    mine = is_mine(session, claim)
    if mine:
        some = select(JobFile.number).where(JobFile.job_id == claim.job_id).order_by(JobFile.number)
        numbers = list(session.scalars(some.limit(FILES_AT_ONCE)))
        session.execute(delete(JobFile).where(JobFile.job_id == claim.job_id, JobFile.number.in_(numbers)))
    return mine


def path_of(session: Session, job_id: int, like: Claim) -> str | None:
    """Return the final path of the job if it has the same source and destination as `like`; None if it is not
    resolved."""
    job = session.get_one(Job, job_id)
    sources = [[source.host, source.path] for source in like.sources]
    same = (job.sources, job.destination_host, job.destination_path) == (
        sources,
        like.destination.host,
        like.destination.path,
    )
    return job.path if same else None


def _take_proofs_over(session: Session, claim: Claim, job_id: int, first_number: int) -> None:
    """Copy the proofs of the retried job; the attempt checks whether they are still valid. Take over the directories
    that it was to make."""
    before = aliased(JobFile)
    same = (before.job_id == job_id, before.path == JobFile.path, before.state.in_(ARRIVED))
    names = ("sha256", "verified", "source_modified_at", "source_version")
    proofs = {name: select(getattr(before, name)).where(*same).scalar_subquery() for name in names}
    files = (JobFile.job_id == claim.job_id, JobFile.kind == FileKind.FILE, JobFile.state == FileState.PENDING)
    session.execute(update(JobFile).where(*files, JobFile.number >= first_number).values(proofs))
    if not claim.selection.atomic:
        own = (before.job_id == job_id, before.path == JobFile.path, before.kind == FileKind.DIRECTORY)
        made = select(before.number).where(*own, before.attempt > 0, before.state != FileState.SKIPPED).exists()
        new = (JobFile.job_id == claim.job_id, JobFile.kind == FileKind.DIRECTORY, JobFile.state == FileState.PENDING)
        directories = update(JobFile).where(*new, JobFile.number >= first_number, made)
        session.execute(directories.values(attempt=claim.attempt).execution_options(synchronize_session=False))


def _require_names(session: Session, claim: Claim, first_number: int, paths: Sequence[str]) -> None:
    """Raise NameConflict if one of the paths is taken by another of them, or by an earlier file of the job."""
    taken = set[str]()
    if first_number:
        taken.update(session.connection().scalars(_TAKEN, {"its_job": claim.job_id, "paths": list(paths)}))
    for path in paths:
        if path in taken:
            raise NameConflict(str(Endpoint(claim.destination.host, path)))
        taken.add(path)
