"""A change of jobs, with its events."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import BindParameter, ClauseElement, ColumnElement, bindparam, case, update
from sqlalchemy.orm import InstrumentedAttribute, Session
from sqlalchemy.sql import visitors

from data_mover.domain.states import EventKind
from data_mover.store import events
from data_mover.store.database import now_ms
from data_mover.store.models import JOBS, Job

#: the columns of a job that no attempt runs
UNATTENDED = {"lease_until_ms": None, "worker": None, "worker_id": None}


class Change:
    """Changes all jobs that meet the guard, and appends an event to the log of each.

    Its two statements are made once: what differs from call to call are parameters (`given`).
    """

    def __init__(
        self,
        kind: EventKind,
        guard: Sequence[ColumnElement[bool]],
        values: Mapping[str, Any],
        about: Mapping[str, Any] = MappingProxyType({}),
    ) -> None:
        """`values` are the jobs' new ones; `about` is what the event says and the jobs do not."""
        self._event = events.insertion(kind, guard, {**values, **about})
        changed = Job.id.in_(bindparam("changed_jobs", expanding=True))
        self._update = update(JOBS).where(changed).values(**values, events=Job.events + 1)
        self._of_event, self._of_update = _parameters(self._event), _parameters(self._update)

    def make(self, session: Session, **parameters: Any) -> list[int]:
        """Return the ids of the jobs that were changed.

        The event is inserted first and locks the rows; the guard is still true when they are updated.
        """
        connection = session.connection()
        ids = list(connection.scalars(self._event, {name: parameters[name] for name in self._of_event}))
        if ids:
            parameters["changed_jobs"] = ids
            connection.execute(self._update, {name: parameters[name] for name in self._of_update})
        return ids


def given(*names: str) -> dict[str, BindParameter[Any]]:
    """Return a parameter for the new value of each column: `new_` and its name."""
    return {name: bindparam(f"new_{name}", type_=JOBS.c[name].type) for name in names}


def new(**values: Any) -> dict[str, Any]:
    """Return the values of such parameters."""
    return {f"new_{name}": value for name, value in values.items()}


def now_but_not_before(column: ColumnElement[int] | InstrumentedAttribute[Any]) -> ColumnElement[int]:
    """Return the present time, or the column's if the clock was put back: a job cannot end before it began."""
    return case((column > now_ms(), column), else_=now_ms())


def _parameters(statement: ClauseElement) -> frozenset[str]:
    """Return the names of the parameters that the statement must be given."""
    named = (each for each in visitors.iterate(statement) if isinstance(each, BindParameter) and not each.unique)
    return frozenset(each.key for each in named)
