"""What follows when an attempt has failed: a decision as a value. Pure; nothing here touches a database."""

import random
from dataclasses import dataclass

from data_mover.domain.errors import MoveFailure

_jitter = random.SystemRandom()


@dataclass(frozen=True)
class Backoff:
    """Waits that double from the first to the longest, in seconds.

    Half of each is random, so that what failed together does not come back together.
    """

    first_seconds: float
    longest_seconds: float

    def wait_ms(self, failures: int) -> int:
        """Milliseconds to wait after so many failures in a row."""
        full = min(self.longest_seconds, self.first_seconds * 2 ** min(failures - 1, 32))
        return int(1000 * full * _jitter.uniform(0.5, 1))


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how soon a failed job is tried again."""

    max_attempts: int
    backoff: Backoff

    def wait_ms(self, failures: int, failure: MoveFailure, remaining_ms: int) -> int | None:
        """Milliseconds until the next attempt, or None if there is none.

        `failures` counts this failure too. There is no next attempt where it could not begin `remaining_ms` from now at
        the latest, which is when the deadline passes.
        """
        if not failure.retryable or failures >= self.max_attempts:
            return None
        wait = self.backoff.wait_ms(failures)
        return wait if wait < remaining_ms else None
