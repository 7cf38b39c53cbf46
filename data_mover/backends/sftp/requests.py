"""Requests in flight on one SFTP channel, every reply checked.

The function that takes a reply is handed over with its request, so that no reply can go unread. Requests of any number
of files and ranges can share the channel: they differ only in what they carry. See
`docs/decisions/0002-checked-sftp-pipeline.md`.
"""

import struct
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import cast

import paramiko

from data_mover.backends.sftp.messages import MAX_PACKET_BYTES, VERSION, Answer, Reply, Request, strings

#: what is taken from the channel at once: paramiko moves the rest of its buffer for each piece that is taken from it
_RECEIVE_BYTES = 2**20
#: the start of a block that goes into the same SSH packet as its header; those have 32 KiB
_FIRST_BYTES = 32_000


class Pending:
    """A request in flight, and its reply once that is there."""

    reply: Reply | None = None

    def take(self, reply: Reply) -> None:
        self.reply = reply


class SftpRequests:
    """Sends requests and hands out their replies.

    Raises TimeoutError, EOFError, OSError and SSHException as the channel does, and EOFError if the host does not speak
    SFTP. After the first of these every call raises EOFError at once: nobody knows what the host has understood.
    """

    def __init__(self, channel: paramiko.Channel, limit: int) -> None:
        """Begins the session, with at most `limit` requests in flight."""
        self._channel = channel
        self._limit = limit
        self._number = 0
        self._waiting: dict[int, Callable[[Reply], None]] = {}
        self._received = memoryview(b"")
        self._broken = False
        self.extensions = self._begin()

    def send(self, kind: Request, head: bytes, then: Callable[[Reply], None], block: bytes | memoryview = b"") -> None:
        """Sends a request of `head` and `block`; `then` is called with the reply, in this call or in a later one."""
        while len(self._waiting) >= self._limit or (self._waiting and self._channel.recv_ready()):
            self.receive()
        number = self._number = (self._number + 1) % 2**32
        self._waiting[number] = then
        header = struct.pack(">IBI", 5 + len(head) + len(block), kind, number)
        self._send(header + head, memoryview(block))

    def ask(self, kind: Request, head: bytes) -> Pending:
        """Sends a request whose reply is wanted later."""
        pending = Pending()
        self.send(kind, head, pending.take)
        return pending

    def wait(self, pending: Pending) -> Reply:
        """The reply; those of earlier requests come before it."""
        while pending.reply is None:
            self.receive()
        return pending.reply

    def call(self, kind: Request, head: bytes) -> Reply:
        """Sends a request and returns its reply."""
        return self.wait(self.ask(kind, head))

    def drain(self) -> None:
        """Returns once nothing is in flight."""
        while self._waiting:
            self.receive()

    @contextmanager
    def patient(self, timeout_seconds: float) -> Iterator[None]:
        """Waits for so long for each reply, where the host has more to do than to answer."""
        usual = self._channel.gettimeout()
        self._channel.settimeout(timeout_seconds)
        try:
            yield
        finally:
            self._channel.settimeout(usual)

    def receive(self) -> None:
        """Takes the next reply and hands it on. Blocks until there is one, or the channel's time-out."""
        with self._breaking():
            packet = self._packet()
            kind, number = struct.unpack_from(">BI", packet)
            then = self._waiting.pop(number, None)
            if then is None:
                raise EOFError("the host answers what was not asked")
        then(Reply(kind, packet[5:]))

    def _begin(self) -> dict[bytes, bytes]:
        """Exchanges versions; returns the host's extensions with their versions."""
        self._send(struct.pack(">IBI", 5, Request.INIT, VERSION), memoryview(b""))
        with self._breaking():
            packet = self._packet()
            try:
                kind, _ = struct.unpack_from(">BI", packet)
                words = strings(packet[5:])
            except struct.error as error:
                raise EOFError("the host does not speak SFTP") from error
            if kind != Answer.VERSION:
                raise EOFError("the host does not speak SFTP")
        return dict(zip(words[::2], words[1::2], strict=False))

    def _send(self, head: bytes, block: memoryview) -> None:
        with self._breaking():
            self._channel.sendall(head + block[:_FIRST_BYTES])
            if len(block) > _FIRST_BYTES:
                self._channel.sendall(cast("bytes", block[_FIRST_BYTES:]))  # paramiko copies it piece by piece

    def _packet(self) -> memoryview:
        (length,) = struct.unpack(">I", self._take(4))
        if not 5 <= length <= MAX_PACKET_BYTES:
            raise EOFError("the host does not speak SFTP")
        return self._take(length)

    def _take(self, count: int) -> memoryview:
        if len(self._received) < count:
            self._received = self._more(count)
        taken, self._received = self._received[:count], self._received[count:]
        return taken

    def _more(self, count: int) -> memoryview:
        """What is left and at least so much more that it is `count` bytes."""
        pieces = bytearray(self._received)
        while len(pieces) < count:
            piece = self._channel.recv(_RECEIVE_BYTES)
            if not piece:
                raise EOFError("the host closed the channel")
            pieces += piece
        return memoryview(pieces)

    @contextmanager
    def _breaking(self) -> Iterator[None]:
        if self._broken:
            raise EOFError("the channel is broken")
        try:
            yield
        except BaseException:
            self._broken = True
            raise
