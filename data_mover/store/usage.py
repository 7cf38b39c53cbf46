"""What callers use: how many moves of a caller wait, how many run, and how many bytes its moves brought in a day."""

from dataclasses import dataclass

from sqlalchemy import bindparam, delete, func, select
from sqlalchemy.orm import Session

from data_mover.domain.states import Phase, Status
from data_mover.store.database import insert_or_update, read_now_ms
from data_mover.store.models import BytesMoved, Job, Lane

HOUR_MS = 3_600_000
HOURS_OF_A_DAY = 24

_LANES = select(Lane.id).where(Lane.caller == bindparam("its_caller")).order_by(Lane.id)
#: the phases of jobs that wait: with the lane they are a range of an index
_WAITING_PHASES = (Phase.QUEUED, Phase.WAITING_RETRY)
_WAITING = (
    select(Job.id)
    .join(Lane, Lane.id == Job.lane_id)
    .where(Lane.caller == bindparam("its_caller"), Job.phase.in_(_WAITING_PHASES))
    .limit(bindparam("most"))
    .subquery()
)
_COUNT = select(func.count()).select_from(_WAITING)
_RUNNING = (
    select(func.count())
    .select_from(Job)
    .join(Lane, Lane.id == Job.lane_id)
    .where(Job.status == Status.IN_PROGRESS, Lane.caller == bindparam("its_caller"))
)


@dataclass(frozen=True)
class BytesOfDay:
    """The bytes of 24 hours, and when the oldest of them no longer count."""

    bytes: int
    frees_at_ms: int


def waiting(session: Session, caller: str, most: int) -> int:
    """Return how many moves of the caller wait, counting to `most`. Locks the caller's lanes until the transaction
    ends: concurrent submissions count each other."""
    session.execute(_LANES.with_for_update(), {"its_caller": caller})
    return session.scalars(_COUNT, {"its_caller": caller, "most": most}).one()


def running(session: Session, caller: str) -> int:
    """Return how many moves of the caller run. Locks the caller's lanes until the transaction ends: concurrent claims
    count each other."""
    session.execute(_LANES.with_for_update(), {"its_caller": caller})
    return session.scalars(_RUNNING, {"its_caller": caller}).one()


def record_bytes(session: Session, caller: str, count: int) -> None:
    """Add the bytes that a move of the caller brought, and forget those of more than a day ago."""
    hour = read_now_ms(session) // HOUR_MS
    row = {"caller": caller, "hour": hour, "bytes": count}
    insert_or_update(session, BytesMoved, row, ["caller", "hour"], {"bytes": BytesMoved.bytes + count})
    session.execute(delete(BytesMoved).where(BytesMoved.caller == caller, BytesMoved.hour < hour - HOURS_OF_A_DAY))


def bytes_of_day(session: Session, caller: str) -> BytesOfDay:
    """Return what the moves of the caller brought in the last 24 hours, by whole hours."""
    hour = read_now_ms(session) // HOUR_MS
    recent = (BytesMoved.caller == caller, BytesMoved.hour > hour - HOURS_OF_A_DAY, BytesMoved.hour <= hour)
    total, oldest = session.execute(
        select(func.coalesce(func.sum(BytesMoved.bytes), 0), func.coalesce(func.min(BytesMoved.hour), hour)).where(
            *recent
        )
    ).one()
    return BytesOfDay(int(total), (oldest + HOURS_OF_A_DAY) * HOUR_MS)
