"""Requests in flight on one SFTP channel, every reply checked.

paramiko's own pipelined writer throws replies away unread, so that a failed write can go unnoticed. Here each request
comes with the function that takes its reply. Any number of files and ranges can share a channel: their requests differ
only in the handle.
"""

import struct
from collections.abc import Callable
from typing import NamedTuple, cast

import paramiko
from paramiko.sftp import CMD_STATUS

STATUS_OK = 0
STATUS_EOF = 1
STATUS_NO_SUCH_FILE = 2
STATUS_PERMISSION_DENIED = 3
STATUS_FAILURE = 4
STATUS_UNSUPPORTED = 8

#: paramiko's own requests count from 1; ours must not be mistaken for them
_FIRST_NUMBER = 2**31
_MAX_PACKET_BYTES = 2**24


class Reply(NamedTuple):
    """A reply: its type, and what follows the request number."""

    kind: int
    content: memoryview

    @property
    def status(self) -> int:
        """The status code; a reply that carries an answer is STATUS_OK."""
        if self.kind != CMD_STATUS:
            return STATUS_OK
        (code,) = struct.unpack_from(">I", self.content)
        return int(code)


class SftpRequests:
    """Sends requests and hands out their replies, on the channel of an SFTPClient that has nothing in flight itself.

    Raises TimeoutError, EOFError, OSError and SSHException as the channel does.
    """

    def __init__(self, channel: paramiko.Channel, limit: int) -> None:
        """At most `limit` requests are in flight."""
        self._channel = channel
        self._limit = limit
        self._number = _FIRST_NUMBER
        self._waiting: dict[int, Callable[[Reply], None]] = {}

    def send(self, kind: int, head: bytes, then: Callable[[Reply], None], data: bytes | memoryview = b"") -> None:
        """Sends a request of `head` and `data`; `then` is called with the reply, by this or a later call."""
        while len(self._waiting) >= self._limit or (self._waiting and self._channel.recv_ready()):
            self.receive()
        number = self._number
        self._number = _FIRST_NUMBER + (number + 1 - _FIRST_NUMBER) % _FIRST_NUMBER
        self._waiting[number] = then
        self._channel.sendall(struct.pack(">IBI", 5 + len(head) + len(data), kind, number) + head)
        if data:
            self._channel.sendall(cast("bytes", memoryview(data)))  # of which paramiko copies piece by piece

    def call(self, kind: int, head: bytes) -> Reply:
        """Sends a request and returns its reply."""
        replies: list[Reply] = []
        self.send(kind, head, replies.append)
        while not replies:
            self.receive()
        return replies[0]

    def drain(self) -> None:
        """Returns once nothing is in flight."""
        while self._waiting:
            self.receive()

    def receive(self) -> None:
        """Takes the next reply and hands it on."""
        (length,) = struct.unpack(">I", self._read(4))
        if not 5 <= length <= _MAX_PACKET_BYTES:
            raise EOFError("the host does not speak SFTP")
        packet = self._read(length)
        kind, number = struct.unpack_from(">BI", packet)
        then = self._waiting.pop(number, None)
        if then is not None:
            then(Reply(kind, packet[5:]))

    def _read(self, count: int) -> memoryview:
        first = self._channel.recv(count)
        if len(first) == count:
            return memoryview(first)
        packet = bytearray(first)
        while len(packet) < count:
            piece = self._channel.recv(count - len(packet))
            if not piece:
                raise EOFError("the host closed the channel")
            packet += piece
        return memoryview(packet)


def text(value: str) -> bytes:
    """A string as SFTP carries it, in UTF-8."""
    return data(value.encode())


def data(value: bytes) -> bytes:
    """Bytes with their length before them."""
    return struct.pack(">I", len(value)) + value
