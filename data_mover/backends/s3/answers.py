"""Bounds of a store's answers: bytes, elements, duration, and no document type.

botocore reads answers whole, and its parser expands entities: both happens only after these checks.
"""

import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import Any
from xml.parsers import expat

from botocore.awsrequest import (
    AWSHTTPConnectionPool,
    AWSHTTPSConnectionPool,
    AWSPreparedRequest,
    AWSResponse,
)
from botocore.httpsession import URLLib3Session

from data_mover.domain.errors import ConnectionLost, HostFailed, Stalled

#: enough for a thousand keys, the most in one answer, escaped and with all their properties
MOST_BYTES = 8 * 2**20
MOST_ELEMENTS = 50_000
#: stores keep a connection alive with spaces while they assemble a large object
LONGEST_SECONDS = 900
_PIECE_BYTES = 2**16


class BoundedSession:
    """Sends botocore's requests, and returns only answers within the bounds."""

    def __init__(self, host: str, session: URLLib3Session) -> None:
        self._host = host
        self._session = session
        self._aborted = threading.Event()
        self._connected: list[socket.socket] = []
        self._changing = threading.Lock()
        session._manager.pool_classes_by_scheme = _pools(self._connect)

    def send(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        """Handle the event `before-send`; return botocore's answer. Raises HostFailed, ConnectionLost, Stalled."""
        is_file, request.stream_output = request.stream_output, True
        response = self._session.send(request)
        if is_file and response.status_code < 300:
            return response
        content = b"".join(self._pieces(response.raw))
        return AWSResponse(response.url, response.status_code, response.headers, _Read(self._judged(response, content)))

    def abort(self) -> None:
        """End what blocks in another thread. TLS state is not touched."""
        self._aborted.set()
        for connected in self._connected:
            _shut(connected)

    def close(self) -> None:
        self._session.close()

    def _connect(self, connected: socket.socket) -> None:
        """Remember a new connection for `abort`. Parts are sent in threads."""
        with self._changing:
            self._connected = [each for each in self._connected if each.fileno() != -1] + [connected]
        if self._aborted.is_set():
            _shut(connected)

    def _pieces(self, raw: Any) -> Iterator[bytes]:
        """Yield the bytes as they arrive, and check the clock after each piece."""
        read_bytes, until = 0, time.monotonic() + LONGEST_SECONDS
        while piece := raw.read1(_PIECE_BYTES):
            read_bytes += len(piece)
            if read_bytes > MOST_BYTES:
                raw.close()
                raise HostFailed(f"{self._host}: an answer of more than {MOST_BYTES} bytes")
            if time.monotonic() > until:
                raw.close()
                raise Stalled(f"{self._host}: an answer that takes more than {LONGEST_SECONDS} s")
            yield piece
        if raw.length_remaining:
            raise ConnectionLost(self._host)

    def _judged(self, response: AWSResponse, content: bytes) -> bytes:
        """Return what may be parsed: nothing of a refusal that must not be, such as a proxy's page, since its status is
        enough."""
        try:
            _require_plain(content)
        except ValueError as problem:
            if response.status_code >= 300:
                return b""
            raise HostFailed(f"{self._host}: an answer with {problem}") from problem
        return content


class _Read:
    """A body that has been read, in the form of a stream."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, *_: Any) -> Iterator[bytes]:
        yield self._content


def _pools(connect: Callable[[socket.socket], None]) -> dict[str, type]:
    """Return botocore's connection pools by scheme, but with connections that pass each new socket to `connect`."""
    pools = {"http": AWSHTTPConnectionPool, "https": AWSHTTPSConnectionPool}
    return {
        scheme: type("WatchedPool", (pool,), {"ConnectionCls": _watched(pool.ConnectionCls, connect)})
        for scheme, pool in pools.items()
    }


def _watched(kind: Any, connect: Callable[[socket.socket], None]) -> type:
    def connect_and_hand_over(connection: Any) -> None:
        kind.connect(connection)
        connect(connection.sock)

    return type("WatchedConnection", (kind,), {"connect": connect_and_hand_over})


def _shut(connected: socket.socket) -> None:
    with suppress(OSError):
        socket.socket.shutdown(connected, socket.SHUT_RDWR)


def _require_plain(content: bytes) -> None:
    """Raise ValueError for a document type or too many elements. Text that is no XML is left to botocore's parser."""
    counter = _Counter()
    parser = expat.ParserCreate("utf-8")
    parser.StartDoctypeDeclHandler = _refuse
    parser.StartElementHandler = counter.count
    try:
        parser.Parse(content, True)
    except expat.ExpatError:
        return


class _Counter:
    """Counts the elements of an answer."""

    def __init__(self) -> None:
        self._elements = 0

    def count(self, *_: Any) -> None:
        self._elements += 1
        if self._elements > MOST_ELEMENTS:
            raise ValueError(f"more than {MOST_ELEMENTS} elements")


def _refuse(*_: Any) -> None:
    raise ValueError("a document type")
