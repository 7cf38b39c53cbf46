"""Connect to hosts, and record how they answer."""

import logging
from contextlib import suppress

from data_mover.backends import connect
from data_mover.backends.api import Source
from data_mover.backends.options import HostOptions
from data_mover.domain.backoff import Backoff
from data_mover.domain.errors import HostUnreachable, MoveFailure, ServiceUnavailable
from data_mover.doorbell import Doorbell
from data_mover.store import host_health
from data_mover.store.database import Database

log = logging.getLogger(__name__)


class Connector:
    """The only way in which a worker connects to a host: records the outcome in the host's health."""

    def __init__(self, database: Database, backoff: Backoff, doorbell: Doorbell) -> None:
        self._database = database
        self._backoff = backoff
        self._doorbell = doorbell

    def connect(self, host: str, options: HostOptions) -> Source:
        """Return a connection to the host. Raises HostUnreachable, which opens its circuit, HostKeyMismatch or
        LoginRefused."""
        try:
            connected = connect(host, options)
        except MoveFailure as failure:
            log.warning("host-failed host=%s code=%s %s", host, failure.code, failure.reason)
            with suppress(ServiceUnavailable):
                self._record_failure(host, failure)
            raise
        with suppress(ServiceUnavailable):
            self._record_reached(host)
        return connected

    def _record_failure(self, host: str, failure: MoveFailure) -> None:
        with self._database.writing() as session:
            if isinstance(failure, HostUnreachable):
                host_health.record_unreachable(session, host, self._backoff)
            else:
                host_health.record_refused(session, host, failure.code)

    def _record_reached(self, host: str) -> None:
        """Wake the workers if jobs waited for the host."""
        with self._database.writing() as session:
            news = host_health.record_reached(session, host)
        if news:
            log.info("host-reached host=%s", host)
            self._doorbell.notify_all_workers()
