"""Connections to web servers: to the very address that was checked, and verified by the name in the URL.

h11 speaks HTTP and never touches a socket; connecting, time-outs and the end of a connection are decided here.
"""

import math
import socket
import ssl
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from select import POLLIN, poll
from typing import cast

import h11
from urllib3 import HTTPHeaderDict

from data_mover.backends.api import Block
from data_mover.backends.dns import resolved, why_unreachable
from data_mover.backends.http.allowed_sites import Network, is_denied, is_public
from data_mover.backends.options import NetworkAddress
from data_mover.domain.errors import (
    CertificateRefused,
    ConnectionLost,
    Encoded,
    HostFailed,
    HostUnreachable,
    NotAllowed,
    Stalled,
)
from data_mover.domain.urls import Url

#: how long a server may take to close the connection after its answer
_HANGING_UP_SECONDS = 1
#: the most bytes of one read from the socket
_RECEIVED_BYTES = 2**18
#: the head of an answer, or the head of a chunk
_LONGEST_HEAD_BYTES = 2**17
#: the most interim answers, such as 103, before the final one
_MOST_EARLY_ANSWERS = 16


@dataclass(frozen=True)
class Terms:
    """The terms of a connection."""

    connect_timeout_seconds: float
    idle_timeout_seconds: float
    #: certificates to trust instead of the system's
    ca_file: Path | None
    #: whether its address must be public
    must_be_public: bool
    #: networks to which its address must not belong
    denied: Sequence[Network] = ()


@dataclass(frozen=True)
class Response:
    """The status and the headers of an answer."""

    status: int
    headers: HTTPHeaderDict

    @property
    def chunked(self) -> bool:
        return self.headers.get("Transfer-Encoding", "").strip().lower() == "chunked"


class HttpConnection:
    """One connection, for one request and its answer, or for several in turn. Failures show `name`, never a query."""

    def __init__(self, connected: socket.socket, name: str) -> None:
        self.name = name
        self._socket = connected
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_LONGEST_HEAD_BYTES)
        self._received = b""
        self._awaits_head = True
        self._has_ended = False
        self._is_closed_by_peer = False

    @classmethod
    def open(cls, url: Url, terms: Terms, name: str) -> "HttpConnection":
        """Try the addresses of the host in turn, each for its share of the remaining time; return the connection.

        Raises HostUnreachable or CertificateRefused; NotAllowed, before anything is sent, if one must be public and is
        not.
        """
        deadline = time.monotonic() + terms.connect_timeout_seconds
        where = NetworkAddress(address=url.host, port=url.port, connect_timeout_seconds=terms.connect_timeout_seconds)
        addresses = [str(address[0]) for _, address in resolved(name, where)]
        if terms.must_be_public and not all(map(is_public, addresses)):
            raise NotAllowed(f"{name}: the address of {url.host} is not public")
        if any(is_denied(address, terms.denied) for address in addresses):
            raise NotAllowed(f"{name}: the address of {url.host} is of a network that the operator denies")
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            timeout_seconds = max(0.001, (deadline - time.monotonic()) / left)
            try:
                with _failures_of(name):
                    connected = _connected(url, address, timeout_seconds, terms.ca_file)
            except (ConnectionLost, Stalled) as failure:
                refused = failure
            else:
                connected.settimeout(terms.idle_timeout_seconds)
                return cls(connected, name)
        raise HostUnreachable(f"{name}: {url.authority}: {why_unreachable(refused.__cause__)}") from refused

    def ask(self, url: Url, headers: dict[str, str], method: str = "GET", body: bytes | None = None) -> Response:
        """Send a request; return the beginning of the answer. Raises ConnectionLost, Stalled or HostFailed."""
        length = {} if body is None else {"Content-Length": str(len(body))}
        self.begin(url, {**length, **headers}, method)
        if body:
            self.send(body)
        with _failures_of(self.name):
            self._send(h11.EndOfMessage())
        return self.answer()

    def begin(self, url: Url, headers: dict[str, str], method: str) -> None:
        """Send the head of a request. Its body follows by `send`, then call `answer`."""
        if self._has_ended:
            self._http.start_next_cycle()
            self._awaits_head, self._has_ended = True, False
        fields = {**_fields(url), **headers}
        with _failures_of(self.name):
            wire = [(name.encode(), value.encode("latin-1")) for name, value in fields.items()]
            self._send(h11.Request(method=method, target=url.target, headers=wire))

    def send(self, block: Block) -> None:
        """Send a part of the body. Returns once the system has accepted the bytes."""
        with _failures_of(self.name):
            self._send(h11.Data(data=cast(bytes, block)))  # h11 takes the length of a body, and passes it on unchanged

    def answer(self) -> Response:
        """Return the beginning of the answer; a server may send it before it has the whole body."""
        with _failures_of(self.name):
            for _ in range(_MOST_EARLY_ANSWERS):
                event = self._next_event()
                if isinstance(event, h11.Response):
                    self._awaits_head = False
                    self._take_what_is_here()
                    return _response(event)
        raise HostFailed(f"{self.name} does not come to an answer")

    def read(self, count: int) -> bytes:
        """Return the next bytes of the answer as they arrive, at most `count`; none at its end."""
        with _failures_of(self.name):
            if not self._received and not self._has_ended:
                self._take(self._next_event())
                self._take_what_is_here()
            if self._has_ended:
                self._require_nothing_more()
        piece, self._received = self._received[:count], self._received[count:]
        return piece

    def wait_for(self, seconds: float) -> None:
        """Set how long the server may be silent from now on."""
        self._socket.settimeout(seconds)

    @property
    def is_idle(self) -> bool:
        """Whether the answer has been read to its end, and another request can be sent."""
        done = self._http.our_state is h11.DONE and self._http.their_state is h11.DONE
        return done and not self._received and not _is_readable(self._socket)

    def hang_up(self, seconds: float) -> None:
        """Abandon a body that was begun, and wait until the server has noticed, at most so long."""
        with suppress(OSError):
            self._socket.settimeout(seconds)
            socket.socket.shutdown(self._socket, socket.SHUT_WR)
            while socket.socket.recv(self._socket, 4096):
                pass

    def abort(self) -> None:
        """End what blocks in another thread, without touching the TLS layer."""
        with suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError):
            self._socket.close()

    def _send(self, event: h11.Event) -> None:
        for piece in self._http.send_with_data_passthrough(event) or ():
            self._socket.sendall(piece)

    def _next_event(self) -> h11.Event:
        """Wait for the next event. A connection that ends in the middle of an answer is lost.

        A head that has begun to arrive must be complete within the time that the server may be silent.
        """
        until = math.inf
        while True:
            try:
                event = self._http.next_event()
            except h11.RemoteProtocolError as error:
                if self._is_closed_by_peer and not self._is_other_protocol():
                    raise ConnectionResetError from error
                raise
            if not isinstance(event, type(h11.NEED_DATA)):
                return self._checked(event)
            if time.monotonic() > until:
                raise TimeoutError
            received = self._socket.recv(_RECEIVED_BYTES)
            if self._awaits_head and until == math.inf:
                until = time.monotonic() + (self._socket.gettimeout() or math.inf)
            self._is_closed_by_peer = not received
            self._http.receive_data(received)

    def _is_other_protocol(self) -> bool:
        """Whether the bytes before the end are no beginning of an answer."""
        beginning, _ = self._http.trailing_data
        return self._awaits_head and not b"HTTP/".startswith(beginning[:5])

    def _checked(self, event: object) -> h11.Event:
        """Return the event. Raises ConnectionResetError for PAUSED and ConnectionClosed, which arrive instead of an
        answer."""
        if isinstance(event, h11.Event) and not isinstance(event, h11.ConnectionClosed):
            return event
        raise ConnectionResetError

    def _take(self, event: h11.Event) -> None:
        if isinstance(event, h11.Data):
            self._received += event.data
        elif isinstance(event, h11.EndOfMessage):
            self._has_ended = True

    def _take_what_is_here(self) -> None:
        """Handle all of the answer that has arrived already, so that its end is known with its last byte."""
        while not self._has_ended:
            event = self._http.next_event()
            if isinstance(event, type(h11.NEED_DATA)):
                return
            self._take(self._checked(event))

    def _require_nothing_more(self) -> None:
        """Raise _MoreCame if a server sends more than it announced instead of closing the connection."""
        if self._http.their_state is h11.DONE:
            return
        more, _ = self._http.trailing_data
        if not more and not self._is_closed_by_peer:
            self._socket.settimeout(_HANGING_UP_SECONDS)
            with suppress(OSError):
                more = self._socket.recv(1)
        if more:
            raise _MoreCame


