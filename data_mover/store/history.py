"""What has become of moves of late: of the newest ones, however many there are."""

from typing import NamedTuple

from sqlalchemy import ColumnElement, func, literal, select
from sqlalchemy.orm import Session

from data_mover.domain.states import Status
from data_mover.store.database import ms, now_ms
from data_mover.store.models import JOBS, LANES

HOUR_SECONDS = 3_600
#: how many of the newest moves are looked at
NEWEST_MOVES = 100_000
#: how many of the newest failures are
NEWEST_FAILURES = 1_000

_IS_NEW = JOBS.c.id > select(func.max(JOBS.c.id)).scalar_subquery() - NEWEST_MOVES
#: the same text wherever it is written: PostgreSQL groups by nothing else
_HOUR = JOBS.c.ended_ms // literal(ms(HOUR_SECONDS), literal_execute=True)


class FailedMove(NamedTuple):
    id: int
    code: str
    reason: str
    ended_ms: int
    #: the names of its hosts, separated by spaces
    hosts: str


class HourOfMoves(NamedTuple):
    """What arrived in an hour, counted from the epoch."""

    hour: int
    bytes: int
    moves: int


def failed(session: Session, caller: str | None) -> list[FailedMove]:
    """Return the newest failed moves of the caller, or of all for None, the newest first."""
    columns = (JOBS.c.id, JOBS.c.code, JOBS.c.reason, JOBS.c.ended_ms, LANES.c.hosts)
    statement = (
        select(*columns)
        .join(LANES, LANES.c.id == JOBS.c.lane_id)
        .where(JOBS.c.status == Status.FAILED, _IS_NEW, *_own(caller))
        .order_by(JOBS.c.id.desc())
        .limit(NEWEST_FAILURES)
    )
    return [FailedMove(*row) for row in session.connection().execute(statement)]


def arrived_by_hour(session: Session, caller: str | None, hours: int) -> list[HourOfMoves]:
    """Return what completed moves of the caller, or of all for None, brought in the last hours, of those in which any
    did."""
    statement = (
        select(_HOUR, func.sum(JOBS.c.bytes_done), func.count())
        .where(JOBS.c.status == Status.COMPLETED, _IS_NEW, *_own(caller))
        .where(JOBS.c.ended_ms > now_ms() - ms(hours * HOUR_SECONDS))
        .group_by(_HOUR)
    )
    return [HourOfMoves(hour, int(size), moves) for hour, size, moves in session.connection().execute(statement)]


def _own(caller: str | None) -> list[ColumnElement[bool]]:
    return [JOBS.c.caller == caller] if caller is not None else []
