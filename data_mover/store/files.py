"""The recorded files of a job: final path, state and proof of each."""

from dataclasses import dataclass
from unicodedata import normalize

from sqlalchemy import select, tuple_
from sqlalchemy.orm import Session

from data_mover.domain.errors import FilesFailed
from data_mover.domain.states import ARRIVED, SETTLED, FileKind, FileState
from data_mover.store.claims import Claim
from data_mover.store.models import UNSETTLED, JobFile
from data_mover.store.temporary_files import top_directory

#: how many files are read from the record at a time
PAGE = 200
#: files that have left their first state and have not failed
BEGUN = JobFile.state.not_in((FileState.FAILED, FileState.PENDING)) | JobFile.locked


@dataclass(frozen=True)
class RecordedFile:
    """A file that is still to be moved, or a directory to be made."""

    number: int
    source_number: int
    source_path: str
    name: str
    path: str
    size_bytes: int | None
    mode: int | None
    modified_at: float | None
    #: whether an attempt was about to publish it, with the digest
    marked: bool
    sha256: str | None
    verified: str | None
    source_modified_at: float | None
    source_version: str | None
    #: the last attempt that tried the file and did not move it
    attempt: int


def unsettled(session: Session, claim: Claim, after: tuple[int, int]) -> list[RecordedFile]:
    """Return the next files that this attempt has not settled; first those that no earlier attempt failed to move.

    `after` is the attempt and the number of the last file of the page before.
    """
    mine = (JobFile.job_id == claim.job_id, JobFile.attempt < claim.attempt, UNSETTLED)
    following = tuple_(JobFile.attempt, JobFile.number) > after
    statement = select(JobFile).where(*mine, following).order_by(JobFile.attempt, JobFile.number).limit(PAGE)
    return [_recorded(row) for row in session.scalars(statement)]


def twins(session: Session, claim: Claim) -> dict[int, str]:
    """Return the numbers of files whose path differs from that of an earlier one only in case or Unicode normal form,
    with the path of that one."""
    first, found = dict[str, str](), dict[int, str]()
    files = (JobFile.job_id == claim.job_id, JobFile.kind == FileKind.FILE)
    rows = session.execute(select(JobFile.number, JobFile.path).where(*files).order_by(JobFile.number))
    for number, path in rows.yield_per(PAGE):
        if path is not None and first.setdefault(normalize("NFC", path).casefold(), path) != path:
            found[number] = first[normalize("NFC", path).casefold()]
    return found


def directories(session: Session, claim: Claim, before: int | None) -> list[RecordedFile]:
    """Return the next directories to be made before that number, the last first: inner directories come before outer
    ones."""
    mine = (JobFile.job_id == claim.job_id, JobFile.kind == FileKind.DIRECTORY, JobFile.state.not_in(SETTLED))
    statement = select(JobFile).where(*mine).order_by(JobFile.number.desc()).limit(PAGE)
    found = statement if before is None else statement.where(JobFile.number < before)
    return [_recorded(row) for row in session.scalars(found)]


def directories_to_find(session: Session, claim: Claim, after: int) -> list[RecordedFile]:
    """Return the next directories after that number of which it is not on record whether they existed before the job;
    outer directories come before inner ones."""
    unknown = (JobFile.kind == FileKind.DIRECTORY, JobFile.state == FileState.PENDING, JobFile.attempt == 0)
    some = select(JobFile).where(JobFile.job_id == claim.job_id, JobFile.number > after, *unknown)
    return [_recorded(row) for row in session.scalars(some.order_by(JobFile.number).limit(PAGE))]


def is_folder(session: Session, claim: Claim) -> bool:
    """Whether all files of the job are moved into one directory."""
    return session.scalars(select(JobFile.number).where(*top_directory(claim))).one_or_none() is not None


def is_begun(session: Session, claim: Claim) -> bool:
    """Whether a file of the job has left its first state and has not failed."""
    begun = select(JobFile.number).where(JobFile.job_id == claim.job_id, BEGUN).limit(1)
    return session.scalars(begun).one_or_none() is not None


def is_folder_marked(session: Session, claim: Claim) -> bool:
    """Whether an attempt was about to publish the atomic folder, and it is unknown whether it did."""
    return _is_folder_in(session, claim, FileState.VERIFIED)


def is_folder_published(session: Session, claim: Claim) -> bool:
    """Whether an attempt has recorded that the atomic folder is published."""
    return _is_folder_in(session, claim, FileState.PUBLISHED)


def arrived(session: Session, claim: Claim, after: int) -> list[RecordedFile]:
    """Return the next files after that number that are at their final paths."""
    there = (JobFile.job_id == claim.job_id, JobFile.kind == FileKind.FILE, JobFile.state.in_(ARRIVED))
    statement = select(JobFile).where(*there, JobFile.number > after).order_by(JobFile.number).limit(PAGE)
    return [_recorded(row) for row in session.scalars(statement)]


def first_failure(session: Session, claim: Claim) -> FilesFailed | None:
    """Return the failure of the first file that failed for good, None if there is none."""
    failed = (JobFile.job_id == claim.job_id, JobFile.state == FileState.FAILED)
    first = session.scalars(select(JobFile).where(*failed).order_by(JobFile.number).limit(1)).one_or_none()
    return FilesFailed(str(first.code), str(first.reason)) if first else None


def _is_folder_in(session: Session, claim: Claim, state: FileState) -> bool:
    top = select(JobFile.number).where(*top_directory(claim), JobFile.state == state)
    return session.scalars(top).one_or_none() is not None


def _recorded(row: JobFile) -> RecordedFile:
    return RecordedFile(
        number=row.number,
        source_number=row.source_number,
        source_path=row.source_path,
        name=row.name,
        path=row.path or "",
        size_bytes=row.size_bytes,
        mode=row.mode,
        modified_at=row.modified_at,
        marked=row.state == FileState.VERIFIED,
        sha256=row.sha256,
        verified=row.verified,
        source_modified_at=row.source_modified_at,
        source_version=row.source_version,
        attempt=row.attempt,
    )
