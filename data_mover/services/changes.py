"""Whether anything has changed that a page shows, however many watch it."""

import threading
import time
from collections.abc import Hashable

from data_mover.config.registry_file import RegistryFile
from data_mover.services.readiness import Readiness
from data_mover.store import changes
from data_mover.store.database import Database

#: the database is looked at so often at most
LOOK_SECONDS = 1.0


class Changes:
    """Looks at the database once a second for all who watch. Raises ServiceUnavailable if it does not answer."""

    def __init__(self, database: Database, registry: RegistryFile, readiness: Readiness) -> None:
        self._database = database
        self._registry = registry
        self._readiness = readiness
        self._looking = threading.Lock()
        self._look_at = float("-inf")
        self._stamp: Hashable = None

    def stamp(self) -> Hashable:
        """Return a value that differs once anything has changed that a page shows; it is a second old at most."""
        with self._looking:
            if time.monotonic() >= self._look_at:
                with self._database.reading() as session:
                    marks = changes.marks(session)
                registry = self._registry.current()
                names = tuple(registry.hosts), tuple(registry.datasets), tuple(registry.problems)
                self._stamp = marks, self._readiness.state(), names
                self._look_at = time.monotonic() + LOOK_SECONDS
            return self._stamp
