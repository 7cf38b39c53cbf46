"""An SSH transport whose channels keep no more than a host may send before it must wait for us.

paramiko announces a window to the host, and keeps whatever comes beyond it.
"""

import socket
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
        self._buffer = bytearray()  # which drops its beginning without moving the rest
        self._limit_bytes = limit_bytes

    def _buffer_frombytes(self, data: bytes) -> None:
        self._buffer += data

    def _buffer_tobytes(self, limit: int | None = None) -> bytes:
        return bytes(memoryview(self._buffer)[:limit])

    def feed(self, data: bytes) -> None:
        """Raise SSHException beyond the limit, which ends the connection."""
        if len(self) + len(data) > self._limit_bytes:
            raise SSHException("the host sends more than its window")
        super().feed(data)
