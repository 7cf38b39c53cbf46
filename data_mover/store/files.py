"""The recorded files of a job: final path, state and proof of each."""

import sys
from dataclasses import dataclass
from typing import Any
from unicodedata import normalize

from sqlalchemy import BigInteger, Executable, Integer, bindparam, select, tuple_
from sqlalchemy.orm import Session

from data_mover.domain.errors import FilesFailed
from data_mover.domain.proof import Proof
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
    #: of this attempt or an earlier one, or of the job that is retried
    proof: Proof | None
    #: the last attempt that tried the file and did not move it
    attempt: int


_COLUMNS = select(
    *(
        getattr(JobFile, name)
        for name in (
            *("number", "source_number", "source_path", "name", "path", "size_bytes", "mode", "modified_at", "state"),
            *("sha256", "verified", "source_modified_at", "source_version", "attempt"),
        )
    )
)
_OF_JOB = _COLUMNS.where(JobFile.job_id == bindparam("its_job")).limit(PAGE)
_BEHIND = _OF_JOB.where(JobFile.number > bindparam("after")).order_by(JobFile.number)
_LAST = tuple_(bindparam("after_attempt", type_=Integer), bindparam("after_number", type_=BigInteger))
_UNSETTLED = _OF_JOB.where(
    JobFile.attempt < bindparam("its_attempt"), UNSETTLED, tuple_(JobFile.attempt, JobFile.number) > _LAST
).order_by(JobFile.attempt, JobFile.number)
_UNMADE = _OF_JOB.where(
    JobFile.kind == FileKind.DIRECTORY, JobFile.state.not_in(SETTLED), JobFile.number < bindparam("before")
).order_by(JobFile.number.desc())
_UNKNOWN = _BEHIND.where(JobFile.kind == FileKind.DIRECTORY, JobFile.state == FileState.PENDING, JobFile.attempt == 0)
_ARRIVED = _BEHIND.where(JobFile.kind == FileKind.FILE, JobFile.state.in_(ARRIVED))
_FIRST_FAILURE = (
    select(JobFile.code, JobFile.reason)
    .where(JobFile.job_id == bindparam("its_job"), JobFile.state == FileState.FAILED)
    .order_by(JobFile.number)
    .limit(1)
)


def unsettled(session: Session, claim: Claim, after: tuple[int, int]) -> list[RecordedFile]:
    """Return the next files that this attempt has not settled; first those that no earlier attempt failed to move.

    `after` is the attempt and the number of the last file of the page before.
    """
    attempt, number = after
    behind = {"its_attempt": claim.attempt, "after_attempt": attempt, "after_number": number}
    return _page(session, _UNSETTLED, claim, **behind)


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
    return _page(session, _UNMADE, claim, before=sys.maxsize if before is None else before)


def directories_to_find(session: Session, claim: Claim, after: int) -> list[RecordedFile]:
    """Return the next directories after that number of which it is not on record whether they existed before the job;
    outer directories come before inner ones."""
    return _page(session, _UNKNOWN, claim, after=after)


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
    return _page(session, _ARRIVED, claim, after=after)


def first_failure(session: Session, claim: Claim) -> FilesFailed | None:
    """Return the failure of the first file that failed for good, None if there is none."""
    first = session.connection().execute(_FIRST_FAILURE, {"its_job": claim.job_id}).one_or_none()
    return FilesFailed(str(first.code), str(first.reason)) if first else None


def _is_folder_in(session: Session, claim: Claim, state: FileState) -> bool:
    top = select(JobFile.number).where(*top_directory(claim), JobFile.state == state)
    return session.scalars(top).one_or_none() is not None


def _page(session: Session, statement: Executable, claim: Claim, **behind: int) -> list[RecordedFile]:
    return [_recorded(row) for row in session.connection().execute(statement, {"its_job": claim.job_id, **behind})]


def _recorded(row: Any) -> RecordedFile:
    *of_file, state, sha256, verified, modified_at, version, attempt = row
    number, source_number, source_path, name, path, size_bytes, *of_directory = of_file
    proof = None
    if sha256 is not None and verified is not None:
        proof = Proof(size_bytes or 0, sha256, verified, modified_at, version)
    return RecordedFile(
        number=number,
        source_number=source_number,
        source_path=source_path,
        name=name,
        path=path or "",
        size_bytes=size_bytes,
        mode=of_directory[0],
        modified_at=of_directory[1],
        marked=state == FileState.VERIFIED,
        proof=proof,
        attempt=attempt,
    )
