"""One heartbeat for all claims of a worker: a thread renews every lease, and detects lost ones."""

import logging
import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import TracebackType
from typing import NoReturn, Protocol, Self

from sqlalchemy.orm import Session

from data_mover.config.registry import Registry
from data_mover.domain.errors import (
    AttemptEnded,
    Cancelled,
    DataMoverError,
    Fenced,
    MoveFailure,
    ServiceUnavailable,
    Stalled,
    Stopped,
)
from data_mover.domain.states import Phase
from data_mover.execution.stop import Stop
from data_mover.store import claims, transitions, workers
from data_mover.store.claims import Beat, Claim
from data_mover.store.database import Database
from data_mover.store.workers import WorkerProcess

log = logging.getLogger(__name__)

#: a transfer that has not noticed within this time that it must end counts as blocked, and its connections are ended
CANCEL_SECONDS = 0.5
#: the heartbeat detects a stall this much later than the time-outs of the connections do
IDLE_MARGIN_SECONDS = 5


@dataclass(frozen=True)
class LeaseTerms:
    """How long a lease lasts and how often it is renewed, in seconds."""

    lease_seconds: float
    beat_seconds: float


@dataclass(frozen=True)
class Patience:
    """When a transfer counts as stalled."""

    #: nothing moved for so long
    idle_seconds: float
    #: or, for as long, less than this
    bytes_per_second: int = 1

    @classmethod
    def of(cls, hosts: Iterable[str], registry: Registry) -> Self:
        """Return that of the most patient host."""
        options = [found for host in hosts if (found := registry.every_host.get(host))]
        idle_seconds = max((each.idle_timeout_seconds for each in options), default=0) + IDLE_MARGIN_SECONDS
        rates = [each.min_rate for each in options] + [
            max(1, each.bandwidth // 2) for each in options if each.bandwidth
        ]
        return cls(idle_seconds, min(rates, default=1))

    def sentence(self, has_moved: bool) -> str:
        if has_moved:
            return f"less than {self.bytes_per_second} bytes/s moved for {self.idle_seconds:g} s"
        return f"nothing moved for {self.idle_seconds:g} s"


#: whoever is waiting for a host notices within this time that its connections have been ended, unless it hangs in the
#: kernel
STUCK_SECONDS = 5.0
#: a host that lists fewer entries than one in so many seconds, for as long as the idle time-out, is stalled
SECONDS_AN_ENTRY = 5.0
#: no host keeps a worker for longer that clears up behind a move; what is on record is cleared later
CLEARING_SECONDS = 60.0


class Renewable(Protocol):
    """A claim other than a job: a plan request, a probe."""

    @property
    def name(self) -> str:
        """Its name in the worker's row."""

    def renew(self, session: Session, lease_seconds: float) -> bool:
        """Extend the lease, in the transaction of the heartbeat. Return whether it is still this process's."""

    def answered(self, is_mine: bool) -> None:
        """The heartbeat was committed."""


class Heartbeat:
    """The thread that renews all claims of this process until the block ends."""

    def __init__(self, database: Database, worker: WorkerProcess, terms: LeaseTerms, stop: Stop) -> None:
        self.terms = terms
        self.stop = stop
        self.worker = worker
        self._database = database
        self._leases: list[Lease] = []
        self._others: list[Renewable] = []
        self._watches: list[Callable[[], None]] = []
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._beat_until_the_end, name="heartbeat", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join()

    @contextmanager
    def lease(
        self, claim: Claim, patience: Patience, on_lost: Callable[[], None], on_stuck: Callable[[], None]
    ) -> Iterator["Lease"]:
        """Renew the claim until the block ends. A transfer without progress for `patience` is stalled; `on_lost` ends
        its connections. One that does not notice even then, whatever it was to end for, hangs in the kernel: `on_stuck`
        is called with each beat."""
        lease = Lease(claim, self.terms, patience, on_lost, on_stuck, self.stop)
        self._leases.append(lease)
        try:
            yield lease
        finally:
            lease.noticed()
            self._leases.remove(lease)

    @contextmanager
    def keep(self, other: Renewable) -> Iterator[None]:
        """Renew another claim until the block ends."""
        self._others.append(other)
        try:
            yield
        finally:
            self._others.remove(other)

    @contextmanager
    def watching(self, look: Callable[[], None]) -> Iterator[None]:
        """Call `look` after each beat until the block ends. It may raise ServiceUnavailable."""
        self._watches.append(look)
        try:
            yield
        finally:
            self._watches.remove(look)

    def leave(self, name: str) -> NoReturn:
        """End this process, in which `name` hangs in the kernel: where a disk's server is gone, nothing else helps.
        Its jobs go back to the queue."""
        log.error("worker-stuck %s hangs in the kernel; a mounted disk does not answer", name)
        try:
            with self._database.writing() as session:
                for lease in tuple(self._leases):
                    left = Stopped(f"its worker left, since {name} hangs in the kernel")
                    if not transitions.hand_back(session, lease.claim, left):
                        transitions.end_cancelled(session, lease.claim)
        finally:
            os._exit(os.EX_TEMPFAIL)

    def _beat_until_the_end(self) -> None:
        while not self._ended.wait(self._pause_seconds()):
            try:
                self._beat()
                self._watch()
            except Exception:  # whatever is wrong, no attempt continues unwatched
                log.exception("heartbeat-broke")
                for lease in tuple(self._leases):
                    lease.give_up(Fenced())

    def _watch(self) -> None:
        for look in tuple(self._watches):
            try:
                look()
            except ServiceUnavailable as error:
                log.warning("watch-failed %s", error)

    def _pause_seconds(self) -> float:
        is_ending = any(lease.is_ending for lease in tuple(self._leases))
        return min(self.terms.beat_seconds, CANCEL_SECONDS) if is_ending else self.terms.beat_seconds

    def _beat(self) -> None:
        leases, others = tuple(self._leases), tuple(self._others)
        for lease in leases:
            lease.look()
        renewing = [lease for lease in leases if lease.is_renewed]
        asked_at = time.monotonic()
        try:
            phases, are_mine = self._renew(renewing, others)
        except ServiceUnavailable as error:
            log.warning("lease-not-renewed %s", error)
            for lease in renewing:
                lease.unanswered()
        else:
            for lease in renewing:
                if lease in self._leases:  # else its attempt has ended meanwhile
                    lease.answered(phases.get(lease.claim.job_id), asked_at)
            for other, is_mine in zip(others, are_mine, strict=True):
                other.answered(is_mine)

    def _renew(self, leases: list["Lease"], others: tuple[Renewable, ...]) -> tuple[dict[int, Phase], list[bool]]:
        """Renew the worker's row and all claims, in one transaction with one UPDATE for all jobs. Return the phases of
        the jobs that are still this worker's, and of each other claim whether it is."""
        beats = [lease.beat() for lease in leases]
        runs = [f"job {lease.claim.job_id}" for lease in leases] + [other.name for other in others]
        with self._database.writing() as session:
            workers.beat(session, self.worker, runs)
            phases = claims.renew_all(session, beats, self.terms.lease_seconds)
            are_mine = [other.renew(session, self.terms.lease_seconds) for other in others]
        return phases, are_mine


class Watch:
    """Watches work that is no job: it is over once it has taken too long, or given no sign of life for too long. Its
    connections end then; work that gives no sign of life even so hangs in the kernel."""

    def __init__(
        self,
        name: str,
        idle_seconds: float,
        longest_seconds: float,
        on_over: Callable[[], None],
        on_stuck: Callable[[], None],
    ) -> None:
        self._name = name
        self._idle_seconds = idle_seconds
        self._longest_seconds = longest_seconds
        self._on_over = on_over
        self._on_stuck = on_stuck
        self._began_at = self._alive_at = time.monotonic()
        self._over_at = 0.0
        #: why it is over
        self.over: Stalled | None = None

    def alive(self) -> None:
        """The work brings something about. Raises Stalled once it is over."""
        if self.over is not None:
            raise self.over
        self._alive_at = time.monotonic()
        if self._alive_at - self._began_at > self._longest_seconds:
            raise self._ending(f"{self._name} took {self._longest_seconds:g} s")

    def look(self) -> None:
        """Called by the heartbeat."""
        now = time.monotonic()
        is_silent = now - self._alive_at > self._idle_seconds
        if self.over is None and is_silent:
            self._ending(f"{self._name} has brought nothing about for {self._idle_seconds:g} s")
        elif self.over is None and now - self._began_at > self._longest_seconds:
            self._ending(f"{self._name} took {self._longest_seconds:g} s")
        if self.over is not None:
            self._on_over()
            if is_silent and now - self._over_at > STUCK_SECONDS:
                self._on_stuck()

    def _ending(self, detail: str) -> Stalled:
        self._over_at, self.over = time.monotonic(), Stalled(detail)
        return self.over


class Lease:
    """The lease of a claimed job, shared by the transfer and the heartbeat.

    Once `lost` is set the transfer must publish nothing: the job may be another attempt's, or the transfer is stalled.
    A transfer that was cancelled or stopped keeps its lease until it has cleared up, and learns of a fence
    meanwhile. Clearing up has the same patience as the transfer; then its connections end.
    """

    def __init__(
        self,
        claim: Claim,
        terms: LeaseTerms,
        patience: Patience,
        on_lost: Callable[[], None],
        on_stuck: Callable[[], None],
        stop: Stop,
    ) -> None:
        self.claim = claim
        self.lost: DataMoverError | None = None
        self._terms = terms
        self._patience = patience
        self._on_lost = on_lost
        self._on_stuck = on_stuck
        self._stop = stop
        #: of the files that are done, and of those in flight
        self._settled_bytes = self._file_bytes = self._credited_bytes = 0
        #: what was read since the last credit without being sent
        self._read_bytes = 0.0
        #: reported by an earlier attempt: progress does not go back if a copy is resumed
        self._reported_bytes = claim.bytes_done
        self._rate = _Rate()
        self._moved_at = self._renewed_at = time.monotonic()
        self._noticed, self._noticed_at = False, 0.0
        #: when the connections are ended of a transfer that has not noticed that it must end, and when they were
        self._ends_at: float | None = None
        self._ended_at: float | None = None

    def settled(self, bytes_done: int) -> None:
        """Record that another file is done; `bytes_done` is the sum of all files."""
        self._settled_bytes, self._file_bytes, self._credited_bytes = bytes_done, 0, 0
        self.alive()

    def moved(self, file_bytes: int) -> None:
        """Record how many bytes of the files in flight are done. The same number again is no progress, nor is a rate
        below the slowest one. Raises `lost` once it is set."""
        self._file_bytes = file_bytes
        self._credit()

    def read(self, count: float) -> None:
        """So many bytes were read that are not sent: progress at the same rate as `moved`. Raises `lost` once it is
        set."""
        self._read_bytes += count
        self._credit()

    def listed(self) -> None:
        """An entry was listed: progress if they come fast enough. Raises `lost` once it is set."""
        self.read(SECONDS_AN_ENTRY * self._patience.bytes_per_second)

    def copying_from(self, offset_bytes: int) -> None:
        """Record that the copy of a file begins at this byte; at byte 0, what an earlier attempt copied of it is
        lost."""
        self._file_bytes = self._credited_bytes = offset_bytes
        self._rate.skip(offset_bytes)
        if offset_bytes == 0:
            self._reported_bytes = min(self._reported_bytes, self._settled_bytes)
        self.alive()

    def alive(self, silent_seconds: float = 0) -> None:
        """Record progress, or that there will be none for so many seconds. Raises `lost` once it is set."""
        self._moved_at = time.monotonic() + silent_seconds
        self._require_valid()

    def _credit(self) -> None:
        now = time.monotonic()
        gained_bytes = abs(self._file_bytes - self._credited_bytes) + self._read_bytes
        if gained_bytes > self._patience.bytes_per_second * max(0.0, now - self._moved_at):
            self._credited_bytes, self._read_bytes = self._file_bytes, 0.0
            self._moved_at = max(self._moved_at, now)
        self._require_valid()

    def noticed(self) -> None:
        """Record that the transfer has noticed `lost` and clears up: only a fence ends its connections now, or
        silence."""
        self._moved_at = time.monotonic()
        if not self._noticed:
            self._noticed, self._noticed_at = True, self._moved_at

    def clearing(self) -> None:
        """Clearing up brings something about. Raises Stalled once it has taken too long."""
        self._moved_at = time.monotonic()
        if self._moved_at - self._noticed_at > CLEARING_SECONDS:
            raise Stalled(f"clearing up took {CLEARING_SECONDS:g} s")

    def excused(self) -> None:
        """Excuse a lack of progress that no host causes. Raises nothing."""
        self._moved_at = max(self._moved_at, time.monotonic())

    def cause_of(self, failure: DataMoverError) -> DataMoverError:
        """Why a transfer ended with the failure: `lost` once that is set, for its connections were ended then. One that
        has stalled did so at the host that it waited for."""
        lost = self.lost
        if isinstance(lost, Stalled) and isinstance(failure, MoveFailure) and failure is not lost:
            lost.host = lost.host or next((name for name in self.claim.host_names if failure.is_of(name)), None)
        return lost or failure

    def _require_valid(self) -> None:
        """Raise `lost`. The lease expires by this clock too, since the heartbeat may be waiting for the database."""
        if self.lost is None and time.monotonic() - self._renewed_at > self._terms.lease_seconds:
            self.lost = Fenced()
        if self.lost is not None:
            self.noticed()
            raise self.lost

    @property
    def is_renewed(self) -> bool:
        """Whether the heartbeat renews it: not if the job is another attempt's, or the transfer is stalled."""
        return self.lost is None or isinstance(self.lost, Cancelled | Stopped)

    @property
    def is_ending(self) -> bool:
        """Whether the transfer has not noticed yet that it must end."""
        return self._ends_at is not None and self._ended_at is None and not self._noticed

    def look(self) -> None:
        """Check what needs no database: a stop, a stalled transfer, one that does not notice that it must end."""
        now = time.monotonic()
        is_silent = now - self._moved_at > self._patience.idle_seconds
        if self.lost is None and not self._noticed:
            if self._stop.is_overdue():
                self.give_up(Stopped("its worker was asked to stop"))
            elif is_silent:
                has_moved = self._read_bytes > 0 or self._file_bytes != self._credited_bytes
                self.give_up(Stalled(self._patience.sentence(has_moved)))
        elif self._ended_at is None:
            if is_silent or (self.is_ending and self._ends_at is not None and now >= self._ends_at):
                self._end()
        elif is_silent and now - self._ended_at > STUCK_SECONDS:
            self._on_stuck()

    def beat(self) -> Beat:
        bytes_done = self._settled_bytes + self._file_bytes
        return Beat(self.claim, max(bytes_done, self._reported_bytes), self._rate.after(bytes_done))

    def answered(self, phase: Phase | None, asked_at: float) -> None:
        """Handle a committed heartbeat; `phase` is None if the job is no longer this attempt's."""
        if phase is None:
            self.give_up(Fenced())
            return
        self._renewed_at = asked_at
        if phase is Phase.CANCELLING and self.lost is None:
            self.give_up(Cancelled())

    def unanswered(self) -> None:
        """Handle a failed heartbeat. The lease is valid until it expires by this process's clock."""
        if time.monotonic() - self._renewed_at > self._terms.lease_seconds:
            self.give_up(Fenced())

    def give_up(self, cause: DataMoverError) -> None:
        """Set `lost`. The transfer then clears up, unless it is blocked, stalled, or already fenced."""
        log.warning("lease-lost %s %r", self.claim, cause)
        clears_up = self.lost is None and isinstance(cause, AttemptEnded)
        self.lost = cause
        if clears_up:
            self._ends_at = time.monotonic() + CANCEL_SECONDS
        else:
            self._end()

    def _end(self) -> None:
        """End the connections."""
        self._ended_at = time.monotonic()
        self._on_lost()


class _Rate:
    """Bytes a second, smoothed over a few beats."""

    def __init__(self) -> None:
        self._bytes = 0
        self._at = time.monotonic()
        self._rate: float | None = None

    def skip(self, count: int) -> None:
        """Count bytes that were not copied by this attempt."""
        self._bytes += count

    def after(self, bytes_done: int) -> int:
        now = time.monotonic()
        latest = max(0, bytes_done - self._bytes) / max(now - self._at, 1e-3)
        self._bytes, self._at = bytes_done, now
        self._rate = latest if self._rate is None else (self._rate + latest) / 2
        return int(self._rate)
