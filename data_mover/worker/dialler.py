"""Connecting to hosts, and putting on record how they answer."""

import logging
from contextlib import suppress

from data_mover.db import Database
from data_mover.errors import HostUnreachable, MoveFailure, ServiceUnavailable
from data_mover.job_queue import Bell
from data_mover.jobs import hosts
from data_mover.jobs.retries import Backoff
from data_mover.protocols import connect
from data_mover.protocols.base import Source
from data_mover.protocols.options import HostOptions

log = logging.getLogger(__name__)


class Dialler:
    """The only way in which a worker connects to a host: whoever waits for the host hears of what came of it."""

    def __init__(self, database: Database, backoff: Backoff, bell: Bell) -> None:
        self._database = database
        self._backoff = backoff
        self._bell = bell

    def connect(self, host: str, options: HostOptions) -> Source:
        """A connection to the host. HostUnreachable, which opens its circuit, HostKeyMismatch or LoginRefused."""
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
                hosts.record_unreachable(session, host, self._backoff)
            else:
                hosts.record_refused(session, host, failure.code)

    def _record_reached(self, host: str) -> None:
        """Whoever waited for the host may begin now."""
        with self._database.writing() as session:
            news = hosts.record_reached(session, host)
        if news:
            log.info("host-reached host=%s", host)
            self._bell.wake_all()
