"""Backoff and retry policy after a failed attempt. Pure: no database."""

import random
from dataclasses import dataclass

from data_mover.domain.errors import MoveFailure

_jitter = random.SystemRandom()


@dataclass(frozen=True)
class Backoff:
    """Waits that double from the first to the longest, in seconds.

    Half of each is random, so that jobs which failed together are not retried together.
    """

    first_seconds: float
    longest_seconds: float

    def wait_ms(self, failures: int) -> int:
        """Return the milliseconds to wait after so many failures in a row."""
        full = min(self.longest_seconds, self.first_seconds * 2 ** min(failures - 1, 32))
        return int(1000 * full * _jitter.uniform(0.5, 1))


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how soon a failed job is tried again."""

    max_attempts: int
    backoff: Backoff

    def wait_ms(self, failures: int, failure: MoveFailure, remaining_ms: int) -> int | None:
        """Return the milliseconds until the next attempt, or None if there is none.

        `failures` counts this failure too. There is no next attempt if it could not begin before the deadline, which
        passes in `remaining_ms`.
        """
        if not failure.retryable or failures >= self.max_attempts:
            return None
        wait = self.backoff.wait_ms(failures)
        return wait if wait < remaining_ms else None
