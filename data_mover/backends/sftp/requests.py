"""Requests in flight on one SFTP channel, every reply checked.

Each request has the function that takes its reply, so that every reply is read. The requests of many files share the
channel. See `docs/decisions/0002-checked-sftp-pipeline.md` and `0018-many-files-in-flight.md`.
"""

import struct
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from typing import cast

import paramiko
from paramiko.ssh_exception import SSHException

from data_mover.backends.futures import Future, Line
from data_mover.backends.sftp.messages import MAX_PACKET_BYTES, VERSION, Answer, Reply, Request, strings

#: how much is read from the channel at once: paramiko moves the rest of its buffer for each piece that is read
_RECEIVE_BYTES = 2**20
#: the start of a block that is sent in the same SSH packet as its header; packets have 32 KiB
_FIRST_BYTES = 32_000
#: length, type and number of a request or an answer
_HEADER = struct.Struct(">IBI")
_LENGTH = struct.Struct(">I")
#: so much is gathered before it is sent although no caller waits yet
_GATHERED_BYTES = 256 * 1024


class Pending:
    """A request in flight, and its reply once that is there."""

    reply: Reply | None = None
    #: when the reply was taken, by the monotonic clock
    answered_at = 0.0

    def take(self, reply: Reply) -> None:
        self.reply, self.answered_at = reply, time.monotonic()

    @property
    def answer(self) -> Reply:
        """The reply, once the flight is done. Raises LookupError before."""
        if self.reply is None:
            raise LookupError("the request has not been answered")
        return self.reply


class Flight(Future):
    """Requests of one file that do not wait for each other: sent together, done once all are answered."""

    __slots__ = ("_left", "_requests")

    def __init__(self, requests: "SftpRequests") -> None:
        super().__init__()
        self._requests = requests
        self._left = 0

    def ask(self, kind: Request, head: bytes) -> Pending:
        """Add a request."""
        pending = Pending()

        def answered(reply: Reply) -> None:
            pending.take(reply)
            self.answered()

        self.expect()
        self._requests.put(kind, head, answered)
        return pending

    def expect(self, count: int = 1) -> None:
        """Wait for so many further calls of `answered`."""
        self._left += count

    def answered(self) -> None:
        self._left -= 1
        if self._left == 0:
            self.done()

    def done(self, error: BaseException | None = None) -> None:
        self._requests.landed(self)
        super().done(error)

    def wait(self) -> None:
        while not self.is_done:
            self._requests.receive()


class SendWindow:
    """Bounds the unacknowledged bytes of small files: full buffers slow a host down."""

    def __init__(self, requests: "SftpRequests", limit_bytes: int) -> None:
        self._requests = requests
        self._limit_bytes = limit_bytes
        self._taken_bytes = 0
        self._queue: deque[tuple[int, Flight]] = deque()

    async def take(self, count: int) -> None:
        """Return once so many bytes may be sent. The caller gives them back."""
        if self._fits(count):
            self._taken_bytes += count
        else:
            turn = self._requests.flight()
            self._queue.append((count, turn))
            await turn

    def give(self, count: int) -> None:
        self._taken_bytes -= count
        while self._queue and self._fits(self._queue[0][0]):
            count, turn = self._queue.popleft()
            if not turn.is_done:  # else the channel broke meanwhile
                self._taken_bytes += count
                turn.done()

    def _fits(self, count: int) -> bool:
        return not self._taken_bytes or self._taken_bytes + count <= self._limit_bytes


class _Arrival(threading.Event):
    """Set by paramiko's thread when data has arrived; cleared by the reader once it has taken all."""

    def __init__(self, heard: Callable[[], None]) -> None:
        super().__init__()
        self._heard = heard

    def set(self) -> None:
        if not self.is_set():
            super().set()
            self._heard()


