"""The lease of a running job: renewed while its transfer moves, and the first to know when it must stop."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from sqlalchemy.exc import SQLAlchemyError

from data_mover.domain.errors import AttemptEnded, DataMoverError, Fenced, ServiceUnavailable, Stalled, Stopped
from data_mover.store import claims
from data_mover.store.claims import Claim
from data_mover.store.database import Database

log = logging.getLogger(__name__)

#: a transfer that does not notice so soon that it must end is blocked by a host, and is ended from outside
CANCEL_SECONDS = 0.5


@dataclass(frozen=True)
class LeaseTerms:
    """How long a lease lasts, how often it is renewed, and how long a transfer may stand still, in seconds."""

    lease_seconds: float
    beat_seconds: float
    idle_seconds: float

    @property
    def lease_ms(self) -> int:
        return int(self.lease_seconds * 1000)


class Lease:
    """Keeps a claim alive from a thread of its own while the transfer works in another.

    Once `lost` is set, the job may belong to somebody else, or the transfer stands still: `on_lost` has been called to
    end what blocks, and the transfer must publish nothing. `must_stop` is asked with every beat.
    """

    def __init__(
        self,
        database: Database,
        claim: Claim,
        terms: LeaseTerms,
        on_lost: Callable[[], None],
        must_stop: Callable[[], bool] = lambda: False,
    ) -> None:
        self.lost: DataMoverError | None = None
        self._database = database
        self._claim = claim
        self._terms = terms
        self._on_lost = on_lost
        self._must_stop = must_stop
        #: of the files that are done with, and of the one that is on its way
        self._settled_bytes = self._file_bytes = 0
        #: what callers have been told of an earlier attempt: where a copy goes on, progress does not go back
        self._told_bytes = claim.bytes_done
        self._rate = _Rate()
        self._moved_at = self._renewed_at = time.monotonic()
        self._noticed = threading.Event()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat_until_the_end, name=f"lease {claim}", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._noticed.set()
        self._ended.set()
        self._thread.join()

    def settled(self, bytes_done: int) -> None:
        """Another file is done with, and so many bytes of all files are done."""
        self._settled_bytes, self._file_bytes = bytes_done, 0
        self.alive()

    def moved(self, file_bytes: int) -> None:
        """So many bytes of the present file are done; the same number again is no movement. Raises what `lost` says,
        once it says it."""
        if file_bytes != self._file_bytes:
            self._file_bytes = file_bytes
            self._moved_at = time.monotonic()
        self._require_held()

    def copying_from(self, offset_bytes: int) -> None:
        """The copy of a file begins at this byte; at the first one, nothing is left of what an earlier attempt has done
        of it."""
        self._file_bytes = offset_bytes
        self._rate.skip(offset_bytes)
        if offset_bytes == 0:
            self._told_bytes = min(self._told_bytes, self._settled_bytes)
        self.alive()

    def alive(self, silent_seconds: float = 0) -> None:
        """Something moved, or will only after so many seconds. Raises what `lost` says, once it says something."""
        self._moved_at = time.monotonic() + silent_seconds
        self._require_held()

    def noticed(self) -> None:
        """The transfer knows that it must end, and clears up behind itself: nothing ends its connections meanwhile."""
        self._noticed.set()

    def excused(self) -> None:
        """Nothing moves at the moment, and no host is to blame. Raises nothing."""
        self._moved_at = max(self._moved_at, time.monotonic())

    def _require_held(self) -> None:
        """The lease runs out by this clock too: the other thread may be waiting for the database."""
        if self.lost is None and time.monotonic() - self._renewed_at > self._terms.lease_seconds:
            self.lost = Fenced()
        if self.lost is not None:
            self._noticed.set()
            raise self.lost

    def _beat_until_the_end(self) -> None:
        while self.lost is None and not self._ended.wait(self._terms.beat_seconds):
            self._beat()

    def _beat(self) -> None:
        if self._must_stop():
            self._give_up(Stopped("its worker was told to stop"))
            return
        if time.monotonic() - self._moved_at > self._terms.idle_seconds:
            self._give_up(Stalled(f"nothing moved for {self._terms.idle_seconds:g} s"))
            return
        asked_at = time.monotonic()
        try:
            taken_away = self._renew()
            if taken_away is None:
                self._renewed_at = asked_at
            else:
                self._give_up(taken_away)
        except ServiceUnavailable as error:
            log.warning("lease-not-renewed %s %s", self._claim, error)
            if time.monotonic() - self._renewed_at > self._terms.lease_seconds:
                self._give_up(Fenced())
        except SQLAlchemyError:
            log.exception("lease-broke %s", self._claim)
            self._give_up(Fenced())

    def _renew(self) -> AttemptEnded | None:
        """Why the attempt must stop, or None."""
        bytes_done = self._settled_bytes + self._file_bytes
        rate = self._rate.after(bytes_done)
        progress = {"bytes_done": max(bytes_done, self._told_bytes), "bytes_per_second": rate}
        with self._database.writing() as session:
            if claims.renew(session, self._claim, self._terms.lease_ms, **progress):
                return None
            return claims.why_not(session, self._claim)

    def _give_up(self, cause: DataMoverError) -> None:
        """A transfer that must end clears up behind itself, unless it is blocked or stands still."""
        log.warning("lease-lost %s %r", self._claim, cause)
        self.lost = cause
        if not (isinstance(cause, AttemptEnded) and self._noticed.wait(CANCEL_SECONDS)):
            self._on_lost()


class _Rate:
    """Bytes a second, smoothed over a few beats."""

    def __init__(self) -> None:
        self._bytes = 0
        self._at = time.monotonic()
        self._rate: float | None = None

    def skip(self, count: int) -> None:
        """So many bytes are done that have not moved now."""
        self._bytes += count

    def after(self, bytes_done: int) -> int:
        now = time.monotonic()
        latest = max(0, bytes_done - self._bytes) / max(now - self._at, 1e-3)
        self._bytes, self._at = bytes_done, now
        self._rate = latest if self._rate is None else (self._rate + latest) / 2
        return int(self._rate)
