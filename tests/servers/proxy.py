"""A loopback proxy between any two parts: it counts the bytes that pass, and breaks them as networks do.

::

    with proxy(server.port) as network:
        connect(network.port)
        network.strike(Fault.CUT, after_bytes=2**20)
        ...
        network.heal()
"""

import asyncio
import socket
import struct
import threading
from collections.abc import Awaitable, Callable, Coroutine, Iterator
from contextlib import contextmanager
from enum import Enum, auto
from typing import Any

_PIECE_BYTES = 256 * 1024
#: bytes that pass at a time, ten times a second, while the proxy is slow
_TRICKLE_BYTES, _TRICKLE_SECONDS = 100, 0.1
_LINGER_NOT_AT_ALL = struct.pack("ii", 1, 0)


class Fault(Enum):
    """What happens to the bytes that go to the server, once so many have passed."""

    #: every connection is closed; new ones work
    CUT = auto()
    #: every connection is reset; new ones work
    RESET = auto()
    #: nothing passes any more, in either direction, and nobody is notified
    SWALLOW = auto()
    #: 1 kB passes a second, in either direction
    SLOW = auto()
    #: one bit of the next byte becomes another one; the rest passes
    FLIP = auto()


class Proxy:
    """Counts are of all connections together, from the first one on."""

    def __init__(self, target_port: int) -> None:
        #: how many bytes have gone to the server, and have come from it
        self.sent_bytes = 0
        self.received_bytes = 0
        #: how many connections were made to the server
        self.made = 0
        self._target_port = target_port
        self._writers: set[asyncio.StreamWriter] = set()
        self._fault: Fault | None = None
        self._strikes_at = 0
        self._healed = asyncio.Event()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="proxy", daemon=True)
        self._thread.start()
        self._server = self._run(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_PIECE_BYTES))
        self.port: int = self._server.sockets[0].getsockname()[1]

    @property
    def connections(self) -> int:
        """The number of open connections."""
        return len(self._writers) // 2

    def strike(self, fault: Fault, after_bytes: int = 0) -> None:
        """The fault happens when so many more bytes have passed to the server; SWALLOW and SLOW last until `heal`."""
        self._run(self._set(fault, after_bytes))

    def heal(self) -> None:
        """Let everything pass from now on; swallowed bytes arrive late."""
        self._run(self._set(None, 0))

    def close(self) -> None:
        self._run(self._close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, Any]) -> Any:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(timeout=10)

    async def _set(self, fault: Fault | None, after_bytes: int) -> None:
        self._fault, self._strikes_at = fault, self.sent_bytes + after_bytes
        self._healed.set()
        self._healed = asyncio.Event()

    async def _close(self) -> None:
        self._server.close()
        await self._set(None, 0)
        self._end_connections(Fault.CUT)
        await asyncio.gather(*asyncio.all_tasks() - {asyncio.current_task()})

    async def _serve(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            from_server, to_server = await asyncio.open_connection("127.0.0.1", self._target_port, limit=_PIECE_BYTES)
        except OSError:
            to_client.transport.abort()
            return
        self.made += 1
        mine = {to_client, to_server}
        self._writers |= mine
        try:
            await asyncio.gather(
                self._pump(from_client, to_server, self._pass_to_server),
                self._pump(from_server, to_client, self._pass_to_client),
            )
        finally:
            self._writers -= mine
            for writer in mine:
                writer.close()

    async def _pump(
        self,
        source: asyncio.StreamReader,
        sink: asyncio.StreamWriter,
        let_pass: Callable[[bytes, asyncio.StreamWriter], Awaitable[None]],
    ) -> None:
        try:
            while piece := await source.read(_PIECE_BYTES):
                await let_pass(piece, sink)
            sink.write_eof()
        except OSError:
            sink.transport.abort()

    async def _pass_to_server(self, piece: bytes, sink: asyncio.StreamWriter) -> None:
        while piece:
            count = len(piece) if self._fault is None else min(len(piece), max(0, self._strikes_at - self.sent_bytes))
            piece = await self._send(piece, count, sink)
            if piece:
                piece = await self._struck(piece, sink)

    async def _struck(self, piece: bytes, sink: asyncio.StreamWriter) -> bytes:
        """What is left of the piece that the fault happens to."""
        fault = self._fault
        if fault is Fault.SWALLOW:
            await self._healed.wait()
        elif fault is Fault.SLOW:
            piece = await self._send(piece, _TRICKLE_BYTES, sink)
            await asyncio.sleep(_TRICKLE_SECONDS)
        elif fault is Fault.FLIP:
            self._fault = None
            piece = bytes([piece[0] ^ 1]) + piece[1:]
        elif fault is not None:
            self._fault = None
            self._end_connections(fault)
            raise ConnectionAbortedError
        return piece

    async def _send(self, piece: bytes, count: int, sink: asyncio.StreamWriter) -> bytes:
        """What is left of the piece once its first bytes have been sent to the server."""
        self.sent_bytes += len(piece[:count])
        sink.write(piece[:count])
        await sink.drain()
        return piece[count:]

    async def _pass_to_client(self, piece: bytes, sink: asyncio.StreamWriter) -> None:
        while piece:
            fault = self._fault if self.sent_bytes >= self._strikes_at else None
            if fault is Fault.SWALLOW:
                await self._healed.wait()
            count = _TRICKLE_BYTES if fault is Fault.SLOW else len(piece)
            self.received_bytes += len(piece[:count])
            sink.write(piece[:count])
            piece = piece[count:]
            await sink.drain()
            if fault is Fault.SLOW:
                await asyncio.sleep(_TRICKLE_SECONDS)

    def _end_connections(self, how: Fault) -> None:
        for writer in self._writers:
            if how is Fault.RESET:
                connected = writer.get_extra_info("socket")
                connected.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT_AT_ALL)
            writer.transport.abort()


@contextmanager
def proxy(target_port: int) -> Iterator[Proxy]:
    """A proxy to a loopback port, which ends with the block, and every connection through it."""
    running = Proxy(target_port)
    try:
        yield running
    finally:
        running.close()
