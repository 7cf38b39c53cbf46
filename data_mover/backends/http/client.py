"""Connections to web servers: to the very address that was judged, and verified by the name that was asked for."""

import http.client
import socket
import ssl
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path
from typing import Any

from urllib3.connection import HTTPConnection, HTTPSConnection
from urllib3.exceptions import HTTPError, InvalidHeader, ProtocolError, ReadTimeoutError, SSLError
from urllib3.response import BaseHTTPResponse

from data_mover.backends.dns import resolved
from data_mover.backends.http.allowed_sites import is_public
from data_mover.backends.options import NetworkAddress
from data_mover.domain.errors import (
    CertificateRefused,
    ConnectionLost,
    HostFailed,
    HostUnreachable,
    NotAllowed,
    Stalled,
)
from data_mover.domain.urls import Url

#: how long a server that was asked to hang up after its answer may take to do so
_HANGING_UP_SECONDS = 1


@dataclass(frozen=True)
class Terms:
    """How a server is met."""

    connect_timeout_seconds: float
    idle_timeout_seconds: float
    #: certificates to trust in the place of those that the system does
    ca_file: Path | None
    #: whether its address must be one of the public internet
    must_be_public: bool


class HttpConnection:
    """One connection, for one request and its answer. Failures name what `name` says, never a query."""

    def __init__(self, connection: HTTPConnection, name: str) -> None:
        self.name = name
        self._connection = connection
        self._socket = connection.sock
        self._response: BaseHTTPResponse | http.client.HTTPResponse | None = None

    @classmethod
    def open(cls, url: Url, terms: Terms, name: str) -> "HttpConnection":
        """Tries the addresses of the host in turn, each for its share of the time that is left.

        HostUnreachable, CertificateRefused; NotAllowed, before anything is sent, where one must be public and is not.
        """
        deadline = time.monotonic() + terms.connect_timeout_seconds
        where = NetworkAddress(address=url.host, port=url.port, connect_timeout_seconds=terms.connect_timeout_seconds)
        addresses = [str(address[0]) for _, address in resolved(name, where)]
        if terms.must_be_public and not all(map(is_public, addresses)):
            raise NotAllowed(f"{name}: the address of {url.host} is not public")
        for left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            connection = _connection(url, address, max(0.001, (deadline - time.monotonic()) / left), terms.ca_file)
            try:
                with _told(name):
                    connection.connect()
            except (ConnectionLost, Stalled) as failure:
                refused = failure
            else:
                connection.timeout = terms.idle_timeout_seconds
                connection.sock.settimeout(terms.idle_timeout_seconds)
                return cls(connection, name)
        raise HostUnreachable(f"{name}: {url.authority}") from refused

    def ask(
        self, url: Url, headers: dict[str, str], method: str = "GET", body: bytes | None = None
    ) -> BaseHTTPResponse:
        """The beginning of the answer. ConnectionLost, Stalled, HostFailed."""
        fields = {**_fields(url), **headers}
        if fields["Connection"] == "close":
            self._connection.response_class = _LastAnswer
        with _told(self.name):
            self._connection.request(
                method, url.target, body, headers=fields, preload_content=False, decode_content=False
            )
            self._response = response = self._connection.getresponse()
        return response

    def begin(self, url: Url, headers: dict[str, str], method: str) -> None:
        """Sends the head of a request whose body comes by `send`, before `answer`."""
        with _told(self.name):
            self._connection.putrequest(method, url.target, skip_host=True, skip_accept_encoding=True)
            for name, value in {**_fields(url), **headers}.items():
                self._connection.putheader(name, value)
            self._connection.endheaders()

    def send(self, block: bytes | memoryview) -> None:
        """Returns once the system has taken the bytes."""
        with _told(self.name):
            self._connection.send(block)

    def answer(self) -> http.client.HTTPResponse:
        """The beginning of the answer to what was begun: urllib3's `getresponse` knows only what its `request` sent."""
        with _told(self.name):
            self._response = response = http.client.HTTPConnection.getresponse(self._connection)
        return response

    def read(self, count: int) -> bytes:
        """The next bytes of the answer as they come, so many at most; none at its end, which the server has told."""
        if self._response is None:
            return b""
        with _told(self.name):
            return self._response.read1(count)

    def wait_for(self, seconds: float) -> None:
        """How long the server may be silent from now on."""
        self._socket.settimeout(seconds)

    @property
    def is_idle(self) -> bool:
        """Whether the answer to what was asked has been read to its end, and another one can be asked for."""
        return self._response is not None and self._response.closed and self._connection.is_connected

    def hang_up(self, seconds: float) -> None:
        """Sends no more of a body that was begun, and waits until the server has noticed, for so long at most."""
        with suppress(OSError):
            self._socket.settimeout(seconds)
            socket.socket.shutdown(self._socket, socket.SHUT_WR)
            while socket.socket.recv(self._socket, 4096):
                pass

    def abort(self) -> None:
        """Ends what blocks in another thread; what encrypts the connection is not touched."""
        with suppress(OSError):
            socket.socket.shutdown(self._socket, socket.SHUT_RDWR)

    def close(self) -> None:
        with suppress(OSError, HTTPError, ValueError):
            if self._response is not None:
                self._response.close()
        with suppress(OSError):
            self._connection.close()
            self._socket.close()


