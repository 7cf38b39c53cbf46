"""Pages of a caller's jobs: chosen by a filter, the newest first."""

from collections.abc import Iterable, Sequence
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
    """Which jobs are listed; what is None chooses nothing."""

    status: Status | None = None
    phase: Phase | None = None
    #: one of the job's sources, or its destination
    host: str | None = None
    label: str | None = None
    #: submitted at that instant or later, and before the other one
    since: datetime | None = None
    until: datetime | None = None
    #: jobs with a smaller id
    before: int | None = None
    limit: int = 50


def page(session: Session, caller: str, wanted: JobFilter) -> Sequence[JobReport]:
    """The caller's newest jobs that the filter chooses, the newest first."""
    return reports.newest(session, caller, wanted.limit, *_conditions(session, wanted))


def several(session: Session, caller: str, job_ids: Sequence[int]) -> Sequence[JobReport]:
    """Those of the jobs that are the caller's, the newest first."""
    return reports.newest(session, caller, len(job_ids), Job.id.in_(job_ids))


def _conditions(session: Session, wanted: JobFilter) -> list[ColumnElement[bool]]:
    conditions: list[ColumnElement[bool]] = []
    if wanted.status is not None:
        conditions.append(Job.status == wanted.status)
    if wanted.phase is not None:
        conditions.append(_in_phase(session, wanted.phase))
    if wanted.host is not None:
        conditions.append(Job.lane_id.in_(_lanes_of(session, {wanted.host})))
    if wanted.label is not None:
        conditions.append(Job.label == wanted.label)
    if wanted.since is not None:
        conditions.append(Job.submitted_ms >= _milliseconds(wanted.since))
    if wanted.until is not None:
        conditions.append(Job.submitted_ms < _milliseconds(wanted.until))
    if wanted.before is not None:
        conditions.append(Job.id < wanted.before)
    return conditions


def _in_phase(session: Session, phase: Phase) -> ColumnElement[bool]:
    """A host's row says that a job is blocked; its own row says everything else."""
    lanes = _lanes_of(session, host_health.blocks(session))
    blocked = (Job.status == Status.PENDING) & Job.ending.is_(None) & Job.lane_id.in_(lanes)
    return blocked if phase is Phase.BLOCKED else (Job.phase == phase) & ~blocked


def _lanes_of(session: Session, hosts: Iterable[str]) -> list[int]:
    return [lane.id for lane in session.scalars(select(Lane)) if lane.host_names & set(hosts)]


def _milliseconds(instant: datetime) -> int:
    return int(instant.timestamp() * 1000)