class SftpRequests(Line):
    """Sends requests and hands out their replies.

    Raises TimeoutError, EOFError, OSError and SSHException as the channel does, and EOFError if the host does not speak
    SFTP. After the first of these every call raises EOFError, since the state of the channel is unknown. Requests are
    gathered until the caller waits, so that small ones share a packet.
    """

    def __init__(self, channel: paramiko.Channel, limit: int) -> None:
        """Begin the session. `limit` bounds the requests in flight of blocking callers."""
        self._channel = channel
        self._limit = limit
        self._number = 0
        self._waiting: dict[int, Callable[[Reply], None]] = {}
        self._flights: set[Flight] = set()
        self._gathered: list[bytes | memoryview] = []
        self._gathered_bytes = 0
        #: what was received, and where in it the next answer begins
        self._received = memoryview(b"")
        self._at = 0
        self._patience: list[float] = []
        #: whether the channel has failed, so that every further request does
        self.is_broken = False
        self.extensions = self._begin()

    def send(self, kind: Request, head: bytes, then: Callable[[Reply], None], block: bytes | memoryview = b"") -> None:
        """Send a request of `head` and `block`; `then` is called with the reply, in this call or in a later one."""
        while len(self._waiting) >= self._limit or (self._waiting and self._channel.recv_ready()):
            self.receive()
        self.put(kind, head, then, block)

    def put(self, kind: Request, head: bytes, then: Callable[[Reply], None], block: bytes | memoryview = b"") -> None:
        """Send a request without a bound on those in flight: the caller bounds them."""
        self._require_unbroken()
        number = self._number = (self._number + 1) % 2**32
        self._waiting[number] = then
        self._gathered.append(_HEADER.pack(5 + len(head) + len(block), kind, number) + head)
        self._gathered_bytes += len(head) + len(block)
        if block or self._gathered_bytes > _GATHERED_BYTES:
            self._gather(memoryview(block))

    def ask(self, kind: Request, head: bytes) -> Pending:
        """Send a request whose reply is needed later."""
        pending = Pending()
        self.send(kind, head, pending.take)
        return pending

    def flight(self) -> Flight:
        """Return a flight without requests yet."""
        self._require_unbroken()
        flight = Flight(self)
        self._flights.add(flight)
        return flight

    def landed(self, flight: Flight) -> None:
        self._flights.discard(flight)

    def wait(self, pending: Pending) -> Reply:
        """Wait for the reply, and return it; those of earlier requests arrive before it."""
        while pending.reply is None:
            self.receive()
        return pending.reply

    def call(self, kind: Request, head: bytes) -> Reply:
        """Send a request and return its reply."""
        return self.wait(self.ask(kind, head))

    @contextmanager
    def patient(self, timeout_seconds: float) -> Iterator[None]:
        """Wait so long for each reply, while the host has work to do."""
        if not self._patience:
            self._patience.append(self._channel.gettimeout() or timeout_seconds)
        self._patience.append(timeout_seconds)
        self._channel.settimeout(max(self._patience))
        try:
            yield
        finally:
            self._patience.remove(timeout_seconds)
            self._channel.settimeout(max(self._patience))

    def drain(self) -> None:
        """Return once nothing is in flight."""
        while self._waiting:
            self.receive()

    def receive(self) -> None:
        """Receive the next reply and pass it on. Blocks until there is one, or the channel times out."""
        self._require_unbroken()
        try:
            self._send_gathered()
            while not self._pass_on():
                self._receive_more()
        except BaseException as error:
            self.break_off(error)
            raise

    def close(self) -> None:
        """Close the channel. Raises nothing."""
        self.is_broken = True
        with suppress(OSError, EOFError, SSHException):
            self._channel.close()

    @property
    def room_bytes(self) -> int:
        """How many bytes the host's window takes now without blocking."""
        return self._channel.out_window_size

    @property
    def is_usable(self) -> bool:
        """Whether further requests can be sent, as far as is known."""
        return not self.is_broken and not self._channel.closed

    @property
    def in_flight(self) -> int:
        """How many requests wait for their replies."""
        return len(self._waiting)

    @property
    def is_expecting(self) -> bool:
        return bool(self._waiting)

    @property
    def timeout_seconds(self) -> float | None:
        return self._channel.gettimeout()

    def listen(self, heard: Callable[[], None]) -> None:
        self._channel.in_buffer.set_event(_Arrival(heard))

    def flush(self) -> None:
        try:
            self._send_gathered()
        except (OSError, EOFError, SSHException) as error:
            self.break_off(error)

    def take_in(self) -> None:
        try:
            self._require_unbroken()
            while self._pass_on():
                pass
            while self._channel.recv_ready() or self._channel.closed:
                self._receive_more()
                while self._pass_on():
                    pass
        except (OSError, EOFError, SSHException, struct.error) as error:
            self.break_off(error)

    def break_off(self, error: BaseException) -> None:
        self.is_broken = True
        for flight in tuple(self._flights):
            flight.done(TimeoutError() if isinstance(error, TimeoutError) else EOFError("the channel is broken"))

    def _begin(self) -> dict[bytes, bytes]:
        """Exchange versions; return the host's extensions with their versions."""
        self._channel.sendall(_HEADER.pack(5, Request.INIT, VERSION))
        while (packet := self._packet()) is None:
            self._receive_more()
        try:
            kind, _, words = packet[0], _LENGTH.unpack_from(packet, 1), strings(packet[5:])
        except struct.error as error:
            raise EOFError("the host does not speak SFTP") from error
        if kind != Answer.VERSION:
            raise EOFError("the host does not speak SFTP")
        return dict(zip(words[::2], words[1::2], strict=False))

    def _gather(self, block: memoryview) -> None:
        """Gather the block of the request that was gathered last. A large one is sent at once, its start in the packet
        of its head."""
        self._gathered.append(block[:_FIRST_BYTES])
        if len(block) > _FIRST_BYTES or self._gathered_bytes > _GATHERED_BYTES:
            try:
                self._send_gathered()
                if rest := block[_FIRST_BYTES:]:
                    self._channel.sendall(cast("bytes", rest))  # paramiko copies it piece by piece
            except BaseException as error:
                self.break_off(error)
                raise

    def _send_gathered(self) -> None:
        if self._gathered:
            gathered, self._gathered, self._gathered_bytes = self._gathered, [], 0
            self._channel.sendall(cast("bytes", memoryview(b"".join(gathered))))

    def _pass_on(self) -> bool:
        """Pass on the next answer. Return False if it has not been received as a whole."""
        packet = self._packet()
        if packet is None:
            return False
        (number,) = _LENGTH.unpack_from(packet, 1)
        then = self._waiting.pop(number, None)
        if then is None:
            raise EOFError("the host answers an unknown request")
        then(Reply(packet[0], packet[5:]))
        return True

    def _packet(self) -> memoryview | None:
        """Take the next packet out of what was received, without its length; None if it is incomplete."""
        at = self._at
        if len(self._received) < at + 4:
            return None
        (length,) = _LENGTH.unpack_from(self._received, at)
        if not 5 <= length <= MAX_PACKET_BYTES:
            raise EOFError("the host does not speak SFTP")
        end = at + 4 + length
        if len(self._received) < end:
            return None
        self._at = end
        return self._received[at + 4 : end]

    def _receive_more(self) -> None:
        """Wait for the rest of the next packet, or for the length of one of which nothing is there yet."""
        rest = self._received[self._at :]
        pieces, length = [rest] if rest else [], len(rest)
        needed = 4 if length < 4 else 4 + int(_LENGTH.unpack_from(rest)[0])
        while length < needed:
            pieces.append(memoryview(self._channel.recv(_RECEIVE_BYTES)))
            if not pieces[-1]:
                raise EOFError("the host closed the channel")
            length += len(pieces[-1])
        self._received, self._at = pieces[0] if len(pieces) == 1 else memoryview(b"".join(pieces)), 0

    def _require_unbroken(self) -> None:
        if self.is_broken:
            raise EOFError("the channel is broken")
