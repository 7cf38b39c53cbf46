"""The files of a job: where each goes and how it was proven, and the temporary files that may still lie on a host."""

from dataclasses import dataclass

from sqlalchemy import Select, delete, select, update
from sqlalchemy.orm import Session

from data_mover.db import now_ms
from data_mover.jobs.claims import Claim, record_phase, renew
from data_mover.jobs.models import Job, JobFile, TemporaryFile
from data_mover.jobs.states import TERMINAL, FileState, Phase


@dataclass(frozen=True)
class RecordedLeftover:
    """A file on a host that must not stay, of a job that goes on without it or has ended."""

    job_id: int
    host: str
    path: str
    #: the final path to which it goes back, if it is the old file of a swap
    restores: str | None


def record_resolved(session: Session, held: Claim, path: str, size_bytes: int) -> bool:
    """Records where the file goes and how large it is. False if the job is no longer this attempt's."""
    mine = record_phase(session, held, Phase.RESOLVING, bytes_total=size_bytes)
    if mine:
        _set(session, held, path=path, size_bytes=size_bytes, state=FileState.TRANSFERRING, sha256=None, verified=None)
    return mine


def mark_publishing(session: Session, held: Claim, sha256: str, verified: str, lease_ms: int) -> bool:
    """Marks that the file is proven and about to get its final name. False if the job is no longer this attempt's."""
    mine = renew(session, held, lease_ms, phase=Phase.PUBLISHING)
    if mine:
        _set(session, held, sha256=sha256, verified=verified, state=FileState.VERIFIED)
    return mine


def unmark_publishing(session: Session, held: Claim, lease_ms: int) -> bool:
    """Takes the mark back: the file certainly did not get its final name, and no attempt will give it that.

    False if the job is no longer this attempt's.
    """
    mine = renew(session, held, lease_ms, phase=Phase.RESOLVING)
    if mine:
        _set(session, held, sha256=None, verified=None, state=FileState.TRANSFERRING)
    return mine


def record_leftover(session: Session, held: Claim, path: str, restores: str | None, lease_ms: int) -> bool:
    """Records a file before it is there. False if the job is no longer this attempt's.

    Once the job has ended, the file is left alone for two leases more: whoever is fenced has stopped by then.
    """
    mine = renew(session, held, lease_ms)
    if mine:
        now = session.scalars(select(now_ms())).one()
        session.add(
            TemporaryFile(
                job_id=held.job_id,
                attempt=held.attempt,
                host=held.destination.host,
                path=path,
                restores=restores,
                not_before_ms=now + 2 * lease_ms,
            )
        )
    return mine


def leftovers_of(session: Session, held: Claim) -> list[RecordedLeftover]:
    """What earlier attempts at the job may have left, the oldest first."""
    earlier = (TemporaryFile.job_id == held.job_id, TemporaryFile.attempt < held.attempt)
    return [_leftover(row) for row in session.scalars(select(TemporaryFile).where(*earlier).order_by(TemporaryFile.id))]


def take_leftovers(session: Session, limit: int, wait_ms: int) -> list[RecordedLeftover]:
    """Temporary files of jobs that have ended, whose time has come; nobody else is given them for `wait_ms`.

    Those of live jobs are left to the next attempt, which learns from them whether an earlier one has published.
    """
    now = session.scalars(select(now_ms())).one()
    statement = _of_ended_jobs().where(TemporaryFile.not_before_ms <= now).order_by(TemporaryFile.not_before_ms)
    rows = list(session.scalars(statement.limit(limit).with_for_update(skip_locked=True, of=TemporaryFile)))
    for row in rows:
        row.not_before_ms = now + wait_ms
    return [_leftover(row) for row in rows]


def leftovers_due(session: Session) -> bool:
    """Whether there is anything for `take_leftovers`."""
    statement = _of_ended_jobs().where(TemporaryFile.not_before_ms <= now_ms())
    return session.scalars(statement.limit(1)).first() is not None


def forget_leftover(session: Session, host: str, path: str) -> None:
    """The file is known to be gone, or to be where it belongs."""
    session.execute(delete(TemporaryFile).where(TemporaryFile.host == host, TemporaryFile.path == path))


def _of_ended_jobs() -> Select[TemporaryFile]:
    return select(TemporaryFile).join(Job, Job.id == TemporaryFile.job_id).where(Job.status.in_(TERMINAL))


def _leftover(row: TemporaryFile) -> RecordedLeftover:
    return RecordedLeftover(row.job_id, row.host, row.path, row.restores)


def _set(session: Session, held: Claim, **values: object) -> None:
    session.execute(update(JobFile).where(JobFile.job_id == held.job_id, JobFile.number == 0).values(**values))
