"""URLs of files on the web, as callers, the catalogue and web servers write them."""

import re
from dataclasses import dataclass
from posixpath import basename
from unicodedata import normalize
from urllib.parse import unquote, unquote_to_bytes

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

MAX_URL_BYTES = 8192
MAX_NAME_BYTES = 255
#: the name of a file whose URL ends in a slash
NAMELESS = "download"

DEFAULT_PORTS = {"http": 80, "https": 443}

#: spellings of dot, slash and backslash that some servers decode although UTF-8 does not allow them, and IIS's own
_ODD_SPELLINGS = (
    (re.compile(rb"\xc0\xae|\xe0\x80\xae|\xf0\x80\x80\xae|%u002e|%uff0e", re.IGNORECASE), b"."),
    (re.compile(rb"\xc0\xaf|\xe0\x80\xaf|\xf0\x80\x80\xaf|%u002f|%uff0f|%u2215", re.IGNORECASE), b"/"),
    (re.compile(rb"\xc1\x9c|\xe0\x81\x9c|\xf0\x80\x81\x9c|%u005c|%uff3c", re.IGNORECASE), b"/"),
)
#: how many servers in a row may decode escapes, each those that the one before has left
_READINGS = 4
#: what ends a segment for a server that decodes escapes before it looks for these
_AFTER_A_SEGMENT = re.compile(rb"[;?#]")
_IGNORED = re.compile(rb"[\x00-\x20\x7f]")

_SURROGATE = re.compile(r"[\ud800-\udfff]")
_UNSAFE_IN_A_NAME = re.compile(r"[/\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Url:
    """A URL in normal form: lower-case ASCII host without a dot at its end, escaped path and query.

    As text it has no query, which may be a secret; `full` has it.
    """

    scheme: str
    #: a name or an IP address, without brackets
    host: str
    port: int
    #: begins with a slash
    path: str
    query: str | None = None

    @classmethod
    def parse(cls, text: str) -> "Url":
        """Return the Url. Raises ValueError with a sentence that repeats nothing of the text, which may contain
        secrets."""
        if _SURROGATE.search(text) or len(text.encode()) > MAX_URL_BYTES:
            raise ValueError(f"must be text that UTF-8 can carry, of {MAX_URL_BYTES} bytes at most")
        try:
            parts = parse_url(text)
        except LocationParseError:
            raise ValueError("the URL cannot be read, or there can be no host of that name") from None
        if parts.scheme not in DEFAULT_PORTS:
            raise ValueError("must be a URL of http or https")
        if parts.auth is not None:
            raise ValueError("user and password belong in the registry, not in the URL")
        if parts.fragment is not None:
            raise ValueError("a fragment means nothing here; write %23 for the sign #")
        host = (parts.host or "").strip("[]").rstrip(".")
        path = parts.path or "/"
        if not host:
            raise ValueError("the URL names no host")
        if parts.port == 0:
            raise ValueError("no server can have port 0")
        _require_no_step_up(path)
        return cls(parts.scheme, host, parts.port or DEFAULT_PORTS[parts.scheme], path, parts.query)

    @property
    def authority(self) -> str:
        """Host and port as in a URL, the default port left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def target(self) -> str:
        """The request target: path and query."""
        return self.path if self.query is None else f"{self.path}?{self.query}"

    @property
    def full(self) -> str:
        return f"{self.origin}{self.target}"

    @property
    def name(self) -> str:
        """The name of the file: the last segment of the path, decoded and made safe."""
        return safe_name(unquote(basename(self.path), errors="replace"))

    def __str__(self) -> str:
        return f"{self.origin}{self.path}{'' if self.query is None else '?…'}"

    def as_struct(self) -> dict[str, str]:
        return {"type": "url", "url": self.full}


def _require_no_step_up(path: str) -> None:
    """Raise ValueError if any common server could read an escaped path as one that leads up, or as shorter."""
    text = path.encode()
    for _ in range(_READINGS):
        text = unquote_to_bytes(text)
        if b"\0" in text:
            raise ValueError("must not contain the character NUL")
        if b".." in _segments(text):
            raise ValueError("must not contain '..'")


def _segments(path: bytes) -> set[bytes]:
    """Return the segments that the most lenient server would find."""
    for spelling, plain in _ODD_SPELLINGS:
        path = spelling.sub(plain, path)
    wide = normalize("NFKC", path.decode(errors="ignore")).encode()
    segments = re.split(rb"[/\\]", path) + re.split(rb"[/\\]", wide)
    return {_IGNORED.sub(b"", _AFTER_A_SEGMENT.split(each)[0]) for each in segments}


def safe_name(name: str) -> str:
    """Return the name as one safe path segment of 255 bytes at most; `download` if nothing is left."""
    kept = _UNSAFE_IN_A_NAME.sub("_", name).encode(errors="replace")[:MAX_NAME_BYTES].decode(errors="ignore")
    return NAMELESS if kept in ("", ".", "..") else kept


def without_query(text: str) -> str:
    """Return the text without its query, if it is a URL."""
    is_url = text.partition("://")[0] in DEFAULT_PORTS
    beginning, separator, _ = text.partition("?")
    return f"{beginning}?…" if is_url and separator else text
