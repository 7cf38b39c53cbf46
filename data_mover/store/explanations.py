"""What a job waits for."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import func, or_, select
from sqlalchemy.orm import Session, aliased

from data_mover.domain.states import Cause, Phase, Status
from data_mover.store import host_health, queue, sweeps, workers
from data_mover.store.database import now_ms
from data_mover.store.host_health import HostState
from data_mover.store.models import HostRecord, Job, JobFile, Lane
from data_mover.store.queue import Limits
from data_mover.store.shares import Shares


@dataclass(frozen=True)
class Obstacle:
    """Why the job is in its state. None for what does not apply."""

    cause: Cause
    host: str | None = None
    worker: str | None = None
    #: 1 is the next of the caller's runnable jobs
    position: int | None = None
    until: datetime | None = None


def obstacle(
    session: Session,
    job: Job,
    limits: Limits,
    worker_silence_seconds: float,
    redis_is_away: Callable[[], bool],
) -> Obstacle:
    """Return the first obstacle of the job, in the order in which obstacles have to be removed.

    A worker that was silent for `worker_silence_seconds` does not count.
    """
    now = session.scalars(select(now_ms())).one()
    if job.ended_ms is not None:
        return Obstacle(Cause.ENDED)
    if job.ending is not None:
        return Obstacle(Cause.SETTLING)
    if job.status == Status.IN_PROGRESS:
        if (job.lease_until_ms or 0) >= now:
            return Obstacle(Cause.RUNNING, worker=job.worker)
        return _no_sweeper(session) or Obstacle(Cause.WORKER_LOST, worker=job.worker)
    names = sorted(session.get_one(Lane, job.lane_id).host_names)
    return (
        _closed_host(session, names)
        or _wait(session, job, now)
        or _no_worker(session, worker_silence_seconds)
        or _taken_host(session, job, names, limits)
        or _full_quota(session, job, limits)
        or _nobody_wakes(session, redis_is_away)
        or _others(session, job, limits)
        or Obstacle(Cause.QUEUED, position=_position(session, job))
    )


def _closed_host(session: Session, names: list[str]) -> Obstacle | None:
    for record in session.scalars(select(HostRecord).where(HostRecord.name.in_(names)).order_by(HostRecord.name)):
        if record.paused:
            return Obstacle(Cause.HOST_PAUSED, host=record.name)
        if record.probe_at_ms is not None:
            return Obstacle(Cause.HOST_UNREACHABLE, host=record.name, until=_instant(record.probe_at_ms))
    return None


def _wait(session: Session, job: Job, now: int) -> Obstacle | None:
    """Return a locked path, or a retry that is not due."""
    if _path_is_locked(session, job.id):
        return Obstacle(Cause.PATH_LOCKED)
    if job.not_before_ms > now and job.phase == Phase.WAITING_RETRY:
        return Obstacle(Cause.WAITING_RETRY, until=_instant(job.not_before_ms))
    return None


def _path_is_locked(session: Session, job_id: int) -> bool:
    other = aliased(JobFile)
    locked = select(other.job_id).where(other.lock_name == JobFile.lock_name, other.locked, other.job_id != job_id)
    mine = select(JobFile.job_id).where(JobFile.job_id == job_id, JobFile.lock_name.is_not(None), locked.exists())
    return session.scalars(mine.limit(1)).one_or_none() is not None


def _no_worker(session: Session, silence_seconds: float) -> Obstacle | None:
    return None if workers.alive(session, silence_seconds) else Obstacle(Cause.NO_WORKER)


def _no_sweeper(session: Session) -> Obstacle | None:
    return None if session.scalars(select(sweeps.is_fresh())).one() else Obstacle(Cause.NO_SWEEPER)


def _nobody_wakes(session: Session, redis_is_away: Callable[[], bool]) -> Obstacle | None:
    return _no_sweeper(session) or (Obstacle(Cause.NO_REDIS) if redis_is_away() else None)


def _full_quota(session: Session, job: Job, limits: Limits) -> Obstacle | None:
    most = limits.of_caller(job.caller, job.scopes)
    is_full = most is not None and Shares.read(session).by_caller()[job.caller] >= most
    return Obstacle(Cause.QUOTA) if is_full else None


def _taken_host(session: Session, job: Job, names: list[str], limits: Limits) -> Obstacle | None:
    """Return a host without a free slot, or one that another job tries."""
    states = host_health.states(session)
    for name in names:
        state, slots = states.get(name, HostState()), limits.of_hosts.get(name, 1)
        if state.running >= slots:
            return _others(session, job, limits, name) or Obstacle(Cause.HOST_LIMIT, host=name)
        if not state.admits(slots):
            return Obstacle(Cause.HOST_UNPROVEN, host=name)
    return None


def _others(session: Session, job: Job, limits: Limits, full_host: str | None = None) -> Obstacle | None:
    """Return the obstacle of a job that waits for a slot of the host, or for a worker, where those of others come
    first."""
    if not queue.others_come_first(session, job, limits, full_host):
        return None
    return Obstacle(Cause.OTHERS_FIRST, host=full_host, position=_position(session, job))


def _position(session: Session, job: Job) -> int:
    """Return the position among the caller's queued jobs; how many jobs others have stays private."""
    before = or_(Job.priority < job.priority, (Job.priority == job.priority) & (Job.id < job.id))
    queued = (Job.caller == job.caller, Job.status == Status.PENDING, Job.phase == Phase.QUEUED)
    return 1 + session.scalars(select(func.count()).select_from(Job).where(*queued, before)).one()


def _instant(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
