"""The time of the last sweep."""

from sqlalchemy import select
from sqlalchemy.orm import Session

from data_mover.store.database import insert_or_update, now_ms
from data_mover.store.models import SweepRecord

#: a sweeper without a sweep for so long counts as dead
SILENT_AFTER_MS = 60_000
NO_SWEEPER = (
    "No sweeper is alive: moves that lost their worker, or whose turn comes later, wait; whoever runs the service "
    "starts one with `data_mover sweep`."
)


def record(session: Session) -> None:
    """Record that a sweep begins."""
    values = {"swept_ms": now_ms()}
    insert_or_update(session, SweepRecord, {"id": 1, **values}, ["id"], values)


def is_fresh(session: Session, every_seconds: float) -> bool:
    """Whether a sweep was made recently, given the interval between sweeps."""
    age_ms = session.scalars(select(now_ms() - SweepRecord.swept_ms)).one_or_none()
    return age_ms is not None and age_ms < max(SILENT_AFTER_MS, 3000 * every_seconds)
