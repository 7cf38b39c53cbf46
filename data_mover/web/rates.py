"""How many requests a caller may make a second, in this process."""

import threading
import time

from data_mover.config.callers import Caller


class Rates:
    """A bucket of requests for each caller that has a rate: it holds one second's worth, and is never more than full.

    Calls of a multicall are counted once they are known: a bucket may be in debt, and nothing is served until it is out
    of it.
    """

    def __init__(self) -> None:
        self._changing = threading.Lock()
        #: what is left, and when that was so
        self._left = dict[str, tuple[float, float]]()

    def wait_seconds(self, caller: Caller) -> float:
        """Count a request and return 0; or, if the caller has none left, how long it has to wait for the next one."""
        rate = caller.quota.requests_per_second
        if rate is None:
            return 0.0
        with self._changing:
            left = self._refilled(caller.name, rate)
            if left < 1:
                return (1 - left) / rate
            self._left[caller.name] = left - 1, time.monotonic()
            return 0.0

    def count(self, caller: Caller, calls: int) -> None:
        """Count further calls of a request that is being served."""
        rate = caller.quota.requests_per_second
        if rate is not None:
            with self._changing:
                self._left[caller.name] = self._refilled(caller.name, rate) - calls, time.monotonic()

    def _refilled(self, name: str, rate: float) -> float:
        now = time.monotonic()
        left, since = self._left.get(name, (max(rate, 1.0), now))
        return min(max(rate, 1.0), left + (now - since) * rate)
