"""Jobs as callers know them: taken in, and told of."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import select
from sqlalchemy.orm import Session

from data_mover.db import insert_if_absent, now_ms
from data_mover.errors import failure_of
from data_mover.jobs import hosts
from data_mover.jobs.hosts import Block
from data_mover.jobs.models import Job, JobFile, Lane
from data_mover.jobs.states import TERMINAL, FileState, Phase, Priority, Status
from data_mover.locations import Endpoint, IfExists, Location, shown


@dataclass(frozen=True)
class Submission:
    """A move that was asked for and found valid."""

    caller: str
    source: Location
    destination: Endpoint
    resolved_source: Endpoint
    key: str | None
    label: str | None
    priority: Priority
    #: SHA-256 in hexadecimal that the source must have
    checksum: str | None
    deadline_seconds: int
    if_exists: IfExists = IfExists.REPLACE
    #: the job that this one does again
    retry_of: int | None = None


@dataclass(frozen=True)
class JobReport:
    """What `check` tells of a job. Sizes are bytes, rates bytes a second; what is not known yet is None."""

    id: int
    status: Status
    phase: Phase | None
    source: dict[str, Any]
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
    sha256: str | None
    verified: str | None
    submitted_at: datetime
    started_at: datetime | None
    ended_at: datetime | None


def add(session: Session, submission: Submission) -> int | None:
    """Records a new PENDING job and returns its id, or None if the caller has used the key before, or if a job does
    already again what this one is to do again."""
    if submission.retry_of is not None and _is_being_done_again(session, submission.retry_of):
        return None
    now = session.scalars(select(now_ms())).one()
    source, destination = submission.resolved_source, submission.destination
    hosts.know(session, (source.host, destination.host))
    job_id = insert_if_absent(
        session,
        Job,
        {
            "caller": submission.caller,
            "key": submission.key,
            "source": submission.source.as_struct(),
            "destination": destination.as_struct(),
            "label": submission.label,
            "priority": submission.priority.rank,
            "checksum": submission.checksum,
            "if_exists": submission.if_exists,
            "retry_of": submission.retry_of,
            "submitted_ms": now,
            "deadline_ms": now + submission.deadline_seconds * 1000,
            "lane_id": _lane(session, submission.caller, source.host, destination.host),
            "source_host": source.host,
            "source_path": source.path,
            "destination_host": destination.host,
            "destination_path": destination.path,
            "status": Status.PENDING,
            "phase": Phase.QUEUED,
            "not_before_ms": now,
        },
    )
    if job_id is not None:
        session.add(JobFile(job_id=job_id, number=0, state=FileState.PENDING))
    return job_id


def find_by_key(session: Session, caller: str, key: str) -> Job:
    """The job that the caller has submitted with this key."""
    return session.scalars(select(Job).where(Job.caller == caller, Job.key == key)).one()


def is_same_request(job: Job, submission: Submission) -> bool:
    """Whether the job was asked for in the same way, labels apart."""
    return (job.source, job.destination) == (submission.source.as_struct(), submission.destination.as_struct()) and (
        job.checksum,
        job.priority,
        job.if_exists,
    ) == (submission.checksum, submission.priority.rank, submission.if_exists)


def find(session: Session, caller: str, job_id: int) -> Job | None:
    """The caller's job, or None if the caller has no such job."""
    return session.scalars(select(Job).where(Job.caller == caller, Job.id == job_id)).one_or_none()


def find_live_retry(session: Session, job_id: int) -> Job | None:
    """A job that does this one again and has not ended."""
    statement = select(Job).where(Job.retry_of == job_id, Job.status.not_in(TERMINAL)).order_by(Job.id).limit(1)
    return session.scalars(statement).one_or_none()


def find_newest_retry(session: Session, job_id: int) -> Job:
    """The last job that does this one again, or did."""
    return session.scalars(select(Job).where(Job.retry_of == job_id).order_by(Job.id.desc()).limit(1)).one()


def report(session: Session, caller: str, job_id: int) -> JobReport | None:
    """What there is to tell of one of the caller's jobs, or None if the caller has no such job."""
    statement = _reported().where(Job.caller == caller, Job.id == job_id)
    row = session.execute(statement).one_or_none()
    return _report(row.Job, row.JobFile, hosts.blocks(session)) if row else None


def newest(session: Session, caller: str, limit: int) -> Sequence[JobReport]:
    """The caller's newest jobs, the newest first."""
    statement = _reported().where(Job.caller == caller).order_by(Job.id.desc()).limit(limit)
    blocks = hosts.blocks(session)
    return [_report(job, file, blocks) for job, file in session.execute(statement)]


def _reported() -> Any:
    return select(Job, JobFile).join(JobFile, (JobFile.job_id == Job.id) & (JobFile.number == 0))


def _is_being_done_again(session: Session, job_id: int) -> bool:
    """Who else asks waits until the transaction ends."""
    session.execute(select(Job.id).where(Job.id == job_id).with_for_update())
    return find_live_retry(session, job_id) is not None


def _lane(session: Session, caller: str, source_host: str, destination_host: str) -> int:
    names = {"caller": caller, "source_host": source_host, "destination_host": destination_host}
    known = session.scalars(select(Lane.id).filter_by(**names)).one_or_none()
    if known is not None:
        return known
    insert_if_absent(session, Lane, names)
    return session.scalars(select(Lane.id).filter_by(**names)).one()


def _report(job: Job, file: JobFile, blocks: Mapping[str, Block]) -> JobReport:
    status = Status(job.status)
    block = _block(job, blocks) if status is Status.PENDING else None
    phase, reason, code, next_ms = _waiting(job, block)
    failure = failure_of(code) if code else None
    return JobReport(
        id=job.id,
        status=status,
        phase=phase,
        source=shown(job.source),
        destination=job.destination,
        path=file.path,
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
        sha256=file.sha256 if status is Status.COMPLETED else None,
        verified=file.verified if status is Status.COMPLETED else None,
        submitted_at=_instant(job.submitted_ms),
        started_at=_instant(job.started_ms) if job.started_ms is not None else None,
        ended_at=_instant(job.ended_ms) if job.ended_ms is not None else None,
    )


def _block(job: Job, blocks: Mapping[str, Block]) -> Block | None:
    """Why one of its hosts keeps the job waiting, if one does."""
    return blocks.get(job.source_host) or blocks.get(job.destination_host)


def _waiting(job: Job, block: Block | None) -> tuple[Phase | None, str | None, str | None, int | None]:
    """The phase of the job, why that is so, and when it may be tried next."""
    if block is None:
        phase = Phase(job.phase) if job.phase else None
        return phase, job.reason, job.code, job.not_before_ms if job.status == Status.PENDING else None
    next_ms = max(job.not_before_ms, block.until_ms) if block.until_ms is not None else None
    return Phase.BLOCKED, block.reason, block.code, next_ms


def _seconds_left(job: Job) -> float | None:
    """How long the remaining bytes take at the present rate; verifying comes on top."""
    if job.status != Status.IN_PROGRESS or job.bytes_total is None or not job.bytes_per_second:
        return None
    return (job.bytes_total - job.bytes_done) / job.bytes_per_second


def _instant(milliseconds: int) -> datetime:
    return datetime.fromtimestamp(milliseconds / 1000, UTC)
