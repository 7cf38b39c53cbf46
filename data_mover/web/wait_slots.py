"""Wait slots: how long calls may wait, since a waiting thread serves no other request."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

from pyramid.request import Request

#: how long the calls of one request may wait together, unless the first of them says more
LONGEST_SECONDS = 10.0
#: the key under which our own server passes its number of threads; other servers do not
THREADS = "data_mover.threads"
FEWEST_THREADS = 2

_WAITS_UNTIL = "data_mover.waits_until"


class WaitSlots:
    """Has slots for half of the server's threads. A request without a slot is answered at once."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._waiting = 0

    @contextmanager
    def slot(self, request: Request, longest_seconds: float = LONGEST_SECONDS) -> Iterator[float]:
        """Yield the number of seconds that the block may wait."""
        until = request.environ.setdefault(_WAITS_UNTIL, time.monotonic() + longest_seconds)
        entered = self._enter(request.environ.get(THREADS, FEWEST_THREADS) // 2)
        try:
            yield max(0.0, until - time.monotonic()) if entered else 0.0
        finally:
            if entered:
                self._leave()

    def _enter(self, slots: int) -> bool:
        with self._lock:
            if self._waiting >= slots:
                return False
            self._waiting += 1
            return True

    def _leave(self) -> None:
        with self._lock:
            self._waiting -= 1
