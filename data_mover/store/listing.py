"""Pages of a caller's jobs, filtered, the newest first."""

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, select
from sqlalchemy.orm import Session

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


def page(
    session: Session, caller: str | None, job_filter: JobFilter, redis_is_away: Callable[[], bool]
) -> Sequence[JobReport]:
    """Return the caller's jobs, or all for None, that match the filter, the newest first."""
    which = _conditions(session, job_filter)
    return reports.newest(session, caller, job_filter.limit, *which, redis_is_away=redis_is_away)


def several(
    session: Session, caller: str | None, job_ids: Sequence[int], redis_is_away: Callable[[], bool]
) -> Sequence[JobReport]:
    """Return those of the jobs that are the caller's, or all for None, the newest first."""
    return reports.newest(session, caller, len(job_ids), Job.id.in_(job_ids), redis_is_away=redis_is_away)


def owners(session: Session, caller: str | None, job_ids: Sequence[int]) -> Mapping[int, str]:
    """Return the callers of those of the jobs that are the caller's, or of all for None, by id."""
    own = [Job.caller == caller] if caller is not None else []
    rows = session.execute(select(Job.id, Job.caller).where(Job.id.in_(job_ids), *own))
    return {row.id: row.caller for row in rows}


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
