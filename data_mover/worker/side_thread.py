"""Does plans and maintenance beside the jobs of a worker: they take minutes, and must neither delay moves nor wait."""

import logging
import threading
from collections.abc import Callable

from data_mover.domain.errors import ServiceUnavailable

log = logging.getLogger(__name__)


class SideThread:
    """A thread that does one task at a time. Any thread may look for the next one."""

    def __init__(self, name: str, is_asked: Callable[[], bool], run: Callable[[], None]) -> None:
        """`is_asked` returns whether there is a task, `run` does it. Both may raise ServiceUnavailable."""
        self._name = name
        self._is_asked = is_asked
        self._task = run
        self._thread: threading.Thread | None = None
        self._looking = threading.Lock()

    def look(self) -> bool:
        """Begin with a waiting task, unless one is being done; return whether one is now."""
        with self._looking:
            if not self.is_busy and self._is_asked():
                self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
                self._thread.start()
            return self.is_busy

    @property
    def is_busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def wait(self, seconds: float) -> None:
        """Wait for the current task, for so many seconds at most."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _run(self) -> None:
        try:
            self._task()
        except ServiceUnavailable as error:
            log.error("%s-given-up %s; it is tried again", self._name, error)
        except Exception:
            log.exception("%s-broke", self._name)
