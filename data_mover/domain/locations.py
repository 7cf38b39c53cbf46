"""Locations of files: as a caller writes them and as the registry resolves them; and what to do if a file exists.

A `Location` is what a caller names: an `Endpoint` (a path on a registered host), a `Url` of the web or a
`CatalogueItem` (a data type and an id); the registry turns the latter two into endpoints. A move has one or several.
Paths are literal POSIX text, absolute below the host's root.
"""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Any
from urllib.parse import quote, unquote

from data_mover.domain.errors import Refusal
from data_mover.domain.urls import DEFAULT_PORTS, Url, without_query

MAX_SEGMENT_BYTES = 255
MAX_PATH_BYTES = 4096
#: URL schemes that name a registered host; its entry decides the protocol
HOST_SCHEMES = ("sftp", "scp", "local", "s3", "webdav")

_FORBIDDEN = re.compile(r"[\x00-\x08\x0b-\x1f]")
_SURROGATE = re.compile(r"[\ud800-\udfff]")
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*(?=:)")
_QUERY_OR_FRAGMENT = re.compile("[?#]")
_BROKEN_ESCAPE = re.compile(r"%(?![0-9A-Fa-f]{2})")
#: how sources and destinations are written
SOURCE_FORMS = "{'host': 'hpc', 'path': '/a.tif'}, {'type': 'species', 'id': 12}, hpc:/a.tif, species:12 or a URL"
_DESTINATION_FORMS = "{'host': 'hpc', 'path': '/maps/'}, hpc:/maps/ or a URL like sftp://hpc/maps/"


@dataclass(frozen=True)
class Endpoint:
    """A path on a registered host. A trailing slash says that the path is a directory.

    For a source on the web, the path is its URL, query included; as text it has no query.
    """

    host: str
    path: str

    def __str__(self) -> str:
        return f"{self.host}:{without_query(self.path)}"

    def as_struct(self) -> dict[str, str]:
        return {"host": self.host, "path": self.path}

    def as_shown(self) -> dict[str, str]:
        """Return a struct that may be shown to everybody."""
        return {"host": self.host, "path": without_query(self.path)}


@dataclass(frozen=True)
class CatalogueItem:
    """A data type of the catalogue and the id of one of its items."""

    type: str
    id: str

    def as_struct(self) -> dict[str, str]:
        return {"type": self.type, "id": self.id}


Location = Endpoint | CatalogueItem | Url
Locations = tuple[Location, ...]


class IfExists(StrEnum):
    """What to do with an existing file at the destination."""

    #: the new one replaces it
    REPLACE = "replace"
    #: it stays, and the move fails
    REFUSE = "refuse"
    #: it stays: the move is done if it has the same bytes, and fails if not
    VERIFY = "verify"


def missing(field: str, way_out: str = "") -> Refusal:
    """Return the refusal of an argument that is missing, or of the wrong type."""
    reason = f"Missing or incorrect parameter '{field}'"
    return Refusal(f"{reason}: {way_out}" if way_out else reason, code="missing-parameter", field=field)


def invalid(field: str, problem: str) -> Refusal:
    """Return the refusal of an argument whose value cannot be used."""
    return Refusal(f"Invalid parameter '{field}': {problem}", code="invalid-parameter", field=field)


def parse_sources(value: Any) -> Locations:
    """Return the locations that a caller or the catalogue wrote as a source, or as a list of them. Raises Refusal,
    naming the field."""
    if not isinstance(value, list):
        return (parse_source(value),)
    if not value:
        raise missing("source", "the list of sources is empty")
    if any(isinstance(each, list) for each in value):
        raise invalid("source", "a list of sources contains no further list")
    sources = []
    for number, each in enumerate(value):
        with in_list(number):
            sources.append(parse_source(each))
    return tuple(sources)


def sources_as_json(sources: Locations) -> Any:
    """Return one source as a struct, several as a list of them: what `parse_sources` reads."""
    structs = [source.as_struct() for source in sources]
    return structs if structs[1:] else structs[0]


def parse_source(value: Any) -> Location:
    """Return the location that a caller or the catalogue wrote as one source. Raises Refusal, naming the field."""
    if isinstance(value, dict) and value.get("type") == "url":
        return _source_from_url(_text(value.get("url"), "source.url"), "source.url")
    if isinstance(value, dict) and "host" not in value and "type" in value:
        return CatalogueItem(_text(value["type"], "source.type"), catalogue_id(value.get("id"), "source.id"))
    if isinstance(value, str) and ":" in value:
        return _source_from_text(value)
    return _parse_endpoint(value, "source", SOURCE_FORMS)


def parse_destination(value: Any) -> Endpoint:
    """Return the endpoint that a caller wrote as a destination. Raises Refusal, naming the field."""
    return _parse_endpoint(value, "destination", _DESTINATION_FORMS)


def parse_short_endpoint(text: str, field: str) -> Endpoint:
    """Return the endpoint of `host:/path` or of a URL. Raises Refusal, naming the field."""
    host, colon, path = text.partition(":")
    if path.startswith("//"):
        return _endpoint_from_url(text, field, field)
    if not host or not colon:
        raise invalid(field, "must be host:/path or a URL like sftp://host/path")
    return Endpoint(host, checked_path(path, field))


