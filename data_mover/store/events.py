"""The log of each job: its events in order. Rows are only added, by `transitions`.

An event is inserted from the job's row as it is before the change, in the same transaction: no change is without its
event, and no event without its change.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import BigInteger, ColumnElement, Insert, Text, insert, literal, select
from sqlalchemy.orm import Session
from sqlalchemy.types import TypeEngine

from data_mover.domain.states import EventKind, Phase, Status
from data_mover.store.database import now_ms
from data_mover.store.models import EVENTS, Event, Job


@dataclass(frozen=True)
class EventReport:
    """One line of a job's log."""

    #: from 1 on, without a gap
    number: int
    at: datetime
    event: EventKind
    #: None for the first event
    from_status: Status | None
    to_status: Status
    from_phase: Phase | None
    to_phase: Phase | None
    attempt: int
    worker: str | None
    code: str | None
    reason: str | None
    #: the number of files, if the event is about files
    files: int | None


def insertion(kind: EventKind, guard: Sequence[ColumnElement[bool]], values: Mapping[str, Any]) -> Insert:
    """Return the statement that adds an event to the log of each job that meets the guard, and returns their ids.

    It locks the rows of the jobs until the transaction ends: the caller's UPDATE, which must increment `events`, then
    finds them as the event says. `values` are the columns that this UPDATE sets, and what else the event says.
    """
    worker = values.get("worker")
    columns: dict[str, Any] = {
        "job_id": Job.id,
        "number": Job.events + 1,
        "at_ms": now_ms(),
        "event": literal(kind.value, Text),
        "from_status": Job.status,
        "to_status": _value("status", values),
        "from_phase": Job.phase,
        "to_phase": _value("phase", values),
        "attempt": _value("attempt", values),
        "worker": Job.worker if worker is None else worker,
        "code": _literal(values.get("code"), Text()),
        "reason": _literal(values.get("reason"), Text()),
        "files": _literal(values.get("files"), BigInteger()),
    }
    rows = select(*columns.values()).where(*guard).with_for_update(of=Job)
    statement = insert(EVENTS).from_select(list(columns), rows, include_defaults=False)
    return statement.returning(EVENTS.c.job_id)


def of_job(session: Session, job_id: int) -> Sequence[EventReport]:
    """Return the whole log of the job, the oldest event first."""
    rows = session.scalars(select(Event).where(Event.job_id == job_id).order_by(Event.number))
    return [_report(row) for row in rows]


def _value(name: str, values: Mapping[str, Any]) -> Any:
    return _literal(values[name], Text()) if name in values else getattr(Job, name)


def _literal(value: Any, type_: TypeEngine[Any]) -> Any:
    """Return an expression for a constant; anything else is one already."""
    return literal(value, type_) if value is None or isinstance(value, str) else value


def _report(row: Event) -> EventReport:
    return EventReport(
        number=row.number,
        at=datetime.fromtimestamp(row.at_ms / 1000, UTC),
        event=EventKind(row.event),
        from_status=Status(row.from_status) if row.from_status else None,
        to_status=Status(row.to_status),
        from_phase=Phase(row.from_phase) if row.from_phase else None,
        to_phase=Phase(row.to_phase) if row.to_phase else None,
        attempt=row.attempt,
        worker=row.worker,
        code=row.code,
        reason=row.reason,
        files=row.files,
    )
