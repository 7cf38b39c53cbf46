"""Connect to hosts, and record whether they can be reached."""

import logging
import threading
import time
from collections.abc import Iterable
from contextlib import suppress

from data_mover.backends import connect
from data_mover.backends.api import Source
from data_mover.backends.local.mount import answers
from data_mover.backends.local.options import LocalOptions
from data_mover.backends.options import HostOptions
from data_mover.config.registry import MISSED_IN_REGISTRY, PROBLEM_IN_REGISTRY, Registry
from data_mover.domain.backoff import Backoff
from data_mover.domain.errors import HostUnreachable, MoveFailure, ServiceUnavailable, UnknownHost
from data_mover.doorbell import Doorbell
from data_mover.store import host_health
from data_mover.store.database import Database

log = logging.getLogger(__name__)

#: how long the record that a host was reached is not repeated
REACHED_SECONDS = 10.0


class Connector:
    """The only way in which a worker connects to a host: records the outcome in the host's health."""

    def __init__(self, database: Database, backoff: Backoff, doorbell: Doorbell) -> None:
        self._database = database
        self._backoff = backoff
        self._doorbell = doorbell
        self._kept: list[tuple[str, Source]] = []
        self._changing = threading.Lock()
        #: until when it is on record that a host was reached
        self._reached_until = dict[str, float]()

    def connect(self, host: str, registry: Registry) -> Source:
        """Return a connection to the host, one that was kept if there is any. Raises UnknownHost, HostUnreachable,
        which opens its circuit, HostKeyMismatch or LoginRefused."""
        return self._taken(host, registry) or self._made(host, registry)

    def probe(self, host: str, registry: Registry) -> None:
        """Log in, and out again. Raises what `connect` does. That the host was reached is recorded in any case: another
        worker may have failed to since this one did it last."""
        self._reached_until.pop(host, None)
        self._made(host, registry).close()

    def keep(self, host: str, connection: Source) -> bool:
        """Keep a connection for the next job of this worker, if that may be. Return whether it is kept: not where the
        host takes one job at a time, for the next one may be another worker's."""
        may = connection.options.max_transfers > 1 and connection.serves_again()
        if may:
            with self._changing:
                self._kept.append((host, connection))
        return may

    def give_up(self, *but: str) -> None:
        """Close the kept connections, except those to the hosts of the next job."""
        with self._changing:
            closing = [connection for host, connection in self._kept if host not in but]
            self._kept = [(host, connection) for host, connection in self._kept if host in but]
        for connection in closing:
            connection.close()

    def failed(self, host: str, failure: MoveFailure) -> None:
        """Log and record that a connection failed."""
        log.warning("host-failed host=%s code=%s %s", host, failure.code, failure.reason)
        with suppress(ServiceUnavailable):
            self._record_failure(host, failure)

    def require_disk(self, host: str, registry: Registry) -> None:
        """Raise HostUnreachable, which opens its circuit, if the host is a disk of this machine that does not answer:
        whoever touched it would hang."""
        options = registry.every_host.get(host)
        if isinstance(options, LocalOptions) and not answers(options.root, options.connect_timeout_seconds):
            self.hangs([host], registry)
            raise HostUnreachable(f"{host}: its file system does not answer")

    def hangs(self, hosts: Iterable[str], registry: Registry) -> None:
        """Somebody hangs in the kernel who uses these hosts: the disks of this machine among them count as out of
        reach."""
        for host in hosts:
            if isinstance(registry.every_host.get(host), LocalOptions):
                self.failed(host, HostUnreachable(f"{host}: its file system does not answer"))

    def _taken(self, host: str, registry: Registry) -> Source | None:
        """Return a kept connection that still works, unless the registry has another entry for the host now."""
        with self._changing:
            found = next((kept for kept in self._kept if kept[0] == host), None)
            if found is None:
                return None
            self._kept.remove(found)
        connection = found[1]
        if connection.options == registry.every_host.get(host) and connection.serves_again():
            return connection
        connection.close()
        return None

    def _made(self, host: str, registry: Registry) -> Source:
        try:
            made = connect(host, _options(host, registry))
        except UnknownHost:
            raise
        except MoveFailure as failure:
            self.failed(host, failure)
            raise
        with suppress(ServiceUnavailable):
            self._record_reached(host)
        return made

    def _record_failure(self, host: str, failure: MoveFailure) -> None:
        self._reached_until.pop(host, None)
        with self._database.writing() as session:
            if isinstance(failure, HostUnreachable):
                host_health.record_unreachable(session, host, failure, self._backoff)
            else:
                host_health.record_refused(session, host, failure)

    def _record_reached(self, host: str) -> None:
        """Wake the workers if jobs waited for the host."""
        now = time.monotonic()
        if now < self._reached_until.get(host, now):
            return
        with self._database.writing() as session:
            news = host_health.record_reached(session, host)
        self._reached_until[host] = now + REACHED_SECONDS
        if news:
            log.info("host-reached host=%s", host)
            self._doorbell.notify_all_workers()


def _options(host: str, registry: Registry) -> HostOptions:
    """Return the options. Raises UnknownHost for an unregistered host, and HostUnreachable if its entry has a problem
    or has just left the registry."""
    if host in registry.refused_hosts:
        raise HostUnreachable(f"{host}: {PROBLEM_IN_REGISTRY}")
    if host in registry.missed_hosts:
        raise HostUnreachable(f"{host}: {MISSED_IN_REGISTRY}")
    options = registry.every_host.get(host)
    if options is None:
        raise UnknownHost(host)
    return options
