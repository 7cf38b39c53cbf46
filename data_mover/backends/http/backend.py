"""Web servers, as sources. A path is below the root of a registered server, or a URL as the caller wrote it."""

import math
import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import Self
from urllib.parse import urldefrag, urljoin

from data_mover.backends.api import BLOCK_BYTES, Block, FileStat, Reader, Source
from data_mover.backends.http.allowed_sites import Site, contains, url_below
from data_mover.backends.http.auth import authorization, field_of
from data_mover.backends.http.client import HttpConnection, Response, Terms
from data_mover.backends.http.options import HttpOptions, WebOptions
from data_mover.backends.http.responses import continues, has_parts, name_of, range_of, stat_of, text_of
from data_mover.backends.options import HostOptions
from data_mover.domain.errors import (
    ConnectionLost,
    HostFailed,
    HttpMissing,
    HttpRefused,
    NotAllowed,
    SourceChanged,
    TooLarge,
    TooSlow,
)
from data_mover.domain.urls import Url, safe_name

MAX_REDIRECTS = 5
#: the most that is read of a file whose size the server does not report, unless the registry sets `max_size`
MOST_UNSIZED_BYTES = 100 * 10**9
_REDIRECTS = (301, 302, 303, 307, 308)
#: how long small pieces are gathered
_GATHERING_SECONDS = 0.25
#: a server may have dropped a response that nobody read for longer: the request is repeated
_FRESH_SECONDS = 5


class HttpSource(Source):
    """A web server, or the web. Every request has a connection of its own. Nothing can be listed."""

    has_directories = False

    def __init__(self, host: str, options: WebOptions) -> None:
        self.host = host
        self.options: WebOptions = options
        self._open: set[HttpConnection] = set()
        self._names: dict[str, str] = {}
        self._aborted = False

    @classmethod
    def connect(cls, host: str, options: HostOptions) -> Self:
        """Connect to a registered server, which must answer and prove its identity; it accepts or refuses the login for
        each file."""
        if not isinstance(options, WebOptions):
            raise TypeError(options)
        source = cls(host, options)
        if isinstance(options, HttpOptions):
            _login_fields(host, options)
            source.release(source._connect(url_below(options, "/"), host, options))
        return source

    def name(self, path: str) -> str:
        """Return the name of the file. Sends a request, once, only if the server may name files itself."""
        if path not in self._names:
            self._names[path] = self._asked_name(path) or super().name(Url.parse(path).name if "://" in path else path)
        return self._names[path]

    def stat(self, path: str) -> FileStat | None:
        """Return the stat, from a GET that is broken off: many servers answer any other request differently."""
        try:
            with self.open(path) as reader:
                return reader.stat
        except HttpMissing:
            return None

    def open(self, path: str) -> Reader:
        """Open the file. Raises HttpMissing if there is none, HttpRefused for any other status but 200."""
        return HttpReader(self, path)

    def abort(self) -> None:
        self._aborted = True
        for connection in tuple(self._open):
            connection.abort()

    def close(self) -> None:
        for connection in tuple(self._open):
            self.release(connection)

    def answer(self, path: str, headers: dict[str, str]) -> tuple["HttpConnection", Response]:
        """Return the answer to GET, redirects followed: each is checked as the first URL was, and no login is sent
        elsewhere.

        A redirect through the open web stays there: it gains neither the login nor the rights of a host.
        """
        name, url = self.named(path), self._url(path)
        site = self._site(url)
        for _ in range(MAX_REDIRECTS + 1):
            connection = self._connect(url, name, site)
            try:
                response = connection.ask(url, {**headers, **self._login(site)})
                location = text_of(response, "Location")
                if response.status not in _REDIRECTS or location is None:
                    return connection, response
                url = _led(url, location, name)
                site = self._site(url) if site is not None else None
            except BaseException:
                self.release(connection)
                raise
            self.release(connection)
        raise HttpRefused(response.status, f"{name}: more than {MAX_REDIRECTS} redirects")

    def release(self, connection: HttpConnection) -> None:
        self._open.discard(connection)
        connection.close()

    def _asked_name(self, path: str) -> str | None:
        if not self.options.content_disposition:
            return None
        with self.open(path) as reader:
            return reader.name

    def _url(self, path: str) -> Url:
        try:
            if path.startswith("/") and isinstance(self.options, HttpOptions):
                return url_below(self.options, path)
            return Url.parse(path)
        except ValueError as problem:
            raise NotAllowed(f"{self.named(path)}: {problem}") from None

    def _connect(self, url: Url, name: str, site: Site | None) -> HttpConnection:
        if not self._aborted:
            connection = HttpConnection.open(url, self._terms(url, name, site), name)
            self._open.add(connection)
            if not self._aborted:
                return connection
            self.release(connection)
        raise ConnectionLost(name)

    def _site(self, url: Url) -> Site | None:
        """Return the registered site that contains the URL; None on the open web, and for everything read as part of
        it."""
        if not isinstance(self.options, HttpOptions):
            return None
        return self.options if contains(self.options, url) else self.options.web.site_of(url)

    def _terms(self, url: Url, name: str, site: Site | None) -> Terms:
        """Return the terms of the connection. Raises NotAllowed if no site contains the URL, unless the web is open."""
        options, web = self.options, self.options.web
        timeouts = options.connect_timeout_seconds, options.idle_timeout_seconds
        if site is not None:
            if not web.may_read(url):
                raise NotAllowed(f"{name} leads to {url.origin}")
            return Terms(*timeouts, site.ca_file, must_be_public=False)
        if not web.is_open:
            raise NotAllowed(f"{name} leads to {url.origin}")
        ca_file = None if isinstance(options, HttpOptions) else options.ca_file
        return Terms(*timeouts, ca_file, must_be_public=True, denied=web.denied)

    def _login(self, site: Site | None) -> dict[str, str]:
        options = self.options
        return _login_fields(self.host, options) if isinstance(options, HttpOptions) and site is options else {}


