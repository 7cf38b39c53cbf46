"""The connections of the server: how many there may be, and how long each may take for a request.

Waitress bounds how long a connection is silent, not how long a request takes to arrive, and accepts no connection when
it has too many. A thousand clients that send a byte now and then would shut out all others.
"""

import logging
import math
import socket
import time
from collections.abc import Iterable
from contextlib import suppress
from typing import Any

from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.task import WSGITask

log = logging.getLogger(__name__)

TIMED_OUT = b"HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
#: the key under which a request has the address that it came from, which behind a proxy is the proxy's own
PEER = "data_mover.peer"
#: the shortest interval between two log lines about the same crowd
LOG_SECONDS = 60.0


class Crowd:
    """Closes the connection that has waited longest for a request, if there are too many."""

    def __init__(self, most: int, most_of_an_address: int, request_seconds: float) -> None:
        """`request_seconds` is the most time from a connection, or its last answer, to the next complete request."""
        self.request_seconds = request_seconds
        self._most = most
        self._most_of_an_address = most_of_an_address
        self._log_from: dict[str, float] = {}

    def admit(self, newcomer: "TimedChannel", others: Iterable["TimedChannel"]) -> None:
        """Make room for the newcomer. A connection that is being served is never closed."""
        present = list(others)
        neighbours = [each for each in present if each.address is not None and each.address == newcomer.address]
        if len(neighbours) >= self._most_of_an_address:
            self._close_one(neighbours, newcomer, f"{self._most_of_an_address} connections from {newcomer.address}")
        elif len(present) >= self._most:
            self._close_one(present, newcomer, f"{self._most} connections")

    def _close_one(self, present: list["TimedChannel"], newcomer: "TimedChannel", crowd: str) -> None:
        now = time.monotonic()
        longest = max(present, key=lambda each: each.waited_seconds(now))
        (longest if longest.waited_seconds(now) > 0 else newcomer).handle_close()
        self._log_from = {each: time for each, time in self._log_from.items() if time > now}
        if crowd not in self._log_from:
            self._log_from[crowd] = now + LOG_SECONDS
            log.warning("crowded more than %s: the one that has waited longest for a request gives way", crowd)


class _Parser(HTTPRequestParser):
    """A request of which waitress always finds the path, which it logs if the client of a broken one has gone."""

    path = ""


class _Task(WSGITask):
    """A request that says where its connection comes from: waitress puts what a trusted proxy says in its stead."""

    def get_environment(self) -> dict[str, Any]:
        environ: dict[str, Any] = super().get_environment()
        environ[PEER] = self.channel.addr[0]
        return environ


class TimedChannel(HTTPChannel):
    """A connection whose requests have to arrive in time."""

    parser_class = _Parser
    task_class = _Task
    crowd: Crowd

    def __init__(self, server: Any, sock: socket.socket, addr: Any, adj: Any, map: dict[int, Any]) -> None:
        self._waiting_since = self._answered_at = time.monotonic()
        #: the client's address; None over a Unix socket
        self.address = None if sock.family == socket.AF_UNIX else addr[0]
        super().__init__(server, sock, addr, adj, map=map)
        self.crowd.admit(self, [each for each in map.values() if isinstance(each, TimedChannel) and each is not self])

    def waited_seconds(self, now: float) -> float:
        """Return how long it has waited for a complete request; 0 while it is being served."""
        return 0.0 if self.requests else max(0.0, now - self._waiting_since)

    def readable(self) -> bool:
        """Close the connection if its request is overdue; the server calls this in each turn of its loop."""
        if self.connected and self.waited_seconds(time.monotonic()) > self.crowd.request_seconds:
            if self.socket is not None:
                with suppress(OSError):
                    self.socket.send(TIMED_OUT)
            self.handle_close()
        return self.connected and bool(super().readable())

    def writable(self) -> bool:
        return self.connected and bool(super().writable())

    def write_soon(self, data: Any) -> int:
        self._answered_at = time.monotonic()
        return int(super().write_soon(data))

    def service(self) -> None:
        """Serve what has arrived. The client waits for nothing since its answer, however late this thread continues."""
        self._waiting_since, self._answered_at = math.inf, time.monotonic()
        try:
            super().service()
        finally:
            self._waiting_since = self._answered_at
