"""Addresses of files on the web, as callers, the catalogue and web servers write them."""

import re
from dataclasses import dataclass
from posixpath import basename
from urllib.parse import unquote, unquote_to_bytes

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

MAX_URL_BYTES = 8192
MAX_NAME_BYTES = 255
#: of a file whose URL ends in a slash
NAMELESS = "download"

DEFAULT_PORTS = {"http": 80, "https": 443}

_SURROGATE = re.compile(r"[\ud800-\udfff]")
_UNSAFE_IN_A_NAME = re.compile(r"[/\x00-\x1f\x7f]")


@dataclass(frozen=True)
class Url:
    """A file on the web, spelt in one way: lower-case ASCII host without a dot at its end, escaped path and query.

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
        """Raises ValueError with a sentence that repeats nothing of the text, which may hold secrets."""
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
        if b".." in unquote_to_bytes(path).split(b"/"):
            raise ValueError("must not contain '..'")
        return cls(parts.scheme, host, parts.port or DEFAULT_PORTS[parts.scheme], path, parts.query)

    @property
    def authority(self) -> str:
        """Host and port as they stand in a URL, the usual port left out."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == DEFAULT_PORTS[self.scheme] else f"{host}:{self.port}"

    @property
    def origin(self) -> str:
        return f"{self.scheme}://{self.authority}"

    @property
    def target(self) -> str:
        """What is asked of the server: path and query."""
        return self.path if self.query is None else f"{self.path}?{self.query}"

    @property
    def full(self) -> str:
        return f"{self.origin}{self.target}"

    @property
    def name(self) -> str:
        """The name of the file: the last segment of the path, its escapes read and made safe."""
        return safe_name(unquote(basename(self.path), errors="replace"))

    def __str__(self) -> str:
        return f"{self.origin}{self.path}{'' if self.query is None else '?…'}"

    def as_struct(self) -> dict[str, str]:
        return {"type": "url", "url": self.full}


def safe_name(name: str) -> str:
    """The name as one path segment of 255 bytes at most, whoever has chosen it; `download` where nothing is left."""
    kept = _UNSAFE_IN_A_NAME.sub("_", name).encode(errors="replace")[:MAX_NAME_BYTES].decode(errors="ignore")
    return NAMELESS if kept in ("", ".", "..") else kept


def without_query(text: str) -> str:
    """Text that may be the full text of a Url, as it may be shown."""
    is_url = text.partition("://")[0] in DEFAULT_PORTS
    beginning, question_mark, _ = text.partition("?")
    return f"{beginning}?…" if is_url and question_mark else text
