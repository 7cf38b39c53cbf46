"""Whether moves can run now: whether the processes that they need are alive."""

from collections.abc import Sequence
from dataclasses import dataclass

from data_mover.config.settings import Settings
from data_mover.domain.states import REASONS, Cause
from data_mover.doorbell import Doorbell
from data_mover.store import sweeps, workers
from data_mover.store.database import Database

NO_REDIS = "Redis does not answer, so that no worker wakes; whoever runs the service starts it, or corrects redis.url."


@dataclass(frozen=True)
class MissingPart:
    """A process that moves need and that is missing: a stable code, and a sentence with the way out."""

    code: str
    sentence: str


class Readiness:
    """Checks for workers, a sweeper and Redis. Raises ServiceUnavailable if the database does not answer."""

    def __init__(self, settings: Settings, database: Database, doorbell: Doorbell) -> None:
        self._settings = settings
        self._database = database
        self._doorbell = doorbell

    def missing(self) -> Sequence[MissingPart]:
        """Return what keeps moves from running."""
        with self._database.reading() as session:
            is_worked = bool(workers.alive(session, workers.SILENT_AFTER_MS))
            is_swept = sweeps.is_fresh(session, self._settings.sweep_seconds)
        found = []
        if not is_worked:
            found.append(MissingPart(Cause.NO_WORKER, REASONS[Cause.NO_WORKER]))
        if not is_swept:
            found.append(MissingPart("no-sweeper", sweeps.NO_SWEEPER))
        if not self._doorbell.answers():
            found.append(MissingPart("no-redis", NO_REDIS))
        return found
