"""Jobs as their callers see them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, Select, bindparam, select
from sqlalchemy.orm import Session

from data_mover.domain.errors import failure_of
from data_mover.domain.locations import shown
from data_mover.domain.states import ARRIVED, REASONS, TERMINAL, Cause, FileKind, FileState, Phase, Status
from data_mover.store import host_health, sweeps, workers
from data_mover.store.database import now_ms
from data_mover.store.host_health import Block
from data_mover.store.models import Job, JobFile, Lane


@dataclass(frozen=True)
class JobReport:
    """The answer to `check`. Sizes are bytes, rates bytes a second; None is not known yet."""

    id: int
    status: Status
    phase: Phase | None
    source: Any
    destination: dict[str, Any]
    path: str | None
    label: str | None
    key: str | None
    retry_of: int | None
    reason: str | None
    code: str | None
    retryable: bool | None
    who_can_fix: str | None
    attempt: int
    next_attempt_at: datetime | None
    deadline_at: datetime
    bytes_done: int
    bytes_total: int | None
    bytes_per_second: int | None
    seconds_left: float | None
    files_done: int
    files_total: int
    #: how many files of a failed job have arrived
    files_completed: int | None
    #: of its only file, or of the list of its files; and the weakest method that proved one of them
    sha256: str | None
    verified: str | None
    submitted_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


@dataclass(frozen=True)
class FileReport:
    """The answer to `files` for one file or directory of a job."""

    number: int
    kind: FileKind
    #: the path below the source, or the base name of a source that is a file; empty for the folder itself
    name: str
    #: the final path, if it can have one
    path: str | None
    state: FileState
    size_bytes: int | None
    sha256: str | None
    verified: str | None
    code: str | None
    reason: str | None
    retryable: bool | None
    who_can_fix: str | None


def find(session: Session, caller: str, job_id: int) -> Job | None:
    """Return the caller's job, or None if the caller has no such job."""
    return session.scalars(select(Job).where(Job.caller == caller, Job.id == job_id)).one_or_none()


def _never() -> bool:
    return False


def report(session: Session, caller: str, job_id: int, redis_is_away: Callable[[], bool] = _never) -> JobReport | None:
    """Return the report of one of the caller's jobs, or None if the caller has no such job. `redis_is_away` is asked
    where a job waits to be claimed and nothing else is missing."""
    row = session.execute(_OF_CALLER, {"its_caller": caller, "its_job": job_id}).one_or_none()
    return _report(*row, _waits(session, redis_is_away)) if row else None


def newest(
    session: Session,
    caller: str,
    limit: int,
    *which: ColumnElement[bool],
    redis_is_away: Callable[[], bool] = _never,
) -> Sequence[JobReport]:
    """Return the caller's jobs that meet the conditions, the newest first. `redis_is_away` as in `report`."""
    statement = _REPORTED.where(Job.caller == caller, *which).order_by(Job.id.desc()).limit(limit)
    waits = _waits(session, redis_is_away)
    return [_report(*row, waits) for row in session.execute(statement)]


def files(session: Session, job_id: int, state: FileState | None, after: int, limit: int) -> Sequence[FileReport]:
    """Return the next files of a job after that number, of one state or of any.

    Files of an atomic folder are reported as published only once all are.
    """
    job = session.get_one(Job, job_id)
    unseen = job.selection["atomic"] and job.status not in TERMINAL
    statement = select(JobFile).where(JobFile.job_id == job_id, JobFile.number > after)
    if state is not None:
        kept = (
            {FileState.VERIFIED: [FileState.VERIFIED, FileState.PUBLISHED], FileState.PUBLISHED: []} if unseen else {}
        )
        statement = statement.where(JobFile.state.in_(kept.get(state, [state])))
    rows = session.scalars(statement.order_by(JobFile.number).limit(limit))
    return [_file_report(row, unseen) for row in rows]


@dataclass(frozen=True)
class _Waits:
    """What jobs may wait for."""

    hosts: Mapping[str, Block]
    has_workers: bool
    has_sweeper: bool
    redis_is_away: Callable[[], bool]
    now_ms: int


def _waits(session: Session, redis_is_away: Callable[[], bool]) -> _Waits:
    now, has_sweeper = session.execute(_NOW_AND_SWEEPER).one()
    has_workers = bool(workers.alive(session, workers.SILENT_AFTER_SECONDS))
    return _Waits(host_health.blocks(session), has_workers, has_sweeper, redis_is_away, now)


