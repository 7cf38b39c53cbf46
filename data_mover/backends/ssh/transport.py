"""An SSH transport whose channels keep no more than a host may send before it must wait for us.

paramiko announces a window to the host, and keeps whatever comes beyond it.
"""

import socket
from collections import deque
from typing import TYPE_CHECKING

from paramiko import Channel, Transport
from paramiko.buffered_pipe import BufferedPipe
from paramiko.ssh_exception import SSHException
from paramiko.transport import ChannelMap

from data_mover.backends.ssh.packets import MOST_PACKET_BYTES, BurstChannel, BurstPacketizer

if TYPE_CHECKING:
    _Pipe = BufferedPipe[bytes]
else:
    _Pipe = BufferedPipe


class BoundedTransport(Transport):
    """Ends the connection of a host that ignores the window."""

    packetizer: BurstPacketizer

    def __init__(self, connected: socket.socket, window_bytes: int) -> None:
        super().__init__(connected, default_window_size=window_bytes, packetizer_class=BurstPacketizer)
        self._channels = _BoundedChannels(window_bytes + MOST_PACKET_BYTES)
        self.packetizer.find_channel = self._channels.get


class _BoundedChannels(ChannelMap):
    """Bounds each channel before its host hears of it: a host may send before it says that the channel is open."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__()
        self._limit_bytes = limit_bytes

    def put(self, chanid: int, chan: Channel) -> None:
        chan.__class__ = BurstChannel  # made by paramiko, which has no hook for it
        chan.in_buffer, chan.in_stderr_buffer = _BoundedPipe(self._limit_bytes), _BoundedPipe(self._limit_bytes)
        super().put(chanid, chan)


class _BoundedPipe(_Pipe):
    """What a host has said and nobody has read yet."""

    def __init__(self, limit_bytes: int) -> None:
        super().__init__()
        self._buffer = _Pieces()
        self._limit_bytes = limit_bytes

    def _buffer_frombytes(self, data: bytes) -> None:
        self._buffer.append(data)

    def _buffer_tobytes(self, limit: int | None = None) -> bytes:
        return self._buffer.first(len(self._buffer) if limit is None else limit)

    def feed(self, data: bytes) -> None:
        """Raise SSHException beyond the limit, which ends the connection."""
        if len(self) + len(data) > self._limit_bytes:
            raise SSHException("the host sends more than its window")
        super().feed(data)


class _Pieces:
    """Bytes as they came in, copied once: when they are read. paramiko moves them once more for each piece."""

    def __init__(self) -> None:
        self._pieces = deque[bytes]()
        self._length = 0

    def __len__(self) -> int:
        return self._length

    def append(self, piece: bytes) -> None:
        self._pieces.append(piece)
        self._length += len(piece)

    def first(self, count: int) -> bytes:
        """Return the first `count` bytes."""
        taken, left = [], count
        for piece in self._pieces:
            if left <= 0:
                break
            taken.append(piece[:left])
            left -= len(piece)
        return b"".join(taken)

    def __delitem__(self, beginning: slice) -> None:
        """Drop the bytes before `beginning.stop`, or all."""
        left = self._length if beginning.stop is None else min(beginning.stop, self._length)
        self._length -= left
        while left:
            piece = self._pieces.popleft()
            if len(piece) > left:
                self._pieces.appendleft(piece[left:])
            left -= min(left, len(piece))
