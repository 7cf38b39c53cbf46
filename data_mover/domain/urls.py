"""URLs of files on the web, as callers, the catalogue and web servers write them."""

import re
import sys
from dataclasses import dataclass
from posixpath import basename
from unicodedata import category, normalize
from urllib.parse import unquote, unquote_to_bytes

from urllib3.exceptions import LocationParseError
from urllib3.util import parse_url

MAX_URL_BYTES = 8192
MAX_NAME_BYTES = 255
#: the name of a file whose URL ends in a slash
NAMELESS = "download"

DEFAULT_PORTS = {"http": 80, "https": 443}

#: what lenient servers decode as one character: UTF-8 of up to six bytes, however few would do, or a single byte
_BYTES_OF_A_CHARACTER = re.compile(
    "[\xc0-\xdf][\x80-\xbf]|[\xe0-\xef][\x80-\xbf]{2}|[\xf0-\xf7][\x80-\xbf]{3}"
    "|[\xf8-\xfb][\x80-\xbf]{4}|[\xfc\xfd][\x80-\xbf]{5}|[\x80-\xff]"
)
#: IIS's own escapes
_NUMBER_OF_A_CHARACTER = re.compile("%u([0-9a-f]{4})", re.IGNORECASE)
#: slash and backslash, and what some servers map to them: fraction slash, division slash, set minus
_SEPARATORS = re.compile("[/\\\\\u2044\u2215\u2216]")
#: how many servers in a row may decode escapes, each those that the one before has left
_READINGS = 4
#: categories of characters that some servers leave out: control, format, surrogates, and spaces of all kinds
_IGNORED = ("Cc", "Cf", "Cs", "Zs", "Zl", "Zp")

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
    raw = path.encode()
    for _ in range(_READINGS):
        raw = unquote_to_bytes(raw)
        text = _read_generously(raw)
        if "\0" in text:
            raise ValueError("must not contain the character NUL")
        for spelling in (text, normalize("NFKC", text)):
            if any(map(_is_step_up, _SEPARATORS.split(spelling))):
                raise ValueError("must not contain '..'")


def _read_generously(path: bytes) -> str:
    """Decode as servers do that accept invalid UTF-8, and leave out what they cannot decode."""
    text = _BYTES_OF_A_CHARACTER.sub(_character, path.decode("latin-1"))
    return _NUMBER_OF_A_CHARACTER.sub(lambda found: chr(int(found[1], 16)), text)


def _character(found: re.Match[str]) -> str:
    """Return the character of a sequence of bytes, nothing for a single byte."""
    first, *others = found[0].encode("latin-1")
    number = first & (0x7F >> len(found[0])) if others else sys.maxunicode + 1
    for byte in others:
        number = number << 6 | byte & 0x3F
    return chr(number) if number <= sys.maxunicode else ""


def _is_step_up(segment: str) -> bool:
    """Whether a server could read the segment as dots, with nothing behind them that is part of a name."""
    plain = "".join(each for each in segment if category(each) not in _IGNORED)
    return plain.startswith("..") and not plain.lstrip(".")[:1].isalnum()


def safe_name(name: str) -> str:
    """Return the name as one safe path segment of 255 bytes at most; `download` if nothing is left."""
    kept = _UNSAFE_IN_A_NAME.sub("_", name).encode(errors="replace")[:MAX_NAME_BYTES].decode(errors="ignore")
    return NAMELESS if kept in ("", ".", "..") else kept


def without_query(text: str) -> str:
    """Return the text without its query, if it is a URL."""
    is_url = text.partition("://")[0] in DEFAULT_PORTS
    beginning, separator, _ = text.partition("?")
    return f"{beginning}?…" if is_url and separator else text
