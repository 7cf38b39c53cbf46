"""What workers do for nobody: they clear what jobs that have ended left on the hosts, once those answer."""

import logging
from collections.abc import Sequence

from data_mover.db import Database
from data_mover.errors import ConnectionLost, MoveFailure, Stalled
from data_mover.jobs import files
from data_mover.jobs.files import RecordedLeftover
from data_mover.protocols import connect
from data_mover.protocols.base import Files
from data_mover.registry import Registry
from data_mover.transfer import Leftover, clear

log = logging.getLogger(__name__)

#: how many files are cleared at a time, and how long one that could not be cleared is left alone
AT_A_TIME = 20
WAIT_SECONDS = 300


def clear_leftovers(database: Database, registry: Registry) -> None:
    """Clears what is due, host by host. Raises ServiceUnavailable where the database does not answer."""
    with database.reading() as session:
        due = files.leftovers_due(session)
    if not due:
        return
    with database.writing() as session:
        leftovers = files.take_leftovers(session, AT_A_TIME, WAIT_SECONDS * 1000)
    for host in sorted({leftover.host for leftover in leftovers}):
        _clear_host(database, registry, host, [leftover for leftover in leftovers if leftover.host == host])


def _clear_host(database: Database, registry: Registry, host: str, leftovers: Sequence[RecordedLeftover]) -> None:
    options = registry.hosts.get(host)
    if options is None:
        log.warning("leftovers-stay host=%s is no longer in the registry; %d files", host, len(leftovers))
        return
    try:
        with connect(host, options) as connected:
            for leftover in leftovers:
                _clear(database, connected, leftover)
    except MoveFailure as failure:
        log.warning("leftovers-stay host=%s %s", host, failure.reason)


def _clear(database: Database, connected: Files, leftover: RecordedLeftover) -> None:
    """One that cannot be cleared keeps no other from being tried. Raises what says that the connection is gone."""
    try:
        clear(connected, Leftover(leftover.path, leftover.restores))
    except (ConnectionLost, Stalled):
        raise
    except MoveFailure as failure:
        log.warning("leftover-stays job=%s %s", leftover.job_id, failure.reason)
        return
    with database.writing() as session:
        files.forget_leftover(session, leftover.host, leftover.path)
    log.info("leftover-cleared job=%s host=%s path=%s", leftover.job_id, leftover.host, leftover.path)
