"""Answers of WebDAV servers: resources, and the failures of statuses."""

import re
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote, urlsplit
from xml.parsers import expat

from data_mover.backends.api import FileStat
from data_mover.backends.http.client import Response
from data_mover.backends.http.responses import time_of
from data_mover.domain.errors import (
    Encoded,
    HostFailed,
    LoginRefused,
    MoveFailure,
    NoSpace,
    NoSuchFile,
    PermissionRefused,
)
from data_mover.domain.states import FileKind

#: the body of a PROPFIND for the properties of a `FileStat`
PROPFIND_BODY = (
    b'<?xml version="1.0" encoding="utf-8"?><propfind xmlns="DAV:"><prop>'
    b"<resourcetype/><getcontentlength/><getlastmodified/><getetag/></prop></propfind>"
)
#: no server needs more to describe one resource
_MOST_BYTES = 2**20
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-\d+/(\d{1,18})")
#: the statuses of success
DONE = (200, 201, 204)
_SIZE, _TIME, _VERSION = "DAV: getcontentlength", "DAV: getlastmodified", "DAV: getetag"
_COLLECTION = "DAV: collection"

_FAILURES: dict[int, type[MoveFailure]] = {
    401: LoginRefused,
    403: PermissionRefused,
    404: NoSuchFile,
    409: NoSuchFile,
    413: PermissionRefused,
    414: PermissionRefused,
    507: NoSpace,
}


def continues(response: Response, file_stat: FileStat, offset_bytes: int, name: str) -> bool:
    """Whether the answer is the file of that stat: its rest from the offset on, or all of it. Raises Encoded."""
    if response.status in (404, 416):
        return False
    if response.status not in (200, 206):
        raise failure_of(response.status, name)
    if response.headers.get("Content-Encoding", "identity").strip().lower() != "identity":
        raise Encoded(name)
    size_bytes = _reported_size(response, offset_bytes, name)
    version = _bare(response.headers.get("ETag", ""))
    modified_at = time_of(response.headers.get("Last-Modified"))
    reported = (version or file_stat.version, modified_at or file_stat.modified_at)
    return reported == (file_stat.version, file_stat.modified_at) and size_bytes in (None, file_stat.size_bytes)


def _bare(etag: str) -> str:
    """Return the tag itself: some servers send the same one weak and strong, others with quotes and without."""
    return etag.removeprefix("W/").strip('"')


def _reported_size(response: Response, offset_bytes: int, name: str) -> int | None:
    """Return the size of the whole file; None if it is not reported. Raises HostFailed for another range."""
    if response.status == 200:
        length = response.headers.get("Content-Length", "")
        return int(length) if length.isascii() and length.isdecimal() else None
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != offset_bytes:
        raise HostFailed(f"{name}: another range than was asked for")
    return int(found[2])


def failure_of(status: int, name: str) -> MoveFailure:
    """Return the failure of a status. 409 means that the directory is missing."""
    return _FAILURES.get(status, HostFailed)(f"{name} is answered with {status}")


@dataclass(frozen=True)
class Resource:
    """A resource of an answer: its path on the server, without a slash at the end."""

    path: str
    stat: FileStat


@dataclass
class _Response:
    """The properties of a resource, as far as they have arrived."""

    href: str = ""
    properties: dict[str, str] = field(default_factory=dict)
    #: the current group of properties, which count only if its status is 200
    group: dict[str, str] = field(default_factory=dict)
    status: str = ""

    def end_group(self) -> None:
        if " 200" in self.status:
            self.properties |= self.group
        self.group, self.status = {}, ""

    @property
    def is_missing(self) -> bool:
        """Whether the resource itself, not its properties, has another status than 200."""
        return bool(self.status) and " 200" not in self.status

    def resource(self) -> Resource:
        """Return the resource. One without a size is OTHER, since it could not be verified. Raises ValueError if it is
        none."""
        path = unquote(urlsplit(self.href).path, errors="surrogateescape")
        if not path.startswith("/"):
            raise ValueError("a resource without a path")
        size, version = self.properties.get(_SIZE), _bare(self.properties.get(_VERSION, "")) or None
        time = time_of(self.properties.get(_TIME))
        if _COLLECTION in self.properties:
            return Resource(path.rstrip("/") or "/", FileStat(FileKind.DIRECTORY, 0, time or 0))
        if size is None:
            return Resource(path, FileStat(FileKind.OTHER, 0, time))
        return Resource(path, FileStat(FileKind.FILE, _count(size), time, version))


class Multistatus:
    """Parses the answer to a PROPFIND as it arrives, and keeps none of it.

    An answer that declares entities is refused.
    """

    def __init__(self) -> None:
        self._parser = expat.ParserCreate(namespace_separator=" ")
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._begin
        self._parser.EndElementHandler = self._end
        self._parser.CharacterDataHandler = self._append
        self._parser.StartDoctypeDeclHandler = _refuse
        self._response: _Response | None = None
        self._text: list[str] = []
        self._found: list[Resource] = []
        self._bytes = 0

    def feed(self, piece: bytes, is_last: bool = False) -> list[Resource]:
        """Return the resources whose end is in the piece. Raises ValueError if the answer is invalid."""
        self._bytes += len(piece)
        if self._bytes > _MOST_BYTES:
            raise ValueError("too much about one resource")
        try:
            self._parser.Parse(piece, is_last)
        except expat.ExpatError as error:
            raise ValueError("no XML") from error
        found, self._found = self._found, []
        if found:
            self._bytes = 0
        return found

    def _begin(self, name: str, _: Any) -> None:
        self._text.clear()
        if name == "DAV: response":
            self._response = _Response()
        elif name == _COLLECTION and self._response is not None:
            self._response.group[name] = ""

    def _append(self, text: str) -> None:
        self._text.append(text)

    def _end(self, name: str) -> None:
        text, response = "".join(self._text).strip(), self._response
        self._text.clear()
        if response is None:
            return
        if name == "DAV: href" and not response.href:
            response.href = text
        elif name == "DAV: status":
            response.status = text
        elif name in (_SIZE, _TIME, _VERSION):
            response.group[name] = text
        elif name == "DAV: propstat":
            response.end_group()
        elif name == "DAV: response":
            if not response.is_missing:
                self._found.append(response.resource())
            self._response = None


def _refuse(*_: Any) -> None:
    raise ValueError("a document type")


def _count(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) <= 18):
        raise ValueError("a size that is no number")
    return int(text)
