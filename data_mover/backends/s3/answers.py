"""What a store may answer: so many bytes, so many elements, in so long, and no document type.

botocore reads answers whole and parses them with what expands entities: both happens only after this has agreed.
"""

import time
from collections.abc import Iterator
from typing import Any
from xml.parsers import expat

from botocore.awsrequest import AWSPreparedRequest, AWSResponse
from botocore.httpsession import URLLib3Session

from data_mover.domain.errors import HostFailed, Stalled

#: a thousand keys, which is what is asked for at most, escaped and with all that stores say of each
MOST_BYTES = 8 * 2**20
MOST_ELEMENTS = 50_000
#: stores keep a connection alive with spaces while they put a large object together
LONGEST_SECONDS = 900
_PIECE_BYTES = 2**16


class BoundedSession:
    """Sends what botocore has prepared, and lets through only answers within the bounds."""

    def __init__(self, host: str, session: URLLib3Session) -> None:
        self._host = host
        self._session = session

    def send(self, request: AWSPreparedRequest, **_: Any) -> AWSResponse:
        """For the event `before-send`, which takes the answer from here. HostFailed, Stalled."""
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
        """What may be parsed. Of a refusal that may not be, a proxy's page for example, the status says enough."""
        try:
            _require_plain(content)
        except ValueError as problem:
            if response.status_code >= 300:
                return b""
            raise HostFailed(f"{self._host}: an answer with {problem}") from problem
        return content


class _Read:
    """A body that has been read, for what wants to stream it."""

    def __init__(self, content: bytes) -> None:
        self._content = content

    def stream(self, *_: Any) -> Iterator[bytes]:
        yield self._content


def _require_plain(content: bytes) -> None:
    """ValueError where there is a document type or too much. Whether it is XML at all, the parser of answers finds."""
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
