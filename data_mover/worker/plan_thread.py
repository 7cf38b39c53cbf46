"""Answers plans beside the jobs of a worker: the plan of a large folder takes minutes, and must not delay moves."""

import logging
import threading
from collections.abc import Callable

from data_mover.domain.errors import ServiceUnavailable

log = logging.getLogger(__name__)


class PlanThread:
    """A thread that answers one plan at a time."""

    def __init__(self, is_asked: Callable[[], bool], answer: Callable[[], None]) -> None:
        """`is_asked` returns whether a plan waits for an answer; `answer` gives one. Both may raise
        ServiceUnavailable."""
        self._is_asked = is_asked
        self._answer = answer
        self._thread: threading.Thread | None = None

    def look(self) -> bool:
        """Begin with a waiting plan, unless one is being answered; return whether one is now."""
        if not self._is_busy() and self._is_asked():
            self._thread = threading.Thread(target=self._run, name="plan", daemon=True)
            self._thread.start()
        return self._is_busy()

    def wait(self, seconds: float) -> None:
        """Wait for the current plan, for so many seconds at most."""
        if self._thread is not None:
            self._thread.join(seconds)

    def _is_busy(self) -> bool:
        return self._thread is not None and self._thread.is_alive()

    def _run(self) -> None:
        try:
            self._answer()
        except ServiceUnavailable as error:
            log.error("plan-given-up %s; whoever asked asks again", error)
