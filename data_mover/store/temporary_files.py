"""What may still lie on a host and must not stay: temporary files, the folders that are built aside, and old files."""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Select, delete, func, insert, select, update
from sqlalchemy.orm import Session

from data_mover.domain.states import TERMINAL, FileKind
from data_mover.store import host_health
from data_mover.store.claims import Claim, renew
from data_mover.store.database import now_ms
from data_mover.store.models import Job, JobFile, TemporaryFile


@dataclass(frozen=True)
class NewTemporaryFile:
    """What an attempt is about to make on a host, and that must not stay there."""

    #: for which file of the job it is; None if it is for all
    file_number: int | None
    kind: FileKind
    path: str
    #: the final path to which it goes back, if it is the old file of a swap
    restores: str | None = None
    #: how far the copy into it has come at least
    checkpoint: dict[str, Any] | None = None


@dataclass(frozen=True)
class RecordedTemporaryFile:
    """A temporary file that must go, of a job that has ended or no longer needs it."""

    job_id: int
    file_number: int | None
    host: str
    path: str
    kind: FileKind
    #: the final path to which it goes back, if it is the old file of a swap
    restores: str | None
    #: how far the copy into it had come at least
    checkpoint: dict[str, Any] | None


def record_temporary_files(session: Session, claim: Claim, files: Sequence[NewTemporaryFile], lease_ms: int) -> bool:
    """Records files before they are there. False if the job is no longer this attempt's.

    Once the job has ended, the files are left alone for two leases more: whoever is fenced has stopped by then.
    """
    mine = renew(session, claim, lease_ms)
    if mine and files:
        now = session.scalars(select(now_ms())).one()
        shared = {"job_id": claim.job_id, "attempt": claim.attempt, "host": claim.destination.host}
        rows = [{**shared, **vars(file), "not_before_ms": now + 2 * lease_ms} for file in files]
        session.connection().execute(insert(TemporaryFile), rows)
    return mine


def record_checkpoint(session: Session, claim: Claim, path: str, checkpoint: dict[str, Any], lease_ms: int) -> bool:
    """Records how far the copy into a temporary file has come. False if the job is no longer this attempt's."""
    mine = renew(session, claim, lease_ms)
    if mine:
        file = (TemporaryFile.host == claim.destination.host, TemporaryFile.path == path)
        session.execute(
            update(TemporaryFile).where(TemporaryFile.job_id == claim.job_id, *file).values(checkpoint=checkpoint)
        )
    return mine


def left_by_earlier_attempts(session: Session, claim: Claim) -> list[RecordedTemporaryFile]:
    """What earlier attempts at the job may have left, the oldest first."""
    earlier = (TemporaryFile.job_id == claim.job_id, TemporaryFile.attempt < claim.attempt)
    return [
        _temporary_file(row)
        for row in session.scalars(select(TemporaryFile).where(*earlier).order_by(TemporaryFile.id))
    ]


def staged_folders(session: Session, claim: Claim) -> list[str]:
    """Where the folder of the job may be that shall appear at once, the newest path first. What is made by attempts
    older than the one that has it, for they may only be slow, is worth nothing."""
    has_it = select(JobFile.attempt).where(*top_directory(claim)).scalar_subquery()
    mine = (TemporaryFile.job_id == claim.job_id, TemporaryFile.kind == FileKind.DIRECTORY)
    paths = select(TemporaryFile.path).where(*mine, TemporaryFile.attempt >= has_it)
    return list(session.scalars(paths.order_by(TemporaryFile.id.desc())))


def record_folder_taken_over(session: Session, claim: Claim, path: str, lease_ms: int) -> bool:
    """Records that the folder has a new name; what is on record within it has moved with it. All names that a folder
    ever has are of the same length, and stay on record. False if the job is no longer this attempt's."""
    mine = renew(session, claim, lease_ms)
    if mine:
        within = (TemporaryFile.job_id == claim.job_id, TemporaryFile.kind == FileKind.FILE)
        moved = path + func.substr(TemporaryFile.path, len(path) + 1)
        session.execute(update(TemporaryFile).where(*within).values(path=moved))
        take_over_folder(session, claim)
    return mine


def take_over_folder(session: Session, claim: Claim) -> None:
    """From now on the folder is this attempt's."""
    session.execute(update(JobFile).where(*top_directory(claim)).values(attempt=claim.attempt))


def top_directory(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    """The directory that all files of the job go into, if there is one."""
    return JobFile.job_id == claim.job_id, JobFile.number == 0, JobFile.kind == FileKind.DIRECTORY


def claim_temporary_files(session: Session, limit: int, wait_ms: int) -> list[RecordedTemporaryFile]:
    """Temporary files of jobs that have ended, whose time has come; nobody else is given them for `wait_ms`.

    Those of live jobs are left to the next attempt, which learns from them whether an earlier one has published.
    """
    now = session.scalars(select(now_ms())).one()
    statement = _clearable(session).where(TemporaryFile.not_before_ms <= now).order_by(TemporaryFile.not_before_ms)
    rows = list(session.scalars(statement.limit(limit).with_for_update(skip_locked=True, of=TemporaryFile)))
    for row in rows:
        row.not_before_ms = now + wait_ms
    return [_temporary_file(row) for row in rows]


def temporary_files_due(session: Session) -> bool:
    """Return whether any temporary file may be cleared now."""
    statement = _clearable(session).where(TemporaryFile.not_before_ms <= now_ms())
    return session.scalars(statement.limit(1)).first() is not None


def forget_temporary_files(session: Session, host: str, paths: Collection[str]) -> None:
    """Deletes the record of files that are known to be gone, or to be where they belong."""
    if paths:
        session.execute(delete(TemporaryFile).where(TemporaryFile.host == host, TemporaryFile.path.in_(paths)))


def _clearable(session: Session) -> Select[TemporaryFile]:
    """Of jobs that have ended, on hosts that can be reached."""
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
