"""The files of a job on their way: where each goes, how far it is, and how it was proven."""

from dataclasses import dataclass

from sqlalchemy import case, func, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from data_mover.domain.errors import AttemptEnded, FilesFailed, MoveFailure, PathBusy, Superseded
from data_mover.domain.states import ARRIVED, SETTLED, FileKind, FileState, Phase
from data_mover.store.claims import Claim, is_mine, renew, why_not
from data_mover.store.file_lists import bytes_total
from data_mover.store.models import EXPECTED_BYTES, UNSETTLED, Job, JobFile
from data_mover.store.temporary_files import forget_temporary_file, have_tree, top_directory

#: how many files are read from the record at a time
PAGE = 200


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


@dataclass(frozen=True)
class Figures:
    """What a job has come to so far: how many files it has, and the bytes of those that have arrived and of those that
    are to come, as far as their sizes are known."""

    files_total: int
    arrived_bytes: int
    missing_bytes: int


def figures(session: Session, claim: Claim) -> Figures:
    """PostgreSQL adds up to decimals."""
    arrived = case((JobFile.state.in_(ARRIVED), JobFile.size_bytes), else_=0)
    size, there = func.coalesce(func.sum(EXPECTED_BYTES), 0), func.coalesce(func.sum(arrived), 0)
    files = (JobFile.job_id == claim.job_id, JobFile.kind == FileKind.FILE)
    count, bytes_, arrived_bytes = session.execute(select(func.count(), size, there).where(*files)).one()
    return Figures(count, int(arrived_bytes), int(bytes_ - arrived_bytes))


def unsettled(session: Session, claim: Claim) -> list[RecordedFile]:
    """The next files that this attempt has not come to an end with; first those that no earlier one has failed with."""
    mine = (JobFile.job_id == claim.job_id, JobFile.attempt < claim.attempt, UNSETTLED)
    statement = select(JobFile).where(*mine).order_by(JobFile.attempt, JobFile.number).limit(PAGE)
    return [_recorded(row) for row in session.scalars(statement)]


def directories(session: Session, claim: Claim, before: int | None) -> list[RecordedFile]:
    """The next directories before the one of that number, the last first: what is in a directory comes before it."""
    mine = (JobFile.job_id == claim.job_id, JobFile.kind == FileKind.DIRECTORY, JobFile.state.not_in(SETTLED))
    statement = select(JobFile).where(*mine).order_by(JobFile.number.desc()).limit(PAGE)
    found = statement if before is None else statement.where(JobFile.number < before)
    return [_recorded(row) for row in session.scalars(found)]


def record_directories(session: Session, claim: Claim) -> bool:
    """Records that all directories are as they are to be; that of a folder which is to appear at once is published by
    `record_tree_published` alone. False if the job is no longer this attempt's."""
    mine = is_mine(session, claim)
    if mine:
        made = (JobFile.job_id == claim.job_id, JobFile.kind == FileKind.DIRECTORY, JobFile.state.not_in(SETTLED))
        first_number = 1 if claim.selection.atomic else 0
        session.execute(update(JobFile).where(*made, JobFile.number >= first_number).values(state=FileState.PUBLISHED))
    return mine


def lock_path(
    session: Session, claim: Claim, number: int, place: str, size_bytes: int | None, lease_ms: int
) -> AttemptEnded | MoveFailure | None:
    """Records what the final path is called by whichever name its host is known, and how large the file is, and keeps
    all other jobs from publishing there as long as this one is worked on.

    Returns why not: PathBusy if another job has the place; Superseded if one that was submitted later has published
    there; Fenced or Cancelled.
    """
    if not renew(session, claim, lease_ms):
        return why_not(session, claim)
    _set_size(session, claim, number, size_bytes)
    _set(session, claim, number, place=place, state=FileState.TRANSFERRING)
    others = select(JobFile.job_id).where(JobFile.place == place, JobFile.job_id != claim.job_id)
    later = others.where(JobFile.job_id > claim.job_id, JobFile.state == FileState.PUBLISHED)
    if (job_id := session.scalars(later.limit(1)).one_or_none()) is not None:
        return Superseded(f"{claim.destination.host}: job {job_id}")
    if (job_id := session.scalars(others.where(JobFile.held).limit(1)).one_or_none()) is not None:
        return PathBusy(f"Waits for job {job_id}, which writes to the same path.")
    try:
        with session.begin_nested():
            _set(session, claim, number, held=True)
    except IntegrityError:
        return PathBusy("Waits for another job, which writes to the same path.")
    return None