class HttpReader(Reader):
    """The answer to one request; another request is made if other bytes are read."""

    def __init__(self, source: HttpSource, path: str) -> None:
        self._source = source
        self._path = path
        self._name = source.named(path)
        self._began = time.monotonic()
        self._connection, response = source.answer(path, {})
        try:
            self.stat = stat_of(response, self._name)
            self.name = self._given_name(response)
            self._require_limits(self.stat.size_bytes or 0)
        except BaseException:
            self.close()
            raise

    def blocks(self, offset_bytes: int = 0) -> Iterator[Block]:
        """Yield blocks, gathered from small pieces unless these arrive slowly."""
        if 0 < (self.stat.size_bytes or 0) <= offset_bytes:
            return
        if offset_bytes or time.monotonic() - self._began > _FRESH_SECONDS:
            self._ask_again(offset_bytes)
        block, since = bytearray(), time.monotonic()
        for piece in self._pieces(offset_bytes):
            block += piece
            if len(block) >= BLOCK_BYTES or time.monotonic() - since >= _GATHERING_SECONDS:
                yield bytes(block)
                block, since = bytearray(), time.monotonic()
        if block:
            yield bytes(block)

    def close(self) -> None:
        self._source.release(self._connection)

    def _pieces(self, offset_bytes: int) -> Iterator[bytes]:
        """Yield the bytes as they arrive. Connects again after a connection has broken if that has brought a block or
        more, and the server's versions are exact enough to join parts."""
        received_bytes, announced_bytes = offset_bytes, self.stat.size_bytes
        while True:
            begun_bytes = received_bytes
            try:
                while piece := self._connection.read(BLOCK_BYTES):
                    received_bytes += len(piece)
                    self._require_limits(received_bytes)
                    if announced_bytes is not None and received_bytes > announced_bytes:
                        raise HostFailed(f"{self._name}: more came than the server had announced")
                    yield piece
                return
            except ConnectionLost:
                if received_bytes - begun_bytes < BLOCK_BYTES or not has_parts(self.stat):
                    raise
            self._ask_again(received_bytes)

    def _ask_again(self, offset_bytes: int) -> None:
        """Request the bytes from the offset on, of the same version; drop what a server sends before them."""
        self.close()
        self._connection, response = self._source.answer(self._path, range_of(self.stat, offset_bytes))
        if not continues(response, self.stat, offset_bytes, self._name):
            raise SourceChanged(self._name)
        before_bytes = offset_bytes if response.status == HTTPStatus.OK else 0
        while before_bytes > 0 and (piece := self._connection.read(min(before_bytes, BLOCK_BYTES))):
            before_bytes -= len(piece)
            self._require_limits(0)

    def _given_name(self, response: Response) -> str | None:
        """Return the server's name for the file; None for a literal path, whose last segment is the name."""
        if self._source.options.content_disposition and (name := name_of(response)):
            return safe_name(name)
        return None if self._path.startswith("/") else Url.parse(self._path).name

    def _require_limits(self, size_bytes: int) -> None:
        options = self._source.options
        most_bytes = options.max_size or (MOST_UNSIZED_BYTES if self.stat.size_bytes is None else math.inf)
        if size_bytes > most_bytes:
            raise TooLarge(f"{self._name} has more than {most_bytes} bytes")
        if time.monotonic() - self._began > (options.total_timeout_seconds or math.inf):
            raise TooSlow(f"{self._name}: more than {options.total_timeout_seconds:g} s")


def _led(url: Url, location: str, name: str) -> Url:
    """Return the target of a redirect. Raises NotAllowed if it must not be followed."""
    try:
        led = Url.parse(urldefrag(urljoin(url.full, location)).url)
    except ValueError as problem:
        raise NotAllowed(f"{name}: a redirect that cannot be followed: {problem}") from None
    if led.scheme == "http" and url.scheme == "https":
        raise NotAllowed(f"{name}: a redirect from https to http")
    return led


def _login_fields(host: str, options: HttpOptions) -> dict[str, str]:
    """Return the headers that log a request in. Raises LoginRefused if a secret cannot be read."""
    fields = {name: field_of(host, f"headers.{name}", reference) for name, reference in options.headers.items()}
    if options.cookie:
        fields["Cookie"] = field_of(host, "cookie", options.cookie)
    return fields | authorization(host, options)
