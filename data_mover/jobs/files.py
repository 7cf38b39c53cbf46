"""The files of a job: where each goes and how it was proven, and the temporary files that may still lie on a host."""

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Select, delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from data_mover.db import now_ms
from data_mover.errors import PathBusy, Superseded
from data_mover.jobs import hosts
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
    #: how far the copy into it had come at least
    checkpoint: dict[str, Any] | None


def record_resolved(session: Session, held: Claim, path: str, size_bytes: int | None) -> bool:
    """Records where the file goes and how large it is. False if the job is no longer this attempt's."""
    mine = record_phase(session, held, Phase.RESOLVING, bytes_total=size_bytes)
    if mine:
        _set(
            session,
            held.job_id,
            path=path,
            size_bytes=size_bytes,
            state=FileState.TRANSFERRING,
            sha256=None,
            verified=None,
        )
    return mine


def record_place(session: Session, held: Claim, place: str) -> bool:
    """Records what the final path is called by whichever name its host is known. False if the job is no longer this
    attempt's."""
    mine = record_phase(session, held, Phase.RESOLVING)
    if mine:
        _set(session, held.job_id, place=place)
    return mine


def hold_path(session: Session, held: Claim, place: str) -> None:
    """Keeps all other jobs from publishing at the place, which is on record, as long as this one is worked on.

    PathBusy if another job has it; Superseded if one that was submitted later has published there.
    """
    others = select(JobFile.job_id).where(JobFile.place == place, JobFile.job_id != held.job_id)
    later = others.where(JobFile.job_id > held.job_id, JobFile.state == FileState.PUBLISHED)
    if (job_id := session.scalars(later.limit(1)).one_or_none()) is not None:
        raise Superseded(f"{held.destination.host}: job {job_id}")
    if (job_id := session.scalars(others.where(JobFile.held).limit(1)).one_or_none()) is not None:
        raise PathBusy(f"Waits for job {job_id}, which writes to the same path.")
    try:
        _set(session, held.job_id, held=True)
    except IntegrityError:
        raise PathBusy("Waits for another job, which writes to the same path.") from None


def mark_publishing(session: Session, held: Claim, size_bytes: int, sha256: str, verified: str, lease_ms: int) -> bool:
    """Marks that the file is proven and about to get its final name. False if the job is no longer this attempt's."""
    mine = renew(session, held, lease_ms, phase=Phase.PUBLISHING, bytes_total=size_bytes)
    if mine:
        _set(session, held.job_id, size_bytes=size_bytes, sha256=sha256, verified=verified, state=FileState.VERIFIED)
    return mine


def unmark_publishing(session: Session, held: Claim, lease_ms: int) -> bool:
    """Takes the mark back: the file certainly did not get its final name, and no attempt will give it that.

    False if the job is no longer this attempt's.
    """
    mine = renew(session, held, lease_ms, phase=Phase.RESOLVING)
    if mine:
        _set(session, held.job_id, sha256=None, verified=None, state=FileState.TRANSFERRING)
    return mine


def record_leftover(
    session: Session,
    held: Claim,
    path: str,
    restores: str | None,
    checkpoint: dict[str, Any] | None,
    lease_ms: int,
) -> bool:
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
                checkpoint=checkpoint,
                not_before_ms=now + 2 * lease_ms,
            )
        )
    return mine


def record_checkpoint(session: Session, held: Claim, path: str, checkpoint: dict[str, Any], lease_ms: int) -> bool:
    """Records how far the copy into a temporary file has come. False if the job is no longer this attempt's."""
    mine = renew(session, held, lease_ms)
    if mine:
        file = (TemporaryFile.host == held.destination.host, TemporaryFile.path == path)
        session.execute(
            update(TemporaryFile).where(TemporaryFile.job_id == held.job_id, *file).values(checkpoint=checkpoint)
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
    statement = _clearable(session).where(TemporaryFile.not_before_ms <= now).order_by(TemporaryFile.not_before_ms)
    rows = list(session.scalars(statement.limit(limit).with_for_update(skip_locked=True, of=TemporaryFile)))
    for row in rows:
        row.not_before_ms = now + wait_ms
    return [_leftover(row) for row in rows]


def leftovers_due(session: Session) -> bool:
    """Whether there is anything for `take_leftovers`."""
    statement = _clearable(session).where(TemporaryFile.not_before_ms <= now_ms())
    return session.scalars(statement.limit(1)).first() is not None


def forget_leftover(session: Session, host: str, path: str) -> None:
    """The file is known to be gone, or to be where it belongs."""
    session.execute(delete(TemporaryFile).where(TemporaryFile.host == host, TemporaryFile.path == path))


def _clearable(session: Session) -> Select[TemporaryFile]:
    """Of jobs that have ended, on hosts that can be reached."""
    ended = select(TemporaryFile).join(Job, Job.id == TemporaryFile.job_id).where(Job.status.in_(TERMINAL))
    return ended.where(TemporaryFile.host.not_in(hosts.blocks(session)))


def _leftover(row: TemporaryFile) -> RecordedLeftover:
    return RecordedLeftover(row.job_id, row.host, row.path, row.restores, row.checkpoint)


def _set(session: Session, job_id: int, **values: object) -> None:
    session.execute(update(JobFile).where(JobFile.job_id == job_id, JobFile.number == 0).values(**values))