def _reported() -> Select[Job, Lane, JobFile | None]:
    """Return the query of jobs with their lanes, and with their file if they have only one."""
    alone = (JobFile.job_id == Job.id) & (JobFile.number == 0) & (Job.files_total == 1)
    return select(Job, Lane, JobFile).join(Lane, Lane.id == Job.lane_id).outerjoin(JobFile, alone)


_REPORTED = _reported()
_OF_CALLER = _REPORTED.where(Job.caller == bindparam("its_caller"), Job.id == bindparam("its_job"))
_NOW_AND_SWEEPER = select(now_ms(), sweeps.is_fresh())


def _report(job: Job, lane: Lane, file: JobFile | None, waits: _Waits) -> JobReport:
    status = Status(job.status)
    phase, reason, code, next_ms = _waiting(job, lane, waits)
    failure = failure_of(code) if code else None
    proven = None
    if status is Status.COMPLETED:
        proven = file if file is not None and file.sha256 is not None else job
    return JobReport(
        id=job.id,
        status=status,
        phase=phase,
        source=shown(job.source),
        destination=job.destination,
        path=job.path,
        label=job.label,
        key=job.key,
        retry_of=job.retry_of,
        reason=reason,
        code=code,
        retryable=failure.retryable if failure else None,
        who_can_fix=failure.who_can_fix if failure else None,
        attempt=job.attempt,
        next_attempt_at=_instant(next_ms) if next_ms is not None else None,
        deadline_at=_instant(job.deadline_ms),
        bytes_done=job.bytes_done,
        bytes_total=job.bytes_total,
        bytes_per_second=job.bytes_per_second,
        seconds_left=_seconds_left(job),
        files_done=job.files_done,
        files_total=job.files_total,
        files_completed=job.files_done if status is Status.FAILED else None,
        sha256=proven.sha256 if proven else None,
        verified=proven.verified if proven else None,
        submitted_at=_instant(job.submitted_ms),
        started_at=_instant(job.started_ms) if job.started_ms is not None else None,
        ended_at=_instant(job.ended_ms) if job.ended_ms is not None else None,
    )


def _file_report(file: JobFile, unseen: bool) -> FileReport:
    state = FileState(file.state)
    failure = failure_of(file.code) if file.code else None
    proven = file if state in ARRIVED else None
    return FileReport(
        number=file.number,
        kind=FileKind(file.kind),
        name=file.name,
        path=file.path,
        state=FileState.VERIFIED if unseen and state is FileState.PUBLISHED else state,
        size_bytes=file.size_bytes,
        sha256=proven.sha256 if proven else None,
        verified=proven.verified if proven else None,
        code=file.code,
        reason=file.reason,
        retryable=failure.retryable if failure else None,
        who_can_fix=failure.who_can_fix if failure else None,
    )


def _waiting(job: Job, lane: Lane, waits: _Waits) -> tuple[Phase | None, str | None, str | None, int | None]:
    """Return the phase of the job, reason and code, and the time of the next attempt."""
    phase = Phase(job.phase) if job.phase else None
    next_ms = job.not_before_ms if job.status == Status.PENDING else None
    if job.ending is not None:
        return phase, job.reason, job.code, next_ms
    if block := _block(job, lane, waits.hosts):
        next_ms = max(job.not_before_ms, block.until_ms) if block.until_ms is not None else None
        return Phase.BLOCKED, block.reason, block.code, next_ms
    if cause := _missed(job, waits):
        return phase, REASONS[cause], cause, next_ms
    return phase, job.reason, job.code, next_ms


def _block(job: Job, lane: Lane, blocks: Mapping[str, Block]) -> Block | None:
    """Return why a host blocks the job, if one does."""
    if job.status != Status.PENDING:
        return None
    return next((blocks[name] for name in lane.hosts.split() if name in blocks), None)


def _missed(job: Job, waits: _Waits) -> Cause | None:
    """Return the cause if the job is due and lacks a process."""
    if job.status == Status.IN_PROGRESS and (job.lease_until_ms or 0) < waits.now_ms:
        return Cause.WORKER_LOST if waits.has_sweeper else Cause.NO_SWEEPER
    if job.status != Status.PENDING or job.not_before_ms > waits.now_ms:
        return None
    if not waits.has_workers:
        return Cause.NO_WORKER
    if not waits.has_sweeper:
        return Cause.NO_SWEEPER
    return Cause.NO_REDIS if waits.redis_is_away() else None


def _seconds_left(job: Job) -> float | None:
    """Return the seconds for the remaining bytes at the present rate, without the time to verify."""
    if job.status != Status.IN_PROGRESS or job.bytes_total is None or not job.bytes_per_second:
        return None
    return (job.bytes_total - job.bytes_done) / job.bytes_per_second


def _instant(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
