"""The files of a job: where each goes and how it was proven, and the temporary files that may still lie on a host."""

from dataclasses import dataclass

from sqlalchemy import Select, delete, select, update
from sqlalchemy.orm import Session

from data_mover.db import now_ms
from data_mover.jobs.claims import Claim, record_phase
from data_mover.jobs.models import Job, JobFile, TemporaryFile
from data_mover.jobs.states import TERMINAL, FileState, Phase


@dataclass(frozen=True)
class Leftover:
    """A temporary file of an attempt that is over."""

    id: int
    job_id: int
    host: str
    path: str


def record_resolved(session: Session, held: Claim, path: str, size_bytes: int) -> bool:
    """Records where the file goes and how large it is. False if the job is no longer this attempt's."""
    mine = record_phase(session, held, Phase.RESOLVING, bytes_total=size_bytes)
    if mine:
        _set(session, held, path=path, size_bytes=size_bytes, state=FileState.TRANSFERRING, sha256=None, verified=None)
    return mine


def mark_publishing(session: Session, held: Claim, sha256: str, verified: str) -> bool:
    """Marks that the file is proven and about to get its final name. False if the job is no longer this attempt's."""
    mine = record_phase(session, held, Phase.PUBLISHING)
    if mine:
        _set(session, held, sha256=sha256, verified=verified, state=FileState.VERIFIED)
    return mine


def unmark_publishing(session: Session, held: Claim) -> bool:
    """Takes the mark back: the file certainly did not get its final name. False if the job is no longer this
    attempt's."""
    mine = record_phase(session, held, Phase.TRANSFERRING)
    if mine:
        _set(session, held, sha256=None, verified=None, state=FileState.TRANSFERRING)
    return mine


def record_temporary(session: Session, held: Claim, path: str, settle_ms: int) -> bool:
    """Records a temporary file before it is opened. False if the job is no longer this attempt's.

    Others leave the file alone for `settle_ms`: one that is fenced meanwhile has opened it by then, and stopped.
    """
    mine = record_phase(session, held, Phase.TRANSFERRING)
    if mine:
        session.add(
            TemporaryFile(
                job_id=held.job_id,
                attempt=held.attempt,
                host=held.destination.host,
                path=path,
                not_before_ms=session.scalars(select(now_ms())).one() + settle_ms,
            )
        )
    return mine


def leftovers_of(session: Session, held: Claim) -> list[Leftover]:
    """The temporary files that earlier attempts at the job may have left."""
    statement = select(TemporaryFile).where(TemporaryFile.job_id == held.job_id, TemporaryFile.attempt < held.attempt)
    return [_leftover(row) for row in session.scalars(statement)]


def take_leftovers(session: Session, limit: int, wait_ms: int) -> list[Leftover]:
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


def forget_temporary(session: Session, host: str, path: str) -> None:
    """The temporary file is known to be gone."""
    session.execute(delete(TemporaryFile).where(TemporaryFile.host == host, TemporaryFile.path == path))


def _of_ended_jobs() -> Select[TemporaryFile]:
    return select(TemporaryFile).join(Job, Job.id == TemporaryFile.job_id).where(Job.status.in_(TERMINAL))


def _leftover(row: TemporaryFile) -> Leftover:
    return Leftover(row.id, row.job_id, row.host, row.path)


def _set(session: Session, held: Claim, **values: object) -> None:
    session.execute(update(JobFile).where(JobFile.job_id == held.job_id, JobFile.number == 0).values(**values))