class _MoreCame(Exception):
    """An answer is longer than its Content-Length."""


def _response(event: h11.Response) -> Response:
    headers = HTTPHeaderDict()
    for name, value in event.headers:
        headers.add(name.decode("latin-1"), value.decode("latin-1"))
    return Response(event.status_code, headers)


def _fields(url: Url) -> dict[str, str]:
    return {"Host": url.authority, "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}


def _connected(url: Url, address: str, timeout_seconds: float, ca_file: Path | None) -> socket.socket:
    connected = socket.create_connection((address, url.port), timeout_seconds)
    try:
        connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        if url.scheme == "http":
            return connected
        context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
        return context.wrap_socket(connected, server_hostname=url.host)
    except BaseException:
        connected.close()
        raise


def _is_readable(connected: socket.socket) -> bool:
    """Whether unrequested data has arrived: the end of the connection, as a rule."""
    poller = poll()
    poller.register(connected, POLLIN)
    return bool(poller.poll(0))


@contextmanager
def _failures_of(name: str) -> Iterator[None]:
    """Map errors of the socket and the library to failures, which never repeat text of a server."""
    try:
        yield
    except _MoreCame as error:
        raise HostFailed(f"{name}: more came than the server had announced") from error
    except ssl.SSLCertVerificationError as error:
        raise CertificateRefused(f"{name}: {error.verify_message}") from error
    except TimeoutError as error:
        raise Stalled(name) from error
    except ConnectionError as error:
        raise ConnectionLost(name) from error
    except ssl.SSLError as error:
        raise HostFailed(f"{name}: TLS fails") from error
    except h11.RemoteProtocolError as error:
        if error.error_status_hint == HTTPStatus.NOT_IMPLEMENTED:
            raise Encoded(name) from error
        raise HostFailed(f"{name} does not speak HTTP") from error
    except (h11.LocalProtocolError, ValueError) as error:
        raise HostFailed(f"{name} does not speak HTTP") from error
    except OSError as error:
        raise ConnectionLost(name) from error
