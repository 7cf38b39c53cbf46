"""Connections to PostgreSQL that give up on a server that has stopped answering."""

import time
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen

T = TypeVar("T")

#: how long any one answer is waited for; a little longer than the server may take for a statement
ANSWER_TIMEOUT_SECONDS = 6.0
#: after a connection that did not come about in time, nobody else is kept waiting for one for so long
QUIET_SECONDS = 2.0


class PunctualConnection(psycopg.Connection[Any]):
    """A connection that is closed once an answer has not come in time.

    The server's own time-outs end statements that take too long; they do not help against a server that is stopped,
    or behind a network that has gone silent, and whose kernel still acknowledges what is sent.
    """

    #: a migration takes longer
    answer_timeout_seconds = ANSWER_TIMEOUT_SECONDS

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Raises OperationalError, and closes the connection, where there is no answer in time."""
        try:
            return super().wait(gen, interval, timeout or self.answer_timeout_seconds)
        except psycopg.OperationalError as error:
            if error.sqlstate is None:  # no word of the server's: none is to be expected on this connection any more
                self.close()
            raise


class Connector:
    """Connects for one engine. While the server is silent only the first callers wait, and the others are reported."""

    def __init__(self) -> None:
        self._quiet_until = 0.0

    def connect(self, dialect: Any, record: Any, arguments: Any, keywords: dict[str, Any]) -> PunctualConnection:
        """Listens to SQLAlchemy's `do_connect`. Raises OperationalError."""
        if time.monotonic() < self._quiet_until:
            raise psycopg.OperationalError("the server did not answer a moment ago")
        try:
            return PunctualConnection.connect(*arguments, **keywords)
        except psycopg.errors.ConnectionTimeout:
            self._quiet_until = time.monotonic() + QUIET_SECONDS
            raise
