"""Bounds of a store's answers: bytes, elements, duration, and no document type.

botocore reads answers whole, and its parser expands entities: both happens only after these checks.
"""

import time
from collections.abc import Iterator
from typing import Any
from xml.parsers import expat

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.httpsession import URLLib3Session

from data_mover.domain.errors import HostFailed, Stalled

#: enough for a thousand keys, the most in one answer, escaped and with all their properties
MOST_BYTES = 8 * 2**20
MOST_ELEMENTS = 50_000
#: stores keep a connection alive with spaces while they assemble a large object
LONGEST_SECONDS = 900
_PIECE_BYTES = 2**16


class BoundedSession:
    """Sends botocore's requests, and returns only answers within the bounds."""

    def __init__(self, host: str, session: URLLib3Session) -> None:
        self._host = host
        self._session = session

    def send(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        """Handle the event `before-send`; return the answer for botocore. Raises HostFailed or Stalled."""
        is_file, request.stream_output = request.stream_output, True
        response = self._session.send(request)
        if is_file and response.status_code < 300:
            return response
        content = b"".join(self._pieces(response.raw))
        return AWSResponse(response.url, response.status_code, response.headers, _Read(self._judged(response, content)))

    def close(self) -> None:
        self._session.close()

    def _pieces(self, raw: Any) -> Iterator[bytes]:
        read_bytes, until = 0, time.monotonic() + LONGEST_SECONDS
        for piece in raw.stream(_PIECE_BYTES):
            read_bytes += len(piece)
            if read_bytes > MOST_BYTES:
                raw.close()
                raise HostFailed(f"{self._host}: an answer of more than {MOST_BYTES} bytes")
            if time.monotonic() > until:
                raw.close()
                raise Stalled(f"{self._host}: an answer that takes more than {LONGEST_SECONDS} s")
            yield piece

    def _judged(self, response: AWSResponse, content: bytes) -> bytes:
        """Return what may be parsed: nothing of a refusal that must not be, such as a proxy's page, since its status is
        enough."""
        try:
            _require_plain(content)
        except ValueError as problem:
            if response.status_code >= 300:
                return b""
            raise HostFailed(f"{self._host}: an answer with {problem}") from problem
        return content


class _Read:
    """A body that has been read, in the form of a stream."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, *_: Any) -> Iterator[bytes]:
        yield self._content


def _require_plain(content: bytes) -> None:
    """Raise ValueError for a document type or too many elements. Text that is no XML is left to botocore's parser."""
    counter = _Counter()
    parser = expat.ParserCreate("utf-8")
    parser.StartDoctypeDeclHandler = _refuse
    parser.StartElementHandler = counter.count
    try:
        parser.Parse(content, True)
    except expat.ExpatError:
        return


class _Counter:
    """Counts the elements of an answer."""

    def __init__(self) -> None:
        self._elements = 0

    def count(self, *_: Any) -> None:
        self._elements += 1
        if self._elements > MOST_ELEMENTS:
            raise ValueError(f"more than {MOST_ELEMENTS} elements")


def _refuse(*_: Any) -> None:
    raise ValueError("a document type")
