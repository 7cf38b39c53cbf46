"""A change of jobs, with its events."""

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, case, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from data_mover.domain.states import EventKind
from data_mover.store import events
from data_mover.store.database import now_ms
from data_mover.store.models import Job

#: the columns of a job that no attempt runs
UNATTENDED = {"lease_until_ms": None, "worker": None, "worker_id": None}


def change(session: Session, kind: EventKind, guard: Sequence[ColumnElement[bool]], **values: Any) -> list[int]:
    """Change all jobs that meet the guard, and append an event to the log of each; return their ids.

    The event is inserted first and locks the rows; the guard is still true when they are updated.
    """
    ids = events.append(session, kind, guard, **values)
    if ids:
        statement = update(Job).where(Job.id.in_(ids)).values(**values, events=Job.events + 1)
        session.execute(statement.execution_options(synchronize_session=False))
    return ids


def now_but_not_before(column: ColumnElement[int] | InstrumentedAttribute[Any]) -> ColumnElement[int]:
    """Return the present time, or the column's if the clock was put back: a job cannot end before it began."""
    return case((column > now_ms(), column), else_=now_ms())
