"""SSH packets under AES-GCM, sealed and opened without copies: several for each system call.

paramiko copies each packet several times, and sends and receives it by itself. This does its work once both sides use
AES-GCM; see `docs/decisions/0038-large-files-overlap.md`.
"""

import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import paramiko
from paramiko.common import MSG_CHANNEL_DATA, cMSG_CHANNEL_DATA
from paramiko.message import Message
from paramiko.packet import NeedRekeyException, Packetizer
from paramiko.ssh_exception import SSHException

#: the largest SSH packet that is read; hosts are asked for 32 KiB
MOST_PACKET_BYTES = 2**18
#: length in front of a packet, and tag behind it
_LENGTH, _TAG_BYTES = struct.Struct(">I"), 16
#: type, channel and length of a piece of channel data
_DATA = struct.Struct(">BII")
_BLOCK_BYTES, _LEAST_PADDING = 16, 4
_RECEIVE_BYTES = 2**19
#: so much is sealed before it is sent
_BURST_BYTES = 9 * 2**15


@dataclass(frozen=True)
class ChannelData:
    """Data for one channel, and what a packet may have of it at most."""

    channel_id: int
    data: memoryview
    packet_bytes: int


class _Key:
    """A key for one direction, and its next nonce (RFC 5647)."""

    def __init__(self, engine: Any, nonce: bytes) -> None:
        self.engine = engine
        self._fixed, self._count = nonce[:4], int.from_bytes(nonce[4:], "big")
        #: how many bytes have been sealed or opened with it
        self.used_bytes = 0

    def nonce(self) -> bytes:
        nonce = self._fixed + self._count.to_bytes(8, "big")
        self._count = (self._count + 1) % 2**64
        return nonce


