"""Whether moves can run now: whether the processes that they need are alive."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from data_mover.domain.states import REASONS, Cause
from data_mover.doorbell import Doorbell
from data_mover.store import queue, sweeps, workers
from data_mover.store.database import Database


@dataclass(frozen=True)
class MissingPart:
    """A process that moves need and that is missing: a stable code, and a sentence with the way out."""

    code: str
    sentence: str


@dataclass(frozen=True)
class ServiceState:
    """The processes that moves need, and how long the queue is."""

    #: how many workers are alive
    workers: int
    is_swept: bool
    redis_answers: bool
    #: since when the move that waits longest could have run; None if none waits
    waiting_since: datetime | None

    @property
    def missing(self) -> Sequence[MissingPart]:
        """What keeps moves from running."""
        there = {
            Cause.NO_WORKER: self.workers > 0,
            Cause.NO_SWEEPER: self.is_swept,
            Cause.NO_REDIS: self.redis_answers,
        }
        return [MissingPart(cause, REASONS[cause]) for cause, is_there in there.items() if not is_there]


class Readiness:
    """Checks for workers, a sweeper and Redis. Raises ServiceUnavailable if the database does not answer."""

    def __init__(self, database: Database, doorbell: Doorbell) -> None:
        self._database = database
        self._doorbell = doorbell

    def require_database(self) -> None:
        """Raise ServiceUnavailable unless a table of the database can be read."""
        with self._database.reading() as session:
            session.scalars(select(sweeps.is_fresh())).one()

    def missing(self) -> Sequence[MissingPart]:
        """Return what keeps moves from running. Redis is asked now."""
        self._doorbell.answers()
        return self.state().missing

    def state(self) -> ServiceState:
        """Return the state of the service. Whether Redis answers is known from the last seconds: many may ask."""
        with self._database.reading() as session:
            return ServiceState(
                workers=workers.alive(session, workers.SILENT_AFTER_SECONDS),
                is_swept=bool(session.scalars(select(sweeps.is_fresh())).one()),
                redis_answers=not self._doorbell.is_away(),
                waiting_since=_waiting_since(session),
            )


def _waiting_since(session: Session) -> datetime | None:
    since_ms = queue.waiting_since_ms(session)
    return None if since_ms is None else datetime.fromtimestamp(since_ms / 1000, UTC)
