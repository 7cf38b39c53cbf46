"""The lanes of a large file: channels that take its writes in turn, as many as the distance to the host needs."""

import struct
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

from paramiko.ssh_exception import SSHException

from data_mover.backends.sftp.messages import Refused, Request
from data_mover.backends.sftp.requests import SftpRequests
from data_mover.backends.sftp.session import Moved, SftpSession
from data_mover.domain.errors import MoveFailure

#: a round trip in which a window of 2 MiB, as OpenSSH has it, is as much as any host writes
NEAR_SECONDS = 0.002
#: a host that acknowledges a full window within so many round trips has waited for us
FAR_ROUND_TRIPS = 2
#: header, handle and offset of a write
_HEAD_BYTES = 320

#: why a host gives no further lane
_NO_LANE = (MoveFailure, Refused, Moved, OSError, EOFError, SSHException, struct.error)


class Lane:
    """A channel in which the file is open."""

    def __init__(self, requests: SftpRequests, handle: bytes) -> None:
        self.requests = requests
        self.handle = handle
        self.in_flight_bytes = 0
        self._window_bytes = requests.room_bytes
        #: when the writes in flight were sent
        self._sent_at = deque[float]()

    def sent(self, count: int) -> None:
        self.in_flight_bytes += count
        self._sent_at.append(time.monotonic())

    def acknowledged(self, count: int) -> None:
        self.in_flight_bytes -= count
        self._sent_at.popleft()

    @property
    def oldest_at(self) -> float | None:
        """When the oldest write in flight was sent; None if there is none."""
        return self._sent_at[0] if self._sent_at else None

    def has_room(self, count: int) -> bool:
        """Whether a write of so many bytes blocks nobody. One with a small window does so in any case."""
        needed = count + _HEAD_BYTES
        return not self._sent_at or self.requests.room_bytes >= needed or self._window_bytes < 2 * needed


class Lanes:
    """The lanes of one file. Begins with the session's own channel; others are opened in threads while it is full and
    the host acknowledges within about a round trip: then the window limits the rate, and no host, disk or line does.

    Raises what `SftpRequests` raises. A lane that cannot be opened ends the growth.
    """

    def __init__(self, session: SftpSession, path: str, handle: bytes, most: int) -> None:
        self._session = session
        self._path = path
        self._most = most
        self._lanes = [Lane(session.requests, handle)]
        self._openers: ThreadPoolExecutor | None = None
        self._opening: list[Future[tuple[SftpRequests, bytes]]] = []
        self._grown_at = time.monotonic()

    def __len__(self) -> int:
        return len(self._lanes)

    @property
    def first(self) -> Lane:
        return self._lanes[0]

    def free(self, count: int) -> Lane:
        """Return the lane with the fewest bytes in flight; block until one takes a write of so many bytes."""
        if self._opening:
            self._join()
        self._take_in()
        while not (free := [lane for lane in self._lanes if lane.has_room(count)]):
            self._receive_from_full()
        return min(free, key=lambda lane: lane.in_flight_bytes)

    def receive(self) -> None:
        """Block until the next reply on the lane whose oldest write is the oldest of all."""
        self._oldest().requests.receive()

    def close_others(self) -> None:
        """Return once the host has answered every write of all lanes but the first, and closed their handles. Raises
        Refused if it cannot close one."""
        others = self._lanes[1:]
        closing = [lane.requests.ask(Request.CLOSE, lane.handle) for lane in others]
        for lane, closed in zip(others, closing, strict=True):
            lane.requests.wait(closed).require_ok()
        self.close()

    @contextmanager
    def patient(self, timeout_seconds: float) -> Iterator[None]:
        """Wait so long for each reply, while the host has work to do."""
        with ExitStack() as stack:
            for lane in self._lanes:
                stack.enter_context(lane.requests.patient(timeout_seconds))
            yield

    def close(self) -> None:
        """Close all channels but the session's own."""
        self._most = 1
        while self._opening:
            self._opening[0].exception()
            self._join()
        for lane in self._lanes[1:]:
            lane.requests.close()
        del self._lanes[1:]

    def _take_in(self) -> None:
        """Handle the replies that have come, if there are other lanes: those of one are handled where it sends."""
        for lane in self._lanes[1:] and self._lanes:
            lane.requests.take_in()

    def _oldest(self) -> Lane:
        sent = [(lane.oldest_at, lane) for lane in self._lanes if lane.oldest_at is not None]
        return min(sent, key=lambda pair: pair[0], default=(0.0, self.first))[1]

    def _receive_from_full(self) -> None:
        """Receive replies while no lane has room, and open more lanes if the host is far."""
        oldest = self._oldest()
        sent_at = oldest.oldest_at or 0.0
        oldest.requests.receive()
        took_seconds = time.monotonic() - sent_at
        self._take_in()
        if (
            sent_at > self._grown_at
            and NEAR_SECONDS < took_seconds < FAR_ROUND_TRIPS * self._session.round_trip_seconds
        ):
            self._grow()

    def _grow(self) -> None:
        """Begin to open as many lanes as there are."""
        count = min(len(self._lanes), self._most - len(self._lanes))
        if count > 0 and not self._opening:
            self._openers = ThreadPoolExecutor(count, "lane")
            self._opening = [self._openers.submit(self._session.open_lane, self._path) for _ in range(count)]

    def _join(self) -> None:
        """Add the lanes that have been opened meanwhile."""
        for opening in [each for each in self._opening if each.done()]:
            self._opening.remove(opening)
            try:
                self._lanes.append(Lane(*opening.result()))
            except _NO_LANE:
                self._most = len(self._lanes)
        if not self._opening and self._openers is not None:
            self._openers.shutdown()
            self._openers = None
            self._grown_at = time.monotonic()
