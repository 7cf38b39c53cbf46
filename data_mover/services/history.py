"""What has become of moves: failures by their cause, and what arrived by the hour."""

import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from data_mover.config.callers import Caller
from data_mover.domain.errors import failure_of, is_of
from data_mover.store import history
from data_mover.store.database import Database
from data_mover.store.history import HOUR_SECONDS, FailedMove, HourOfMoves

HOURS = 24
#: what arrived is counted so often at most
COUNTED_SECONDS = 30.0


@dataclass(frozen=True)
class FailureGroup:
    """Moves that failed with the same code at the same host."""

    code: str
    #: None if the reason names none
    host: str | None
    count: int
    newest_id: int
    last_at: datetime
    #: of the newest one
    reason: str
    retryable: bool
    who_can_fix: str | None


@dataclass(frozen=True)
class Hour:
    """What arrived in an hour."""

    begins_at: datetime
    bytes: int
    moves: int


class History:
    """Looks back at the moves that a caller sees. Raises ServiceUnavailable."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._changing = threading.Lock()
        self._counted = dict[str | None, tuple[float, Sequence[HourOfMoves]]]()

    def failures(self, caller: Caller) -> Sequence[FailureGroup]:
        """Return the failures of late by code and host, the most frequent first."""
        with self._database.reading() as session:
            failed = history.failed(session, caller.sees_only)
        groups = dict[tuple[str, str | None], list[FailedMove]]()
        for move in failed:
            groups.setdefault((move.code, _host(move)), []).append(move)
        found = [_group(code, host, moves) for (code, host), moves in groups.items()]
        return sorted(found, key=lambda group: (-group.count, -group.newest_id))

    def throughput(self, caller: Caller) -> Sequence[Hour]:
        """Return what completed moves brought in each of the last hours, the present one last."""
        present = int(time.time()) // HOUR_SECONDS
        arrived = {each.hour: each for each in self._arrived(caller.sees_only)}
        hours = [arrived.get(hour, HourOfMoves(hour, 0, 0)) for hour in range(present - HOURS + 1, present + 1)]
        return [Hour(datetime.fromtimestamp(each.hour * HOUR_SECONDS, UTC), each.bytes, each.moves) for each in hours]

    def _arrived(self, caller: str | None) -> Sequence[HourOfMoves]:
        with self._changing:
            now = time.monotonic()
            self._counted = {name: each for name, each in self._counted.items() if each[0] > now - COUNTED_SECONDS}
            known = self._counted.get(caller)
        if known is not None:
            return known[1]
        with self._database.reading() as session:
            arrived = history.arrived_by_hour(session, caller, HOURS)
        with self._changing:
            self._counted[caller] = now, arrived
        return arrived


def _host(move: FailedMove) -> str | None:
    """Return the host at which the move failed, as its reason says."""
    failure = failure_of(move.code)
    detail = move.reason.removeprefix(f"{failure.sentence().rstrip('.')}: ") if failure else move.reason
    return next((name for name in move.hosts.split() if is_of(detail, name)), None)


def _group(code: str, host: str | None, moves: Sequence[FailedMove]) -> FailureGroup:
    failure, newest = failure_of(code), moves[0]
    return FailureGroup(
        code=code,
        host=host,
        count=len(moves),
        newest_id=newest.id,
        last_at=datetime.fromtimestamp(max(move.ended_ms for move in moves) / 1000, UTC),
        reason=newest.reason,
        retryable=bool(failure and failure.retryable),
        who_can_fix=failure.who_can_fix if failure else None,
    )