def mark_publishing(
    session: Session,
    claim: Claim,
    number: int,
    size_bytes: int,
    sha256: str,
    verified: str,
    phase: Phase,
    lease_ms: int,
    **source: object,
) -> bool:
    """Marks that the file is proven and about to get its final name. `source` is as for `record_arrived`. False if the
    job is no longer this attempt's."""
    mine = renew(session, claim, lease_ms, phase=phase)
    if mine:
        _set_size(session, claim, number, size_bytes)
        _set(session, claim, number, sha256=sha256, verified=verified, state=FileState.VERIFIED, **source)
    return mine


def unmark_publishing(session: Session, claim: Claim, number: int, lease_ms: int) -> bool:
    """Takes the mark back: the file certainly did not get its final name, and no attempt will give it that.

    False if the job is no longer this attempt's.
    """
    mine = renew(session, claim, lease_ms, phase=Phase.TRANSFERRING)
    if mine:
        _set(session, claim, number, sha256=None, verified=None, state=FileState.TRANSFERRING)
    return mine


def record_arrived(
    session: Session,
    claim: Claim,
    number: int,
    state: FileState,
    size_bytes: int,
    sha256: str,
    verified: str,
    temporary_path: str | None,
    **source: object,
) -> bool:
    """Records that the file is in its place, which is true whether it is still wanted or not, and has no longer the
    temporary path. `source` is what its host tells of the source: `source_modified_at`, `source_version`. A job that
    brings files to their places was not to blame for the workers that it lost. False if the job is no longer this
    attempt's."""
    mine = is_mine(session, claim)
    if mine:
        _set_size(session, claim, number, size_bytes)
        waiting = (JobFile.job_id == claim.job_id, JobFile.number == number, JobFile.state.not_in(ARRIVED))
        proven = {"sha256": sha256, "verified": verified, "code": None, "reason": None, **source}
        came = update(JobFile).where(*waiting).values(state=state, held=False, **proven)
        if session.scalars(came.returning(JobFile.number)).one_or_none() is not None:
            session.execute(update(Job).where(Job.id == claim.job_id).values(files_done=Job.files_done + 1, losses=0))
        if temporary_path is not None:
            forget_temporary_file(session, claim.destination.host, temporary_path)
    return mine


def record_tree_published(session: Session, claim: Claim, tree: str) -> bool:
    """Records that all files have appeared. False if the job is no longer this attempt's."""
    mine = is_mine(session, claim)
    if mine:
        session.execute(update(JobFile).where(*top_directory(claim)).values(state=FileState.PUBLISHED, held=False))
        forget_temporary_file(session, claim.destination.host, tree)
    return mine


def is_folder(session: Session, claim: Claim) -> bool:
    """Whether there is a directory that all files of the job go into."""
    return session.scalars(select(JobFile.number).where(*top_directory(claim))).one_or_none() is not None


def is_tree_marked(session: Session, claim: Claim) -> bool:
    """Whether an attempt was about to let all files appear at once, and nobody has found out yet whether it did."""
    return _is_tree(session, claim, FileState.VERIFIED)


def is_tree_published(session: Session, claim: Claim) -> bool:
    """Whether an attempt has recorded that all files have appeared at once."""
    return _is_tree(session, claim, FileState.PUBLISHED)


def mark_tree(session: Session, claim: Claim, lease_ms: int) -> bool:
    """Marks that all files are about to appear at once. False if the job is no longer this attempt's."""
    return _mark_tree(session, claim, FileState.VERIFIED, Phase.PUBLISHING, lease_ms)


