"""What follows when an attempt has failed: a decision as a value. Pure; nothing here touches a database."""

import random
from dataclasses import dataclass

from data_mover.errors import MoveFailure

_jitter = random.SystemRandom()


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how soon a failed job is tried again. Waits are in seconds."""

    max_attempts: int
    first_seconds: float
    longest_seconds: float

    def wait_ms(self, attempt: int, failure: MoveFailure, remaining_ms: int) -> int | None:
        """Milliseconds until the next attempt, or None if there is none.

        The wait doubles with each attempt up to the longest; half of it is random, so that jobs which failed together
        do not come back together. There is no next attempt where it could not begin `remaining_ms` from now at the
        latest, which is when the deadline passes.
        """
        if not failure.retryable or attempt >= self.max_attempts:
            return None
        full = min(self.longest_seconds, self.first_seconds * 2 ** min(attempt - 1, 32))
        wait = int(1000 * full * _jitter.uniform(0.5, 1))
        return wait if wait < remaining_ms else None
