"""Pages of a caller's jobs, filtered, the newest first."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, func, select
from sqlalchemy.orm import Session, aliased

from data_mover.domain.states import Phase, Status
from data_mover.store import host_health, reports
from data_mover.store.models import Job, Lane
from data_mover.store.reports import JobReport


@dataclass(frozen=True)
class JobFilter:
    """Which jobs are listed; None is no condition."""

    status: Status | None = None
    phase: Phase | None = None
    #: the host of a source or of the destination
    host: str | None = None
    label: str | None = None
    #: why they failed, or why their last attempt did
    code: str | None = None
    #: submitted at `since` or later, and before `until`
    since: datetime | None = None
    until: datetime | None = None
    #: jobs with a smaller id
    before: int | None = None
    limit: int = 50


@dataclass(frozen=True)
class Matching:
    """How many jobs match, and the ids of the first and the last of them; zeros if there is none."""

    count: int
    oldest: int
    newest: int


_RETRY = aliased(Job)
#: jobs that may be cancelled, and those that may be retried and were not yet
CANCELLABLE = (
    Job.status.in_((Status.PENDING, Status.IN_PROGRESS)),
    Job.ending.is_(None),
    Job.phase.not_in((Phase.PUBLISHING, Phase.CANCELLING)),
)
RETRYABLE = (
    Job.status.in_((Status.FAILED, Status.CANCELLED)),
    ~select(_RETRY.id).where(_RETRY.retry_of == Job.id).exists(),
)


def page(
    session: Session, caller: str | None, job_filter: JobFilter, redis_is_away: Callable[[], bool]
) -> Sequence[JobReport]:
    """Return the caller's jobs, or all for None, that match the filter, the newest first."""
    which = _conditions(session, job_filter)
    return reports.newest(session, caller, job_filter.limit, *which, redis_is_away=redis_is_away)


def matching(session: Session, caller: str | None, job_filter: JobFilter, most: int) -> Matching:
    """Return how many of the caller's jobs, or of all for None, match the filter: of the newest, `most` at most."""
    statement = select(Job.id).where(*_own(caller), *_conditions(session, job_filter)).order_by(Job.id.desc())
    newest = statement.limit(most).subquery()
    count, first, last = session.execute(select(func.count(), func.min(newest.c.id), func.max(newest.c.id))).one()
    return Matching(count, first or 0, last or 0)


def ids(
    session: Session,
    caller: str | None,
    job_filter: JobFilter,
    which: Iterable[ColumnElement[bool]],
    oldest: int,
    limit: int,
) -> list[int]:
    """Return the ids of the caller's jobs, or of all for None, that match the filter and the conditions, down to the
    oldest, the newest first."""
    conditions = (*_own(caller), *_conditions(session, job_filter), *which, Job.id >= oldest)
    return list(session.scalars(select(Job.id).where(*conditions).order_by(Job.id.desc()).limit(limit)))


def several(
    session: Session, caller: str | None, job_ids: Sequence[int], redis_is_away: Callable[[], bool]
) -> Sequence[JobReport]:
    """Return those of the jobs that are the caller's, or all for None, the newest first."""
    return reports.newest(session, caller, len(job_ids), Job.id.in_(job_ids), redis_is_away=redis_is_away)


def owners(session: Session, caller: str | None, job_ids: Sequence[int]) -> Mapping[int, str]:
    """Return the callers of those of the jobs that are the caller's, or of all for None, by id."""
    rows = session.execute(select(Job.id, Job.caller).where(Job.id.in_(job_ids), *_own(caller)))
    return {row.id: row.caller for row in rows}


def _own(caller: str | None) -> list[ColumnElement[bool]]:
    return [Job.caller == caller] if caller is not None else []


def _conditions(session: Session, job_filter: JobFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if job_filter.status is not None:
        conditions.append(Job.status == job_filter.status)
    if job_filter.phase is not None:
        conditions.append(_in_phase(session, job_filter.phase))
    if job_filter.host is not None:
        conditions.append(Job.lane_id.in_(_lanes_of(session, {job_filter.host})))
    if job_filter.label is not None:
        conditions.append(Job.label == job_filter.label)
    if job_filter.code is not None:
        conditions.append(Job.code == job_filter.code)
    if job_filter.since is not None:
        conditions.append(Job.submitted_ms >= _milliseconds(job_filter.since))
    if job_filter.until is not None:
        conditions.append(Job.submitted_ms < _milliseconds(job_filter.until))
    if job_filter.before is not None:
        conditions.append(Job.id < job_filter.before)
    return conditions


def _in_phase(session: Session, phase: Phase) -> ColumnElement[bool]:
    """Return the condition for a phase. BLOCKED follows from the host's row, every other phase from the job's."""
    lanes = _lanes_of(session, host_health.blocks(session))
    blocked = (Job.status == Status.PENDING) & Job.ending.is_(None) & Job.lane_id.in_(lanes)
    return blocked if phase is Phase.BLOCKED else (Job.phase == phase) & ~blocked


def _lanes_of(session: Session, hosts: Iterable[str]) -> list[int]:
    return [lane.id for lane in session.scalars(select(Lane)) if lane.host_names & set(hosts)]


def _milliseconds(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)
