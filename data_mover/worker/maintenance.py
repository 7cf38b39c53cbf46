"""Maintenance: probe unreachable hosts, and remove the temporary files of ended jobs."""

import logging
from collections.abc import Sequence

from sqlalchemy.orm import Session

from data_mover.backends import writable
from data_mover.backends.api import Files
from data_mover.backends.local.mount import answers
from data_mover.backends.local.options import LocalOptions
from data_mover.config.registry import Registry
from data_mover.domain.errors import ConnectionLost, HostUnreachable, MoveFailure, Stalled, UnknownHost
from data_mover.domain.fault_points import reach
from data_mover.execution.connector import Connector
from data_mover.execution.heartbeat import Heartbeat
from data_mover.store import host_health, temporary_files
from data_mover.store.database import Database
from data_mover.store.host_health import Probe
from data_mover.store.temporary_files import RecordedTemporaryFile
from data_mover.transfer import TemporaryFile, clear

log = logging.getLogger(__name__)

#: how many files are cleared at a time, and the delay before one that could not be cleared is tried again
AT_A_TIME = 20
WAIT_SECONDS = 300


def probe(database: Database, registry: Registry, connector: Connector, heartbeat: Heartbeat) -> bool:
    """Probe an unreachable host, if a probe is due.

    Returns whether one was due. Raises ServiceUnavailable if the database does not answer.
    """
    with database.reading() as session:
        due = host_health.probe_due(session)
    if not due:
        return False
    with database.writing() as session:
        claimed = host_health.take_probe(session, heartbeat.terms.lease_ms)
    if claimed is not None:
        with heartbeat.keep(_RenewedProbe(claimed)):
            _probe(database, registry, connector, claimed.host)
    return claimed is not None


def clear_temporary_files(database: Database, registry: Registry, connector: Connector) -> None:
    """Clear the temporary files that are due, host by host. Raises ServiceUnavailable if the database does not
    answer."""
    with database.reading() as session:
        due = temporary_files.temporary_files_due(session)
    if not due:
        return
    with database.writing() as session:
        claimed = temporary_files.claim_temporary_files(session, AT_A_TIME, WAIT_SECONDS * 1000)
    for host in sorted({temporary_file.host for temporary_file in claimed}):
        of_host = [temporary_file for temporary_file in claimed if temporary_file.host == host]
        _clear_host(database, registry, connector, host, of_host)


class _RenewedProbe:
    """A claimed probe. No other worker probes the host until it ends, or its lease expires. Two that do so nevertheless
    do no harm: each records what it has found."""

    def __init__(self, probe: Probe) -> None:
        self._probe: Probe | None = probe
        self.name = f"probe of {probe.host}"

    def renew(self, session: Session, lease_ms: int) -> bool:
        if self._probe is not None:
            self._probe = host_health.renew_probe(session, self._probe, lease_ms)
        return self._probe is not None

    def answered(self, is_mine: bool) -> None:
        pass


def _probe(database: Database, registry: Registry, connector: Connector, name: str) -> None:
    """Connect, and record the outcome. Closes the circuit of a host that has left the registry: its jobs then fail with
    the reason."""
    reach("probing")
    options = registry.every_host.get(name)
    if isinstance(options, LocalOptions) and not answers(options.root, options.connect_timeout_seconds):
        connector.failed(name, HostUnreachable(f"{name}: its file system does not answer"))
        return
    try:
        connector.connect(name, registry).close()
    except UnknownHost as failure:
        with database.writing() as session:
            host_health.record_refused(session, name, failure)
    except MoveFailure:
        pass  # the connector has recorded it


def _clear_host(
    database: Database, registry: Registry, connector: Connector, host: str, left: Sequence[RecordedTemporaryFile]
) -> None:
    try:
        with connector.connect(host, registry) as connected:
            files_there = writable(connected)
            for temporary_file in left:
                _clear(database, files_there, temporary_file)
    except MoveFailure as failure:
        log.warning("temporary-files-stay host=%s files=%d %s", host, len(left), failure.reason)


def _clear(database: Database, connected: Files, temporary_file: RecordedTemporaryFile) -> None:
    """Clear a file; a failure is logged. An old file waits while a job has its final path. Raises ConnectionLost or
    Stalled."""
    goes_back = temporary_file.restores is not None
    if goes_back:
        with database.writing() as session:
            if not temporary_files.lock_final_path(session, temporary_file):
                return
    failed: MoveFailure | None = None
    try:
        clear(connected, TemporaryFile(temporary_file.path, temporary_file.kind, temporary_file.restores))
    except MoveFailure as failure:
        failed = failure
    with database.writing() as session:
        if goes_back:
            temporary_files.unlock_final_path(session, temporary_file)
        if failed is None:
            temporary_files.forget_temporary_files(session, temporary_file.host, [temporary_file.path])
    if isinstance(failed, ConnectionLost | Stalled):
        raise failed
    if failed is not None:
        log.warning("temporary-file-stays job=%s %s", temporary_file.job_id, failed.reason)
        return
    log.info(
        "temporary-file-cleared job=%s host=%s path=%s", temporary_file.job_id, temporary_file.host, temporary_file.path
    )
