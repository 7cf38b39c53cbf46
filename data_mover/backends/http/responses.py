"""The stat of a file from the answers of web servers."""

import re
from email.message import Message
from email.utils import parsedate_to_datetime
from http import HTTPStatus

from data_mover.backends.api import FileStat
from data_mover.backends.http.client import Response
from data_mover.domain.errors import Encoded, HostFailed, HttpRefused, SizeUnknown
from data_mover.domain.states import FileKind

#: the first time that SFTP cannot express
_END_OF_TIME = 2**32
_STRONG_ETAG = re.compile(r'"[!#-~]+"')
_CONTENT_RANGE = re.compile(r"bytes (\d{1,18})-(\d{1,18})/(\d{1,18}|\*)")


def stat_of(response: Response, name: str) -> FileStat:
    """Return the stat of a whole file. Raises HttpRefused if there is none, Encoded, or SizeUnknown if its end would
    look like a broken connection."""
    _require_status(response, name, HTTPStatus.OK)
    size_bytes = _length(response, name)
    if size_bytes is None and not response.chunked:
        raise SizeUnknown(f"{name}, nor where the file ends")
    return _stat(response, size_bytes)


def range_of(file_stat: FileStat, offset_bytes: int) -> dict[str, str]:
    """Return the headers of a request for the bytes from the offset on, if the file is still the same."""
    if offset_bytes == 0:
        return {}
    version = _exact_version(file_stat)
    return {"Range": f"bytes={offset_bytes}-", **({"If-Range": version} if version else {})}


def has_parts(file_stat: FileStat) -> bool:
    """Whether parts that are requested one after the other are certainly of the same version."""
    return file_stat.size_bytes is not None and _exact_version(file_stat) is not None


def continues(response: Response, file_stat: FileStat, offset_bytes: int, name: str) -> bool:
    """Whether the answer is of the same version: the rest from the offset on, or the whole file.

    Raises HttpRefused, Encoded, or HostFailed for another range or another length than that of the range.
    """
    if response.status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        return False
    if response.status != HTTPStatus.PARTIAL_CONTENT:
        return stat_of(response, name) == file_stat
    _require_status(response, name, HTTPStatus.PARTIAL_CONTENT)
    found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
    if found is None or int(found[1]) != offset_bytes or offset_bytes == 0:
        raise HostFailed(f"{name}: another range than was asked for")
    now = _stat(response, None if found[3] == "*" else int(found[3]))
    reported = (now.size_bytes, now.version, now.modified_at or file_stat.modified_at)
    if reported != (file_stat.size_bytes, file_stat.version, file_stat.modified_at):
        return False
    if _length(response, name) not in (None, int(found[2]) + 1 - offset_bytes):
        raise HostFailed(f"{name}: another length than that of the range")
    return True


def name_of(response: Response) -> str | None:
    """Return the name that the server gives the file, without a directory."""
    message = Message()
    message["Content-Disposition"] = text_of(response, "Content-Disposition") or ""
    name = message.get_filename()
    return re.split(r"[/\\]", name)[-1] if name else None


def text_of(response: Response, field: str) -> str | None:
    """Return the value of a header: the library decodes it as ISO 8859-1, whatever it is, and servers send UTF-8."""
    value = response.headers.get(field)
    try:
        return value and value.encode("latin-1").decode()
    except UnicodeError:
        return value


def _require_status(response: Response, name: str, expected: HTTPStatus) -> None:
    if response.status != expected:
        raise HttpRefused.of(response.status)(response.status, f"{name} is answered with {response.status}")
    for field, plain in (("Content-Encoding", "identity"), ("Transfer-Encoding", "chunked")):
        if response.headers.get(field, plain).strip().lower() != plain:
            raise Encoded(name)


def _length(response: Response, name: str) -> int | None:
    """Return the size, None if it is not reported. Raises HostFailed if it is reported in several ways, chunks
    included."""
    lengths = set(response.headers.getlist("Content-Length"))
    if lengths and response.chunked:
        raise HostFailed(f"{name}: it has a Content-Length, and comes in chunks")
    if len(lengths) > 1 or not all(re.fullmatch(r"\d{1,18}", each) for each in lengths):
        raise HostFailed(f"{name}: its Content-Length is no number")
    return int(lengths.pop()) if lengths else None


def _exact_version(file_stat: FileStat) -> str | None:
    """Return the strong ETag, None if there is none."""
    return file_stat.version if _STRONG_ETAG.fullmatch(file_stat.version or "") else None


def _stat(response: Response, size_bytes: int | None) -> FileStat:
    return FileStat(
        FileKind.FILE, size_bytes, time_of(response.headers.get("Last-Modified")), response.headers.get("ETag")
    )


def time_of(date: str | None) -> float | None:
    """Return the time, None if it is not reported or out of the range that every destination can set."""
    try:
        seconds = parsedate_to_datetime(date or "").timestamp()
    except (ValueError, OverflowError):
        return None
    return seconds if 0 <= seconds < _END_OF_TIME else None
