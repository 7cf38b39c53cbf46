"""What may be left on a host: temporary files, staged folders, and old files of a swap."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, delete, func, insert, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from data_mover.domain.states import TERMINAL, FileKind
from data_mover.store import host_health
from data_mover.store.claims import Claim, renew
from data_mover.store.database import ms, now_ms, read_now_ms
from data_mover.store.models import TEMPORARY_FILES, Job, JobFile, TemporaryFile


@dataclass(frozen=True)
class NewTemporaryFile:
    """A temporary file that an attempt is about to create."""

    #: the number of the job's file, None if it is for all
    file_number: int | None
    kind: FileKind
    path: str
    #: the final path to which it is renamed back, if it is the old file of a swap
    restores: str | None = None
    #: the last checkpoint of the copy
    checkpoint: dict[str, Any] | None = None


@dataclass(frozen=True)
class RecordedTemporaryFile:
    """A temporary file that has to be removed or resumed."""

    job_id: int
    file_number: int | None
    host: str
    path: str
    kind: FileKind
    #: the final path to which it is renamed back, if it is the old file of a swap
    restores: str | None
    #: the last checkpoint of the copy
    checkpoint: dict[str, Any] | None


_INSERT = insert(TEMPORARY_FILES)
_INSERT_NEW = _INSERT.values(not_before_ms=now_ms() + bindparam("wait_ms"))
_FORGET = delete(TEMPORARY_FILES).where(
    TemporaryFile.host == bindparam("its_host"), TemporaryFile.path.in_(bindparam("paths", expanding=True))
)
_EARLIER = (
    select(TemporaryFile)
    .where(TemporaryFile.job_id == bindparam("its_job"), TemporaryFile.attempt < bindparam("its_attempt"))
    .order_by(TemporaryFile.id)
)


def record_temporary_files(
    session: Session, claim: Claim, files: Sequence[NewTemporaryFile], lease_seconds: float
) -> bool:
    """Record files before they are created. Returns False if the job is no longer this attempt's.

    Once the job has ended, the files are left alone for two more leases: a fenced attempt has stopped by then.
    """
    mine = renew(session, claim, lease_seconds)
    if mine and files:
        shared = {"job_id": claim.job_id, "attempt": claim.attempt, "host": claim.destination.host}
        rows = [{**shared, **vars(file), "wait_ms": 2 * ms(lease_seconds)} for file in files]
        session.connection().execute(_INSERT_NEW, rows)
    return mine


def record_again(session: Session, claim: Claim, path: str) -> None:
    """Record a staged folder that the attempt has made after its record was gone, whoever owns the job."""
    host = claim.destination.host
    known = select(TemporaryFile.id).where(TemporaryFile.host == host, TemporaryFile.path == path)
    if session.scalars(known.limit(1)).one_or_none() is None:
        row = {"job_id": claim.job_id, "attempt": claim.attempt, "host": host, "path": path}
        session.execute(_INSERT.values(**row, kind=FileKind.DIRECTORY, not_before_ms=read_now_ms(session)))


def record_checkpoint(
    session: Session, claim: Claim, path: str, checkpoint: dict[str, Any], lease_seconds: float
) -> bool:
    """Record the checkpoint of a temporary file. Returns False if the job is no longer this attempt's."""
    mine = renew(session, claim, lease_seconds)
    if mine:
        file = (TemporaryFile.host == claim.destination.host, TemporaryFile.path == path)
        session.execute(
            update(TEMPORARY_FILES).where(TemporaryFile.job_id == claim.job_id, *file).values(checkpoint=checkpoint)
        )
    return mine


def left_by_earlier_attempts(session: Session, claim: Claim) -> list[RecordedTemporaryFile]:
    """Return what earlier attempts at the job may have left, the oldest first."""
    rows = session.scalars(_EARLIER, {"its_job": claim.job_id, "its_attempt": claim.attempt})
    return [_temporary_file(row) for row in rows]


def staged_folders(session: Session, claim: Claim) -> list[str]:
    """Return the paths at which the job's atomic folder may be staged, the newest first; without those of attempts
    older than the folder's own, which may only be slow."""
    has_it = select(JobFile.attempt).where(*top_directory(claim)).scalar_subquery()
    mine = (TemporaryFile.job_id == claim.job_id, TemporaryFile.kind == FileKind.DIRECTORY)
    paths = select(TemporaryFile.path).where(*mine, TemporaryFile.attempt >= has_it)
    return list(session.scalars(paths.order_by(TemporaryFile.id.desc())))


