"""Whether moves can run now: whether the processes that they need are alive."""

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import select

from data_mover.domain.states import REASONS, Cause
from data_mover.doorbell import Doorbell
from data_mover.store import sweeps, workers
from data_mover.store.database import Database


@dataclass(frozen=True)
class MissingPart:
    """A process that moves need and that is missing: a stable code, and a sentence with the way out."""

    code: str
    sentence: str


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
        """Return what keeps moves from running."""
        with self._database.reading() as session:
            is_worked = bool(workers.alive(session, workers.SILENT_AFTER_SECONDS))
            is_swept = session.scalars(select(sweeps.is_fresh())).one()
        there = {Cause.NO_WORKER: is_worked, Cause.NO_SWEEPER: is_swept, Cause.NO_REDIS: self._doorbell.answers()}
        return [MissingPart(cause, REASONS[cause]) for cause, is_there in there.items() if not is_there]