class BurstPacketizer(Packetizer):
    """Reads no packet that is larger than any that was requested: paramiko itself would wait for 4 GB."""

    _trigger_rekey: Callable[[], None]
    #: RFC 4344 allows 64 GiB with one key
    REKEY_BYTES = 2**32

    def __init__(self, connected: socket.socket) -> None:
        super().__init__(connected)
        self._connected = connected
        #: returns an open channel by its number
        self.find_channel: Callable[[int], paramiko.Channel | None] = lambda number: None
        self._sealing: _Key | None = None
        self._opening: _Key | None = None
        self._sending = threading.Lock()
        self._plain, self._sealed = (
            bytearray(MOST_PACKET_BYTES),
            memoryview(bytearray(_BURST_BYTES + MOST_PACKET_BYTES)),
        )
        self._received, self._begin, self._end = memoryview(bytearray(_RECEIVE_BYTES)), 0, 0
        self._opened = memoryview(bytearray(MOST_PACKET_BYTES))
        #: data of a channel that was not handed over yet
        self._gathered: list[bytes] = []
        self._gathered_for: paramiko.Channel | None = None
        #: how many packets have been opened
        self._numbered = 0

    def set_outbound_cipher(self, block_engine: Any, *arguments: Any, **named: Any) -> None:
        super().set_outbound_cipher(block_engine, *arguments, **named)
        self._sealing = _Key(block_engine, named["iv_out"]) if named.get("aead") else None

    def set_inbound_cipher(self, block_engine: Any, *arguments: Any, **named: Any) -> None:
        super().set_inbound_cipher(block_engine, *arguments, **named)
        self._opening = _Key(block_engine, named["iv_in"]) if named.get("aead") else None

    def read_all(self, n: int, check_rekey: bool = False) -> bytes:
        if n > MOST_PACKET_BYTES:
            raise SSHException("a packet is larger than any that was requested")
        return super().read_all(n, check_rekey)

    def send_message(self, data: Message | ChannelData) -> None:
        """Send a message, or all packets of a channel's data."""
        key = self._sealing
        if key is None:
            for message in _messages(data) if isinstance(data, ChannelData) else [data]:
                super().send_message(message)
            return
        with self._sending:
            if isinstance(data, ChannelData):
                self._send_burst(key, data)
            else:
                payload = data.asbytes()
                self._plain[1 : 1 + len(payload)] = payload
                self._send(key, self._seal(key, len(payload), 0))

    def _send_burst(self, key: _Key, burst: ChannelData) -> None:
        plain, rest, end = self._plain, burst.data, 0
        while rest:
            piece, rest = rest[: burst.packet_bytes], rest[burst.packet_bytes :]
            _DATA.pack_into(plain, 1, MSG_CHANNEL_DATA, burst.channel_id, len(piece))
            plain[1 + _DATA.size : 1 + _DATA.size + len(piece)] = piece
            end = self._seal(key, _DATA.size + len(piece), end)
            if end > _BURST_BYTES or not rest:
                self._send(key, end)
                end = 0

    def _seal(self, key: _Key, size: int, begin: int) -> int:
        """Encrypt the payload of this size, which stands behind the first byte of `_plain`. Return its end."""
        padding = _BLOCK_BYTES - (1 + size) % _BLOCK_BYTES
        if padding < _LEAST_PADDING:
            padding += _BLOCK_BYTES
        length = 1 + size + padding
        end = begin + _LENGTH.size + length + _TAG_BYTES
        self._plain[0] = padding
        _LENGTH.pack_into(self._sealed, begin, length)
        head, body = self._sealed[begin : begin + _LENGTH.size], self._sealed[begin + _LENGTH.size : end]
        key.engine.encrypt_into(key.nonce(), self._plain[:length], head, body)
        return end

    def _send(self, key: _Key, size: int) -> None:
        self.write_all(self._sealed[:size])
        self._count(key, size)

    def read_message(self) -> tuple[int, Message]:
        """Return the next message. Data of a channel is handed to it, and not returned."""
        while True:
            key = self._opening
            if key is None:
                return super().read_message()
            if not self._has_packet():
                self._hand_over()
            payload = self._opened_payload(key)
            if payload[0] != MSG_CHANNEL_DATA or not self._is_gathered(payload):
                self._hand_over()
                message = Message(bytes(payload[1:]))
                message.seqno = self._numbered
                return payload[0], message
            if self.need_rekey():
                self._hand_over()
                raise NeedRekeyException

    def _is_gathered(self, payload: memoryview) -> bool:
        """Keep the data of an open channel until no further packet has come: each time that it is handed over wakes the
        thread that reads."""
        if len(payload) < _DATA.size:
            return False
        _, number, size = _DATA.unpack_from(payload)
        channel = self.find_channel(number)
        if channel is None or size != len(payload) - _DATA.size:
            return False
        if channel is not self._gathered_for:
            self._hand_over()
            self._gathered_for = channel
        self._gathered.append(bytes(payload[_DATA.size :]))
        return True

    def _hand_over(self) -> None:
        channel, self._gathered_for = self._gathered_for, None
        if channel is not None:
            data, self._gathered = b"".join(self._gathered), []
            channel.in_buffer.feed(data)

    def _has_packet(self) -> bool:
        """Whether a whole packet has been received."""
        have = self._end - self._begin
        if have < _LENGTH.size:
            return False
        (length,) = _LENGTH.unpack_from(self._received, self._begin)
        return have >= _LENGTH.size + int(length) + _TAG_BYTES

    def _opened_payload(self, key: _Key) -> memoryview:
        """Receive and decrypt a packet; return its payload, which stands until the next one."""
        self._await(_LENGTH.size)
        (length,) = _LENGTH.unpack_from(self._received, self._begin)
        if not _BLOCK_BYTES <= length <= MOST_PACKET_BYTES:
            raise SSHException("a packet is larger than any that was requested")
        whole = _LENGTH.size + length + _TAG_BYTES
        self._await(whole)
        packet = self._received[self._begin : self._begin + whole]
        plain = self._opened[:length]
        key.engine.decrypt_into(key.nonce(), packet[_LENGTH.size :], packet[: _LENGTH.size], plain)
        self._begin += whole
        self._numbered = (self._numbered + 1) % 2**32
        self._count(key, whole)
        if plain[0] >= length - 1:
            raise SSHException("a packet has nothing but padding")
        return plain[1 : length - plain[0]]

    def _await(self, count: int) -> None:
        """Receive until so many bytes of a packet are there."""
        while self._end - self._begin < count:
            if len(self._received) - self._begin < count or self._begin == self._end:
                left = bytes(self._received[self._begin : self._end])
                self._begin, self._end = 0, len(left)
                self._received[: self._end] = left
            try:
                received = self._connected.recv_into(self._received[self._end :])
            except TimeoutError:
                self._look()
            except OSError as error:
                if self.closed:
                    raise EOFError from error
                raise
            else:
                if not received:
                    raise EOFError
                self._end += received

    def _look(self) -> None:
        """Nothing has come for a moment."""
        if self.closed or self.handshake_timed_out():
            raise EOFError
        if self.need_rekey() and self._begin == self._end:
            raise NeedRekeyException

    def _count(self, key: _Key, size: int) -> None:
        key.used_bytes += size
        if key.used_bytes >= self.REKEY_BYTES and not self.need_rekey():
            self._trigger_rekey()
        if key.used_bytes >= self.REKEY_BYTES + self.REKEY_BYTES_OVERFLOW_MAX:
            raise SSHException("the host ignores that the key is to be changed")


class BurstChannel(paramiko.Channel):
    """A channel of a connection with a `BurstPacketizer`."""

    _wait_for_send_window: Callable[[int], int]

    def sendall(self, s: bytes | bytearray | memoryview) -> None:
        """Send all of it, in as few system calls as the window of the host allows."""
        packet_bytes, rest = self.out_max_packet_size - 64, memoryview(s)
        transport: Any = self.transport
        while rest:
            with self.lock:
                if self.closed:
                    raise OSError("the channel is closed")
                size = self._wait_for_send_window(len(rest))
                more = min(len(rest) - size, self.out_window_size)
                self.out_window_size -= more
            if size == 0:
                raise EOFError("the host has closed the channel")
            piece, rest = rest[: size + more], rest[size + more :]
            transport._send_user_message(ChannelData(self.remote_chanid, piece, packet_bytes))


def _messages(burst: ChannelData) -> list[Message]:
    """Return the messages that paramiko itself would send."""
    return [
        _message(burst.channel_id, burst.data[start : start + burst.packet_bytes])
        for start in range(0, len(burst.data), burst.packet_bytes)
    ]


def _message(channel_id: int, data: memoryview) -> Message:
    message = Message()
    message.add_byte(cMSG_CHANNEL_DATA)
    message.add_int(channel_id)
    message.add_string(data)
    return message