def record_folder_taken_over(session: Session, claim: Claim, path: str, lease_seconds: float) -> bool:
    """Record the new name of a staged folder, and of the files recorded within it. All names of a staged folder have
    the same length, and stay recorded. Returns False if the job is no longer this attempt's."""
    mine = renew(session, claim, lease_seconds)
    if mine:
        within = (TemporaryFile.job_id == claim.job_id, TemporaryFile.kind == FileKind.FILE)
        moved = path + func.substr(TemporaryFile.path, len(path) + 1)
        session.execute(update(TemporaryFile).where(*within).values(path=moved))
        take_over_folder(session, claim)
    return mine


def take_over_folder(session: Session, claim: Claim) -> None:
    """Record that the staged folder is this attempt's."""
    session.execute(update(JobFile).where(*top_directory(claim)).values(attempt=claim.attempt))


def top_directory(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    """Return the conditions of the directory that receives all files of the job."""
    return JobFile.job_id == claim.job_id, JobFile.number == 0, JobFile.kind == FileKind.DIRECTORY


def claim_temporary_files(session: Session, limit: int, wait_seconds: float) -> list[RecordedTemporaryFile]:
    """Claim due temporary files of jobs that have ended, of the host that has waited longest; no other worker gets them
    for `wait_seconds`.

    Those of live jobs are left to the next attempt, which finds out by them whether an earlier one has published.
    """
    now = read_now_ms(session)
    statement = _clearable(session).where(TemporaryFile.not_before_ms <= now).order_by(TemporaryFile.not_before_ms)
    free = statement.with_for_update(skip_locked=True, of=TemporaryFile)
    first = session.scalars(free.limit(1)).one_or_none()
    if first is None:
        return []
    rows = list(session.scalars(free.where(TemporaryFile.host == first.host).limit(limit)))
    for row in rows:
        row.not_before_ms = now + ms(wait_seconds)
    return [_temporary_file(row) for row in rows]


def temporary_files_due(session: Session) -> bool:
    """Return whether any temporary file may be cleared now."""
    statement = _clearable(session).where(TemporaryFile.not_before_ms <= now_ms())
    return session.scalars(statement.limit(1)).first() is not None


def lock_final_path(session: Session, file: RecordedTemporaryFile) -> bool:
    """Lock the path to which an old file is to go back, for no job may swap there meanwhile. False if a job has locked
    it, or if an old file is on record that was moved aside later: that one goes back first.

    Locked until `unlock_final_path`; a process that dies before leaves that to whoever claims the old file next.
    """
    own = (JobFile.job_id == file.job_id, JobFile.number == file.file_number)
    lock_name = session.scalars(select(JobFile.lock_name).where(*own)).one_or_none()
    same = (JobFile.lock_name == lock_name, JobFile.job_id != file.job_id)
    record = select(func.max(TemporaryFile.id)).where(TemporaryFile.host == file.host, TemporaryFile.path == file.path)
    of_file = (JobFile.job_id == TemporaryFile.job_id) & (JobFile.number == TemporaryFile.file_number)
    later = (TemporaryFile.restores.is_not(None), TemporaryFile.id > record.scalar_subquery())
    newer = select(TemporaryFile.id).join(JobFile, of_file).where(JobFile.lock_name == lock_name, *later).limit(1)
    if session.scalars(select(JobFile.job_id).where(*same, JobFile.locked).limit(1)).first() is not None:
        return False
    if session.scalars(newer).first() is not None:
        return False
    try:
        with session.begin_nested():
            session.execute(update(JobFile).where(*own).values(locked=True))
    except IntegrityError:  # a job has locked it since
        return False
    return True


def unlock_final_path(session: Session, file: RecordedTemporaryFile) -> None:
    """Let jobs publish again where the old file has gone back, or could not."""
    own = (JobFile.job_id == file.job_id, JobFile.number == file.file_number)
    session.execute(update(JobFile).where(*own).values(locked=False))


def forget_temporary_files(session: Session, host: str, paths: Collection[str]) -> None:
    """Delete the record of files that no longer exist, or have their final names."""
    if paths:
        session.connection().execute(_FORGET, {"its_host": host, "paths": list(paths)})


def _clearable(session: Session) -> Select[TemporaryFile]:
    """Return the query of those of ended jobs, on reachable hosts."""
    ended = select(TemporaryFile).join(Job, Job.id == TemporaryFile.job_id).where(Job.status.in_(TERMINAL))
    return ended.where(TemporaryFile.host.not_in(host_health.blocks(session)))


def _temporary_file(row: TemporaryFile) -> RecordedTemporaryFile:
    return RecordedTemporaryFile(
        job_id=row.job_id,
        file_number=row.file_number,
        host=row.host,
        path=row.path,
        kind=FileKind(row.kind),
        restores=row.restores,
        checkpoint=row.checkpoint,
    )