def unmark_tree(session: Session, claim: Claim, lease_ms: int) -> bool:
    """Takes the mark back: the files certainly did not appear. False if the job is no longer this attempt's."""
    return _mark_tree(session, claim, FileState.TRANSFERRING, Phase.TRANSFERRING, lease_ms)


def begin_afresh(session: Session, claim: Claim, lease_ms: int) -> bool:
    """Records that nothing has arrived of a folder that is to appear at once. False if the job is no longer this
    attempt's."""
    mine = renew(session, claim, lease_ms, files_done=0, bytes_done=0)
    if mine:
        kept = (JobFile.job_id == claim.job_id, JobFile.state != FileState.FAILED)
        session.execute(update(JobFile).where(*kept).values(state=FileState.PENDING, held=False))
        have_tree(session, claim)
    return mine


def arrived(session: Session, claim: Claim, after: int) -> list[RecordedFile]:
    """The next files behind the one of that number that are in their places."""
    there = (JobFile.job_id == claim.job_id, JobFile.kind == FileKind.FILE, JobFile.state.in_(ARRIVED))
    statement = select(JobFile).where(*there, JobFile.number > after).order_by(JobFile.number).limit(PAGE)
    return [_recorded(row) for row in session.scalars(statement)]


def record_failure(session: Session, claim: Claim, number: int, failure: MoveFailure) -> bool:
    """Records why the file could not be moved: for good, or until another attempt if a retry can help. False if the job
    is no longer this attempt's."""
    told = {"code": failure.code, "reason": failure.reason}
    if failure.retryable:
        return _record_put_off(session, claim, number, **told)
    return _record_put_off(session, claim, number, **told, state=FileState.FAILED, held=False)


def record_busy(session: Session, claim: Claim, number: int) -> bool:
    """Records that the file waits for its final path. False if the job is no longer this attempt's."""
    return _record_put_off(session, claim, number)


def first_failure(session: Session, claim: Claim) -> FilesFailed | None:
    """What the first of the job's files has failed for that have failed for good."""
    failed = (JobFile.job_id == claim.job_id, JobFile.state == FileState.FAILED)
    first = session.scalars(select(JobFile).where(*failed).order_by(JobFile.number).limit(1)).one_or_none()
    return FilesFailed(str(first.code), str(first.reason)) if first else None


def _record_put_off(session: Session, claim: Claim, number: int, **values: object) -> bool:
    """The path is free for others, unless nobody knows whether the file has come there."""
    mine = is_mine(session, claim)
    if mine:
        unknown = case((JobFile.state == FileState.VERIFIED, JobFile.held), else_=False)
        _set(session, claim, number, **{"held": unknown, "attempt": claim.attempt, **values})
    return mine


def _is_tree(session: Session, claim: Claim, state: FileState) -> bool:
    top = select(JobFile.number).where(*top_directory(claim), JobFile.state == state)
    return session.scalars(top).one_or_none() is not None


def _mark_tree(session: Session, claim: Claim, state: FileState, phase: Phase, lease_ms: int) -> bool:
    mine = renew(session, claim, lease_ms, phase=phase)
    if mine:
        session.execute(update(JobFile).where(*top_directory(claim)).values(state=state))
    return mine


def _set_size(session: Session, claim: Claim, number: int, size_bytes: int | None) -> None:
    """Corrects what was planned; what all files have together follows from it."""
    other = (JobFile.job_id == claim.job_id, JobFile.number == number, JobFile.size_bytes.is_distinct_from(size_bytes))
    corrected = update(JobFile).where(*other).values(size_bytes=size_bytes).returning(JobFile.number)
    if session.scalars(corrected).one_or_none() is not None:
        session.execute(update(Job).where(Job.id == claim.job_id).values(bytes_total=bytes_total(claim)))


def _set(session: Session, claim: Claim, number: int, **values: object) -> None:
    session.execute(update(JobFile).where(JobFile.job_id == claim.job_id, JobFile.number == number).values(**values))


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
    )
