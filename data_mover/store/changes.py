"""Whether anything has changed that people look at: a few numbers that cost little, however many jobs there are."""

from typing import Any

from sqlalchemy import func, select
from sqlalchemy.orm import Session

from data_mover.domain.states import Status
from data_mover.store.database import now_ms
from data_mover.store.models import EVENTS, HOSTS, JOBS

_NEWEST_EVENT = select(func.max(EVENTS.c.id))
_OF_RUNNING = (JOBS.c.bytes_done, JOBS.c.bytes_per_second, JOBS.c.bytes_total, JOBS.c.files_done, JOBS.c.files_total)
#: the progress of the jobs that run, and whether their leases hold
_RUNNING = (
    select(JOBS.c.id, *_OF_RUNNING, JOBS.c.lease_until_ms < now_ms())
    .where(JOBS.c.status == Status.IN_PROGRESS)
    .order_by(JOBS.c.id)
)
#: when the next job becomes due
_NEXT_DUE = (
    select(JOBS.c.not_before_ms)
    .where(JOBS.c.status == Status.PENDING, JOBS.c.not_before_ms > now_ms())
    .order_by(JOBS.c.not_before_ms)
    .limit(1)
)
_HOSTS = select(*HOSTS.c).order_by(HOSTS.c.name)


def marks(session: Session) -> tuple[Any, ...]:
    """Return values that differ once a job, its progress or a host has changed."""
    connection = session.connection()
    rows = [tuple(map(tuple, connection.execute(each))) for each in (_RUNNING, _HOSTS)]
    return (*(connection.scalars(each).one_or_none() for each in (_NEWEST_EVENT, _NEXT_DUE)), *rows)
