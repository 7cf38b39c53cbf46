"""Jobs as their callers see them."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

from sqlalchemy import ColumnElement, Row, bindparam, func, select
from sqlalchemy.orm import Session

from data_mover.domain.errors import failure_of
from data_mover.domain.locations import shown
from data_mover.domain.states import ARRIVED, REASONS, TERMINAL, Cause, FileKind, FileState, Phase, Status
from data_mover.store import host_health, sweeps, workers
from data_mover.store.database import read_now_ms
from data_mover.store.host_health import Block
from data_mover.store.models import JOB_FILES, JOBS, LANES, Job, JobFile

_Row = Row[*tuple[Any, ...]]


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


def find(session: Session, caller: str | None, job_id: int) -> Job | None:
    """Return the caller's job, or anybody's for None; None if there is no such job."""
    own = [Job.caller == caller] if caller is not None else []
    return session.scalars(select(Job).where(Job.id == job_id, *own)).one_or_none()


def _never() -> bool:
    return False


def report(
    session: Session, caller: str | None, job_id: int, redis_is_away: Callable[[], bool] = _never
) -> JobReport | None:
    """Return the report of one of the caller's jobs, or of anybody's for None; None if there is no such job.
    `redis_is_away` is asked where a job waits to be claimed and nothing else is missing."""
    statement = _WITH_ID if caller is None else _OF_CALLER
    its = {"its_job": job_id} if caller is None else {"its_job": job_id, "its_caller": caller}
    row = session.connection().execute(statement, its).one_or_none()
    return _report(row, _Waits(session, redis_is_away)) if row else None


def newest(
    session: Session,
    caller: str | None,
    limit: int,
    *which: ColumnElement[bool],
    redis_is_away: Callable[[], bool] = _never,
) -> Sequence[JobReport]:
    """Return the caller's jobs, or all for None, that meet the conditions, the newest first. `redis_is_away` as in
    `report`."""
    own = [Job.caller == caller] if caller is not None else []
    statement = _REPORTED.where(*own, *which).order_by(Job.id.desc()).limit(limit)
    waits = _Waits(session, redis_is_away)
    return [_report(row, waits) for row in session.connection().execute(statement).all()]


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


class _Waits:
    """What jobs may wait for, read where one may."""

    def __init__(self, session: Session, redis_is_away: Callable[[], bool]) -> None:
        self._session = session
        self.redis_is_away = redis_is_away

    @cached_property
    def hosts(self) -> Mapping[str, Block]:
        return host_health.blocks(self._session)

    @cached_property
    def has_workers(self) -> bool:
        return workers.alive(self._session, workers.SILENT_AFTER_SECONDS) > 0

    @cached_property
    def has_sweeper(self) -> bool:
        return bool(self._session.connection().scalars(_HAS_SWEEPER).one())

    @property
    def now_ms(self) -> int:
        return read_now_ms(self._session)


#: jobs with the hosts of their lane, and with the proof of their file if they have only one
_REPORTED = (
    select(
        *(column for column in JOBS.c if column.name not in ("sha256", "verified")),
        LANES.c.hosts,
        func.coalesce(JOB_FILES.c.sha256, JOBS.c.sha256).label("sha256"),
        func.coalesce(JOB_FILES.c.verified, JOBS.c.verified).label("verified"),
    )
    .join(LANES, LANES.c.id == JOBS.c.lane_id)
    .outerjoin(JOB_FILES, (JOB_FILES.c.job_id == JOBS.c.id) & (JOB_FILES.c.number == 0) & (JOBS.c.files_total == 1))
)
_WITH_ID = _REPORTED.where(JOBS.c.id == bindparam("its_job"))
_OF_CALLER = _WITH_ID.where(JOBS.c.caller == bindparam("its_caller"))
_HAS_SWEEPER = select(sweeps.is_fresh())


def _report(job: _Row, waits: _Waits) -> JobReport:
    status = Status(job.status)
    phase, reason, code, next_ms = _waiting(job, waits)
    failure = failure_of(code) if code else None
    is_proven = status is Status.COMPLETED
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
        sha256=job.sha256 if is_proven else None,
        verified=job.verified if is_proven else None,
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


def _waiting(job: _Row, waits: _Waits) -> tuple[Phase | None, str | None, str | None, int | None]:
    """Return the phase of the job, reason and code, and the time of the next attempt."""
    phase = Phase(job.phase) if job.phase else None
    next_ms = job.not_before_ms if job.status == Status.PENDING else None
    if job.ending is not None:
        return phase, job.reason, job.code, next_ms
    if block := _block(job, waits):
        next_ms = max(job.not_before_ms, block.until_ms) if block.until_ms is not None else None
        return Phase.BLOCKED, block.reason, block.code, next_ms
    if cause := _missed(job, waits):
        return phase, REASONS[cause], cause, next_ms
    return phase, job.reason, job.code, next_ms


def _block(job: _Row, waits: _Waits) -> Block | None:
    """Return why a host blocks the job, if one does."""
    if job.status != Status.PENDING:
        return None
    return next((waits.hosts[name] for name in job.hosts.split() if name in waits.hosts), None)


def _missed(job: _Row, waits: _Waits) -> Cause | None:
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


def _seconds_left(job: _Row) -> float | None:
    """Return the seconds for the remaining bytes at the present rate, without the time to verify."""
    if job.status != Status.IN_PROGRESS or job.bytes_total is None or not job.bytes_per_second:
        return None
    return float((job.bytes_total - job.bytes_done) / job.bytes_per_second)


def _instant(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
