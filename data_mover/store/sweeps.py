"""The time of the last sweep."""

from sqlalchemy import ColumnElement, func, or_, select
from sqlalchemy.orm import Session

from data_mover.store.database import insert_or_update, ms, now_ms
from data_mover.store.models import SweepRecord

#: a sweeper without a sweep for so long counts as dead
SILENT_AFTER_SECONDS = 60


def record(session: Session, every_seconds: float) -> None:
    """Record that a sweep begins, and the interval until the next one."""
    values = {"swept_ms": now_ms(), "every_ms": ms(every_seconds)}
    insert_or_update(session, SweepRecord, {"id": 1, **values}, ["id"], values)


def is_fresh() -> ColumnElement[bool]:
    """Whether a sweep was made recently, given the interval between sweeps; part of a query."""
    age_ms = now_ms() - SweepRecord.swept_ms
    fresh = select(or_(age_ms < ms(SILENT_AFTER_SECONDS), age_ms < 3 * SweepRecord.every_ms)).scalar_subquery()
    return func.coalesce(fresh, False)