def catalogue_id(value: Any, field: str) -> str:
    """Return the id of a catalogue item, which callers may send as an integer or as text."""
    if isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    return _text(value, field)


def checked_path(path: str, field: str) -> str:
    """Return the path without empty and `.` segments, its trailing slash kept. Raises Refusal, naming the field."""
    problem = _path_problem(path)
    if problem:
        raise invalid(field, problem)
    segments = [segment for segment in path.split("/") if segment not in ("", ".")]
    directory = path.endswith(("/", "/.")) and segments
    return "/" + "/".join(segments) + ("/" if directory else "")


def shown(source: Any) -> Any:
    """Return what `sources_as_json` made without the queries of URLs, which may be secrets."""
    if isinstance(source, list):
        return [shown(each) for each in source]
    return {**source, "url": without_query(source["url"])} if "url" in source else source


def quoted_for_url(text: str) -> str:
    """Quote text so that it is one literal path segment in a URL."""
    return quote(text, safe="")


@contextmanager
def in_list(number: int) -> Iterator[None]:
    """Make a Refusal name the source's position in the list: `source[2].path`."""
    try:
        yield
    except Refusal as refusal:
        field = refusal.field.replace("source", f"source[{number}]", 1)
        reason = refusal.reason.replace(f"'{refusal.field}'", f"'{field}'", 1)
        raise Refusal(reason, code=refusal.code, field=field) from None


def _parse_endpoint(value: Any, field: str, forms: str) -> Endpoint:
    if isinstance(value, str) and ":" in value:
        return parse_short_endpoint(value, field)
    if not isinstance(value, dict):
        raise missing(field, f"the text names no host; write {forms}" if isinstance(value, str) else f"write {forms}")
    host = _text(value.get("host"), f"{field}.host")
    path = _text(value.get("path"), f"{field}.path")
    return Endpoint(host, checked_path(path, f"{field}.path"))


def _source_from_text(text: str) -> Location:
    """Return the location that `host:/path`, `type:id` or a URL names."""
    name, _, rest = text.partition(":")
    if rest.startswith("//"):
        return _source_from_url(text, "source")
    if rest.startswith("/"):
        return parse_short_endpoint(text, "source")
    return CatalogueItem(_text(name, "source"), _text(rest, "source"))


def _source_from_url(url: str, field: str) -> Location:
    if _scheme(url) not in DEFAULT_PORTS:
        return _endpoint_from_url(url, "source", field)
    if ".." in _QUERY_OR_FRAGMENT.split(url)[0].split("/"):  # parsers resolve it silently
        raise invalid(field, "must not contain '..'")
    try:
        return Url.parse(url)
    except ValueError as problem:
        raise invalid(field, str(problem)) from None


def _scheme(url: str) -> str:
    """Return the scheme, the only part of a URL that may be repeated."""
    scheme = _SCHEME.match(url)
    return scheme[0].lower() if scheme else ""


def _endpoint_from_url(url: str, role: str, field: str) -> Endpoint:
    """Return the endpoint that a URL names; the standard library's parser would silently drop tabs and newlines."""
    rest = url.partition("://")[2]
    if _scheme(url) not in HOST_SCHEMES:
        raise Refusal(f"Unknown {role} URL scheme '{_scheme(url)}'", code="unknown-scheme", field=field)
    host, slash, path = rest.partition("/")
    problem = _url_problem(host, slash + path)
    if problem:
        raise invalid(field, problem)
    return Endpoint(host, checked_path(_unquoted(slash + path, field), field))


def _url_problem(host: str, path: str) -> str | None:
    if not host:
        return "the URL names no host"
    if "@" in host or ":" in host:
        return "user, password and port belong in the registry; the URL names a registered host only"
    if "?" in host + path or "#" in host + path:
        return "a query or fragment means nothing on a registered host; write %3F for ? and %23 for #"
    if _BROKEN_ESCAPE.search(path):
        return "a % must be followed by two hexadecimal digits; write %25 for the sign itself"
    return None


def _unquoted(path: str, field: str) -> str:
    try:
        return unquote(path, errors="strict")
    except UnicodeDecodeError:
        raise invalid(field, "the %-escapes must be UTF-8") from None


def _path_problem(path: str) -> str | None:
    if not path.startswith("/"):
        return "must be absolute"
    if _FORBIDDEN.search(path):
        return "must not contain NUL or control characters other than tab and newline"
    if _SURROGATE.search(path):
        return "must be text that UTF-8 can carry"
    segments = [segment.encode() for segment in path.split("/")]
    if b".." in segments:
        return "must not contain '..'"
    if max(map(len, segments)) > MAX_SEGMENT_BYTES:
        return f"a name must not be longer than {MAX_SEGMENT_BYTES} bytes of UTF-8"
    if len(path.encode()) > MAX_PATH_BYTES:
        return f"must not be longer than {MAX_PATH_BYTES} bytes of UTF-8"
    return None


def _text(value: Any, field: str) -> str:
    if not isinstance(value, str) or not value:
        raise missing(field)
    return value
