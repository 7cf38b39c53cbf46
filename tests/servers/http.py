"""Sends raw bytes to a web server, and reads its answers."""

import socket
from contextlib import suppress
from dataclasses import dataclass
from http.client import parse_headers
from typing import BinaryIO
from xmlrpc.client import dumps

from tests.servers.processes import LOOPBACK

CHECK = dumps((999_999_999,), "check").encode()


@dataclass(frozen=True)
class Answer:
    """One HTTP answer."""

    status: int
    headers: dict[str, str]
    body: bytes


def call_request(body: bytes = CHECK, *headers: str, line: str = "POST /data_mover HTTP/1.1") -> bytes:
    """Return the bytes of an XML-RPC call."""
    head = [line, "Host: localhost", "Content-Type: text/xml", f"Content-Length: {len(body)}", *headers]
    return "\r\n".join(head).encode() + b"\r\n\r\n" + body


def answered(port: int, *pieces: bytes, timeout_seconds: float = 30, source: str = LOOPBACK) -> Answer | None:
    """The answer to the pieces, sent one after the other; None if the server closes without one."""
    with connected(port, timeout_seconds, source) as connection, connection.makefile("rb") as answers:
        with suppress(ConnectionError):  # refused while it was still being sent: the answer may be there already
            for piece in pieces:
                connection.sendall(piece)
        return next_answer(answers)


def connected(port: int, timeout_seconds: float = 30, source: str = LOOPBACK) -> socket.socket:
    """A connection that comes from this loopback address, like 127.0.0.2."""
    return socket.create_connection((LOOPBACK, port), timeout=timeout_seconds, source_address=(source, 0))


def next_answer(answers: BinaryIO) -> Answer | None:
    """The next of the answers that come over a connection, or None if it is closed."""
    try:
        status_line = answers.readline()
        if not status_line:
            return None
        status, headers = int(status_line.split()[1]), parse_headers(answers)
        if status == 100:
            return next_answer(answers)
        return Answer(status, dict(headers), answers.read(int(headers["Content-Length"])))
    except ConnectionError:
        return None
