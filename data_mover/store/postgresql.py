"""Connections to PostgreSQL that give up on a server that has stopped answering."""

import time
from typing import Any, TypeVar

import psycopg
from psycopg.abc import PQGen

T = TypeVar("T")

#: time-out of each answer; a little longer than that of the server for a statement
ANSWER_TIMEOUT_SECONDS = 6.0
#: how long connecting fails at once after it has timed out
QUIET_SECONDS = 2.0


class PunctualConnection(psycopg.Connection[Any]):
    """A connection that is closed if an answer does not arrive in time.

    The server's own time-outs end slow statements; they do not help against a stopped server whose kernel still
    acknowledges packets, nor against a silent network.
    """

    #: a migration takes longer
    answer_timeout_seconds = ANSWER_TIMEOUT_SECONDS

    def wait(self, gen: PQGen[T], interval: float = 0.1, timeout: float | None = None) -> T:
        """Wait for an answer. Raises OperationalError, and closes the connection, if none arrives in time."""
        try:
            return super().wait(gen, interval, timeout or self.answer_timeout_seconds)
        except psycopg.OperationalError as error:
            if error.sqlstate is None:  # not from the server: no answer can be expected on this connection any more
                self.close()
            raise


class Connector:
    """Connects for one engine. While the server is silent, only the first callers wait; the others fail at once."""

    def __init__(self) -> None:
        self._quiet_until = 0.0

    def connect(self, dialect: Any, record: Any, arguments: Any, keywords: dict[str, Any]) -> PunctualConnection:
        """Handle SQLAlchemy's event `do_connect`. Raises OperationalError."""
        if time.monotonic() < self._quiet_until:
            raise psycopg.OperationalError("the server did not answer a moment ago")
        try:
            return PunctualConnection.connect(*arguments, **keywords)
        except psycopg.errors.ConnectionTimeout:
            self._quiet_until = time.monotonic() + QUIET_SECONDS
            raise
