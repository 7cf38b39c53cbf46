"""The WebDAV requests of the backend."""

import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from urllib.parse import quote

from data_mover.backends.api import BLOCK_BYTES
from data_mover.backends.http.auth import authorization
from data_mover.backends.http.client import HttpConnection, Response, Terms
from data_mover.backends.options import HostOptions
from data_mover.backends.webdav.options import WebdavOptions
from data_mover.backends.webdav.propfind import PROPFIND_BODY, Multistatus, Resource, failure_of
from data_mover.domain.errors import ConnectionLost, HostFailed, HostUnreachable, InternalError, NotAllowed, Stalled
from data_mover.domain.urls import Url

_REDIRECTS = (301, 302, 307, 308)
_SAFE = ("GET", "PROPFIND")
#: servers keep an idle connection for a few seconds
_FRESH_SECONDS = 2
#: the longest answer that has only a status
_MOST_BYTES = 2**16


class WebdavClient:
    """A registered server. Paths are below the root; those of directories may end in a slash.

    A connection whose answer was read to the end is reused, within _FRESH_SECONDS.
    """

    def __init__(self, host: str, options: WebdavOptions, login: dict[str, str]) -> None:
        self.host = host
        self.options = options
        self.root = options.root.rstrip("/")
        self._login = login
        self._open: set[HttpConnection] = set()
        self._idle: HttpConnection | None = None
        self._idle_since = 0.0
        self._aborted = False

    @classmethod
    def open(cls, host: str, options: HostOptions) -> "WebdavClient":
        """Connect and request the root, which may be missing. Raises HostUnreachable, CertificateRefused or
        LoginRefused."""
        if not isinstance(options, WebdavOptions):
            raise InternalError(f"{host} does not speak WebDAV")
        client = cls(host, options, authorization(host, options))
        try:
            client.resource("/")
        except (ConnectionLost, Stalled) as failure:
            client.close()
            raise HostUnreachable(f"{host}: the connection breaks before there is an answer") from failure
        except BaseException:
            client.close()
            raise
        return client

    def url(self, path: str) -> Url:
        """Return the URL of the path. Raises NotAllowed if it would be too long."""
        try:
            return Url.parse(f"{self.options.origin}{quote(self.root + path, errors='surrogateescape')}")
        except ValueError as problem:
            raise NotAllowed(f"{self.host}:{path}: {problem}") from None

    def resource(self, path: str) -> Resource | None:
        """Return the resource, None if there is none. Some servers return a directory only with a slash at its end."""
        with self.asked("PROPFIND", path, {"Depth": "0"}, PROPFIND_BODY) as (connection, response):
            status = response.status
            if status == 207:
                return _first(self._resources(path, connection))
            connection.read(_MOST_BYTES)
        if status in _REDIRECTS and not path.endswith("/"):
            return self.resource(f"{path}/")
        if status == 404:
            return None
        raise failure_of(status, f"{self.host}:{path}")

    def members(self, path: str) -> Generator[Resource, None, None]:
        """Yield the directory itself and its members, in any order. Raises NoSuchFile if there is none."""
        with self.asked("PROPFIND", f"{path.rstrip('/')}/", {"Depth": "1"}, PROPFIND_BODY) as (connection, response):
            if response.status != 207:
                raise failure_of(response.status, f"{self.host}:{path}")
            yield from self._resources(path, connection)

    def do(self, method: str, path: str, headers: dict[str, str], patience_seconds: float = 0) -> int:
        """Send a request; return the status of the answer, which may take longer than the idle time-out."""
        with self.asked(method, path, headers, None, patience_seconds) as (connection, response):
            connection.read(_MOST_BYTES)
            return response.status

    @contextmanager
    def asked(
        self, method: str, path: str, headers: dict[str, str], body: bytes | None = None, patience_seconds: float = 0
    ) -> Iterator[tuple[HttpConnection, Response]]:
        """Send a request; yield the connection and the beginning of the answer.

        A server may close an idle connection: a safe request is then repeated once.
        """
        url, seconds = self.url(path), max(patience_seconds, self.options.idle_timeout_seconds)
        fields = {"Connection": "keep-alive", **headers, **self._login}
        connection, is_new = self._connection(path)
        try:
            connection.wait_for(seconds)
            try:
                response = connection.ask(url, fields, method, body)
            except ConnectionLost:
                if is_new or method not in _SAFE:
                    raise
                self.release(connection)
                connection = self._connect(path)
                response = connection.ask(url, fields, method, body)
            yield connection, response
        finally:
            self.release(connection)

    def begin(self, method: str, path: str, headers: dict[str, str]) -> HttpConnection:
        """Begin a request with a body; return the connection, which the caller releases."""
        url, connection = self.url(path), self._connect(path)
        try:
            connection.begin(url, {**headers, **self._login}, method)
        except BaseException:
            self.release(connection)
            raise
        return connection

    def release(self, connection: HttpConnection) -> None:
        if connection in self._open and self._idle is None and connection.is_idle:
            self._idle, self._idle_since = connection, time.monotonic()
        elif connection is not self._idle:
            self._open.discard(connection)
            connection.close()

    def abort(self) -> None:
        self._aborted = True
        for connection in tuple(self._open):
            connection.abort()

    def close(self) -> None:
        self._idle = None
        for connection in tuple(self._open):
            self._open.discard(connection)
            connection.close()

    def _connection(self, path: str) -> tuple[HttpConnection, bool]:
        """Return the idle connection, or a new one, and whether it is new."""
        idle, self._idle = self._idle, None
        if idle is not None and idle.is_idle and time.monotonic() - self._idle_since < _FRESH_SECONDS:
            idle.name = f"{self.host}:{path}"
            return idle, False
        if idle is not None:
            self._open.discard(idle)
            idle.close()
        return self._connect(path), True

    def _connect(self, path: str) -> HttpConnection:
        options = self.options
        terms = Terms(options.connect_timeout_seconds, options.idle_timeout_seconds, options.ca_file, False)
        self._require_not_aborted()
        connection = HttpConnection.open(self.url("/"), terms, f"{self.host}:{path}")
        self._open.add(connection)
        try:
            self._require_not_aborted()
        except ConnectionLost:
            self.release(connection)
            raise
        return connection

    def _require_not_aborted(self) -> None:
        """Raise ConnectionLost if another thread has called `abort`."""
        if self._aborted:
            raise ConnectionLost(self.host)

    def _resources(self, path: str, connection: HttpConnection) -> Iterator[Resource]:
        """Yield the resources of an answer. Raises HostFailed if it is no multistatus, possibly after some of them."""
        answer = Multistatus()
        try:
            while piece := connection.read(BLOCK_BYTES):
                yield from answer.feed(piece)
            yield from answer.feed(b"", is_last=True)
        except ValueError as problem:
            raise HostFailed(f"{self.host}:{path}: the answer is no listing") from problem


def _first(resources: Iterator[Resource]) -> Resource | None:
    """Return the requested resource. If a server returns more, possibly without end, they are not read."""
    first = next(resources, None)
    next(resources, None)
    return first
