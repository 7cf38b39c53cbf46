"""What workers do for nobody in particular: they find out whether a host can be reached again, and clear what jobs that
have ended left on the hosts."""

import logging
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress

from data_mover.backends import writable
from data_mover.backends.api import Files, Kind
from data_mover.config.registry import Registry
from data_mover.config.settings import Settings
from data_mover.domain.errors import ConnectionLost, MoveFailure, ServiceUnavailable, Stalled, UnknownHost
from data_mover.domain.fault_points import reach
from data_mover.execution.connector import Dialler
from data_mover.store import host_health, temporary_files
from data_mover.store.database import Database
from data_mover.store.host_health import Probe
from data_mover.store.temporary_files import RecordedLeftover
from data_mover.transfer import Leftover, clear

log = logging.getLogger(__name__)

#: how many files are cleared at a time, and how long one that could not be cleared is left alone
AT_A_TIME = 20
WAIT_SECONDS = 300


def probe(settings: Settings, database: Database, registry: Registry, dialler: Dialler) -> bool:
    """Finds out whether a host can be reached again whose jobs wait for that, if there is one whose time has come.

    Whether there was one. Raises ServiceUnavailable where the database does not answer.
    """
    with database.reading() as session:
        due = host_health.probe_due(session)
    if not due:
        return False
    with database.writing() as session:
        taken = host_health.take_probe(session, _lease_ms(settings))
    if taken is not None:
        with _kept(settings, database, taken):
            _probe(database, registry, dialler, taken.host)
    return taken is not None


def clear_leftovers(database: Database, registry: Registry, dialler: Dialler) -> None:
    """Clears what is due, host by host. Raises ServiceUnavailable where the database does not answer."""
    with database.reading() as session:
        due = temporary_files.leftovers_due(session)
    if not due:
        return
    with database.writing() as session:
        taken = temporary_files.take_leftovers(session, AT_A_TIME, WAIT_SECONDS * 1000)
    for host in sorted({leftover.host for leftover in taken}):
        of_host = [leftover for leftover in taken if leftover.host == host]
        _clear_host(database, registry, dialler, host, of_host)


@contextmanager
def _kept(settings: Settings, database: Database, taken: Probe) -> Iterator[None]:
    """Nobody else tries to reach the host until the block ends, or a lease after this process has."""
    ended = threading.Event()
    beat = threading.Thread(target=_keep, args=(settings, database, taken, ended), name="probe", daemon=True)
    beat.start()
    try:
        yield
    finally:
        ended.set()
        beat.join()


def _keep(settings: Settings, database: Database, taken: Probe | None, ended: threading.Event) -> None:
    while taken is not None and not ended.wait(settings.beat_seconds):
        with suppress(ServiceUnavailable), database.writing() as session:
            taken = host_health.renew_probe(session, taken, _lease_ms(settings))


def _lease_ms(settings: Settings) -> int:
    return int(settings.lease_seconds * 1000)


def _probe(database: Database, registry: Registry, dialler: Dialler, name: str) -> None:
    """A host that has left the registry is not waited for: its jobs shall hear so."""
    options = registry.every_host.get(name)
    if options is None:
        with database.writing() as session:
            host_health.record_refused(session, name, UnknownHost.code)
        return
    reach("probing")
    with suppress(MoveFailure):  # the dialler has put it on record
        dialler.connect(name, options).close()


def _clear_host(
    database: Database, registry: Registry, dialler: Dialler, host: str, left: Sequence[RecordedLeftover]
) -> None:
    options = registry.every_host.get(host)
    if options is None:
        log.warning("leftovers-stay host=%s is no longer in the registry; %d files", host, len(left))
        return
    try:
        with dialler.connect(host, options) as connected:
            files_there = writable(connected)
            for leftover in left:
                _clear(database, files_there, leftover)
    except MoveFailure as failure:
        log.warning("leftovers-stay host=%s %s", host, failure.reason)


def _clear(database: Database, connected: Files, leftover: RecordedLeftover) -> None:
    """One that cannot be cleared keeps no other from being tried. Raises what says that the connection is gone."""
    try:
        clear(connected, Leftover(leftover.path, Kind(leftover.kind.value), leftover.restores))
    except (ConnectionLost, Stalled):
        raise
    except MoveFailure as failure:
        log.warning("leftover-stays job=%s %s", leftover.job_id, failure.reason)
        return
    with database.writing() as session:
        temporary_files.forget_leftover(session, leftover.host, leftover.path)
    log.info("leftover-cleared job=%s host=%s path=%s", leftover.job_id, leftover.host, leftover.path)
