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

    def wait_seconds(self, failures: int) -> float:
        """Return how long to wait after so many failures in a row."""
        full = min(self.longest_seconds, self.first_seconds * 2.0 ** min(failures - 1, 32))
        return full * _jitter.uniform(0.5, 1)


@dataclass(frozen=True)
class RetryPolicy:
    """How often and how soon a failed job is tried again."""

    max_attempts: int
    backoff: Backoff

    def wait_seconds(self, failures: int, failure: MoveFailure, remaining_seconds: float) -> float | None:
        """Return how long to wait for the next attempt, or None if there is none.

        `failures` counts this failure too. There is no next attempt if it could not begin before the deadline, which
        passes in `remaining_seconds`.
        """
        if not failure.retryable or failures >= self.max_attempts:
            return None
        wait = self.backoff.wait_seconds(failures)
        return wait if wait < remaining_seconds else None
