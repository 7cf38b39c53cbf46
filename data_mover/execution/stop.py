"""The request that a worker stop: its loop obeys at once, the running job after a while."""

import time


class Stop:
    """May be asked for at any moment, by a signal handler too."""

    def __init__(self, patience_seconds: float) -> None:
        self._patience_seconds = patience_seconds
        self._asked_at: float | None = None

    def ask(self) -> None:
        """No further job is begun; the one in hand has the patience's time to end."""
        if self._asked_at is None:
            self._asked_at = time.monotonic()

    def is_asked(self) -> bool:
        return self._asked_at is not None

    def is_overdue(self) -> bool:
        """Whether the job in hand has to be handed back."""
        return self._asked_at is not None and time.monotonic() - self._asked_at > self._patience_seconds
