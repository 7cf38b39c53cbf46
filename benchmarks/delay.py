"""A proxy to a server that delays all bytes, in both directions."""

import asyncio
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tests.servers.processes import free_port

PIECE_BYTES = 2**18


@contextmanager
def delayed(target_port: int, round_trip_seconds: float) -> Iterator[int]:
    """Yield the port of a proxy through which a round trip to the target takes so long."""
    loop, port = asyncio.new_event_loop(), free_port()
    server = loop.run_until_complete(
        asyncio.start_server(
            lambda reader, writer: _serve(reader, writer, target_port, round_trip_seconds / 2), "127.0.0.1", port
        )
    )
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    try:
        yield port
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        server.close()


async def _serve(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, target_port: int, delay_seconds: float
) -> None:
    from_server, to_server = await asyncio.open_connection("127.0.0.1", target_port)
    with suppress(OSError):
        await asyncio.gather(_pump(reader, to_server, delay_seconds), _pump(from_server, writer, delay_seconds))


async def _pump(source: asyncio.StreamReader, sink: asyncio.StreamWriter, delay_seconds: float) -> None:
    loop = asyncio.get_running_loop()
    while piece := await source.read(PIECE_BYTES):
        loop.call_later(delay_seconds, sink.write, piece)
    loop.call_later(delay_seconds, sink.close)
