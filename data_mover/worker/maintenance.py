"""Maintenance: probe unreachable hosts, and remove the temporary files of ended jobs."""

import logging
from collections.abc import Sequence

from sqlalchemy.orm import Session

from data_mover.backends.api import Files
from data_mover.config.registry import Registry
from data_mover.domain.errors import ConnectionLost, MoveFailure, Stalled, UnknownHost
from data_mover.domain.fault_points import reach
from data_mover.execution.connections import Connections
from data_mover.execution.connector import Connector
from data_mover.execution.heartbeat import Heartbeat, Patience, Watch
from data_mover.store import host_health, temporary_files
from data_mover.store.database import Database
from data_mover.store.host_health import Probe
from data_mover.store.temporary_files import RecordedTemporaryFile
from data_mover.transfer import TemporaryFile, clear

log = logging.getLogger(__name__)

#: how many files of a host are cleared at a time, and the delay before one that could not be cleared is tried again
AT_A_TIME = 20
WAIT_SECONDS = 300
#: how long one round of clearing may take
LONGEST_SECONDS = 60.0


def is_maintenance_due(database: Database) -> bool:
    """Whether a probe or clearing is due. Raises ServiceUnavailable if the database does not answer."""
    with database.reading() as session:
        return host_health.probe_due(session) or temporary_files.temporary_files_due(session)


def maintain(database: Database, registry: Registry, connector: Connector, heartbeat: Heartbeat) -> None:
    """Probe a host, or clear temporary files of one. Raises ServiceUnavailable if the database does not answer."""
    if not probe(database, registry, connector, heartbeat):
        clear_temporary_files(database, registry, connector, heartbeat)


def probe(database: Database, registry: Registry, connector: Connector, heartbeat: Heartbeat) -> bool:
    """Probe an unreachable host, if a probe is due.

    Returns whether one was due. Raises ServiceUnavailable if the database does not answer.
    """
    with database.reading() as session:
        due = host_health.probe_due(session)
    if not due:
        return False
    with database.writing() as session:
        claimed = host_health.take_probe(session, heartbeat.terms.lease_seconds)
    if claimed is not None:
        with heartbeat.keep(_RenewedProbe(claimed)):
            _probe(database, registry, connector, claimed.host)
    return claimed is not None


def clear_temporary_files(database: Database, registry: Registry, connector: Connector, heartbeat: Heartbeat) -> None:
    """Clear temporary files of a host that are due. Raises ServiceUnavailable if the database does not answer."""
    with database.reading() as session:
        due = temporary_files.temporary_files_due(session)
    if not due:
        return
    with database.writing() as session:
        claimed = temporary_files.claim_temporary_files(session, AT_A_TIME, WAIT_SECONDS)
    if claimed:
        _Clearing(database, registry, connector, heartbeat, claimed).run()


class _RenewedProbe:
    """A claimed probe. No other worker probes the host until it ends, or its lease expires. Two that do so nevertheless
    do no harm: each records what it has found."""

    def __init__(self, probe: Probe) -> None:
        self._probe: Probe | None = probe
        self.name = f"probe of {probe.host}"

    def renew(self, session: Session, lease_seconds: float) -> bool:
        if self._probe is not None:
            self._probe = host_health.renew_probe(session, self._probe, lease_seconds)
        return self._probe is not None

    def answered(self, is_mine: bool) -> None:
        pass


def _probe(database: Database, registry: Registry, connector: Connector, name: str) -> None:
    """Connect, and record the outcome. Closes the circuit of a host that has left the registry: its jobs then fail with
    the reason."""
    reach("probing")
    try:
        connector.require_disk(name, registry)
        connector.probe(name, registry)
    except UnknownHost as failure:
        with database.writing() as session:
            host_health.record_refused(session, name, failure)
    except MoveFailure:
        pass  # the connector has recorded it


class _Clearing:
    """Clears what was left on one host. It ends soon, whatever the host does: the rest is another round's."""

    def __init__(
        self,
        database: Database,
        registry: Registry,
        connector: Connector,
        heartbeat: Heartbeat,
        left: Sequence[RecordedTemporaryFile],
    ) -> None:
        self._database = database
        self._registry = registry
        self._connector = connector
        self._heartbeat = heartbeat
        self._left = left
        self._host = left[0].host
        self._connections = Connections(registry, connector)
        idle_seconds = Patience.of([self._host], registry).idle_seconds
        self._watch = Watch("clearing", idle_seconds, LONGEST_SECONDS, self._connections.abort, self._leave)

    def run(self) -> None:
        try:
            with self._heartbeat.watching(self._watch.look), self._connections:
                reach("clearing")
                self._connector.require_disk(self._host, self._registry)
                connected = self._connections.cleared(self._host)
                for temporary_file in self._left:
                    self._watch.alive()
                    self._clear(connected, temporary_file)
        except MoveFailure as failure:
            log.warning("temporary-files-stay host=%s files=%d %s", self._host, len(self._left), failure.reason)

    def _clear(self, connected: Files, recorded: RecordedTemporaryFile) -> None:
        """Clear a file; a failure is logged. An old file waits while a job has its final path. Raises ConnectionLost or
        Stalled."""
        goes_back = recorded.restores is not None
        if goes_back:
            with self._database.writing() as session:
                if not temporary_files.lock_final_path(session, recorded):
                    return
        failed: MoveFailure | None = None
        try:
            clear(connected, TemporaryFile(recorded.path, recorded.kind, recorded.restores), self._watch.alive)
        except MoveFailure as failure:
            failed = failure
        with self._database.writing() as session:
            if goes_back:
                temporary_files.unlock_final_path(session, recorded)
            if failed is None:
                temporary_files.forget_temporary_files(session, recorded.host, [recorded.path])
        if isinstance(failed, ConnectionLost | Stalled):
            raise failed
        if failed is not None:
            log.warning("temporary-file-stays job=%s %s", recorded.job_id, failed.reason)
            return
        log.info("temporary-file-cleared job=%s host=%s path=%s", recorded.job_id, recorded.host, recorded.path)

    def _leave(self) -> None:
        """Leave with this process, as an attempt that hangs does."""
        if self._connections.is_connecting:
            return
        try:
            self._connector.hangs([self._host], self._registry)
        finally:
            self._heartbeat.leave(f"clearing on {self._host}")