class _MoreCame(Exception):
    """An answer is longer than its Content-Length."""


class _LastAnswer(http.client.HTTPResponse):
    """One after which the server hangs up, read beyond the end that was announced to see that nothing follows."""

    #: None lets another answer begin
    headers: Any

    def __init__(self, connected: socket.socket, *args: Any, **kwargs: Any) -> None:
        super().__init__(connected, *args, **kwargs)
        self._connected = connected

    def begin(self) -> None:
        super().begin()
        while HTTPStatus.SWITCHING_PROTOCOLS < self.status < HTTPStatus.OK:  # told ahead of the answer
            self.headers = None
            super().begin()
        if self.length is not None:
            self.length += 1

    def read1(self, n: int = -1) -> bytes:
        piece = super().read1(n) if self.length != 1 else b""
        if self.length == 1:
            self._connected.settimeout(_HANGING_UP_SECONDS)
            with suppress(OSError):
                super().read1(1)
        if self.length == 0:
            raise _MoreCame
        return piece


def _fields(url: Url) -> dict[str, str]:
    return {"Host": url.authority, "Accept": "*/*", "Accept-Encoding": "identity", "Connection": "close"}


def _connection(url: Url, address: str, timeout_seconds: float, ca_file: Path | None) -> HTTPConnection:
    if url.scheme == "http":
        return HTTPConnection(address, url.port, timeout=timeout_seconds)
    context = ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
    return HTTPSConnection(address, url.port, timeout=timeout_seconds, ssl_context=context, server_hostname=url.host)


@contextmanager
def _told(name: str) -> Iterator[None]:
    """What the library raises becomes a failure; what a server wrote is never repeated."""
    try:
        yield
    except _MoreCame as error:
        raise HostFailed(f"{name}: more came than the server had announced") from error
    except ssl.SSLCertVerificationError as error:
        raise CertificateRefused(f"{name}: {error.verify_message}") from error
    except (TimeoutError, ReadTimeoutError) as error:
        raise Stalled(name) from error
    except (ConnectionError, http.client.IncompleteRead, ProtocolError) as error:
        raise ConnectionLost(name) from error
    except (ssl.SSLError, SSLError) as error:
        raise HostFailed(f"{name}: TLS fails") from error
    except (http.client.HTTPException, InvalidHeader, ValueError) as error:
        raise HostFailed(f"{name} does not speak HTTP") from error
    except (OSError, HTTPError) as error:
        raise ConnectionLost(name) from error
