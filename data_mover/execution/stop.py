"""The request to stop a worker: its loop stops at once, the running job after a while."""

import time


class Stop:
    """A request to stop, which a signal handler may make at any moment."""

    def __init__(self, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self._asked_at: float | None = None

    def ask(self) -> None:
        """Request the stop. No further job is begun; the running one has `patience_seconds` to end."""
        if self._asked_at is None:
            self._asked_at = time.monotonic()

    def is_asked(self) -> bool:
        return self._asked_at is not None

    def is_overdue(self) -> bool:
        """Whether the running job has to be handed back."""
        return self._asked_at is not None and time.monotonic() - self._asked_at > self._patience_seconds
