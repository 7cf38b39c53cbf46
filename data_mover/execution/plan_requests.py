"""Answering what callers want to know of a move before they ask for it."""

import logging
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from data_mover.config.registry import Registry
from data_mover.config.settings import Settings
from data_mover.domain.errors import (
    AttemptEnded,
    DataMoverError,
    Fenced,
    HostUnreachable,
    InternalError,
    MoveFailure,
    ServiceUnavailable,
    Stopped,
)
from data_mover.domain.fault_points import reach
from data_mover.domain.states import Phase
from data_mover.execution.connections import Connections
from data_mover.execution.connector import Connector
from data_mover.execution.dry_run import Preview
from data_mover.execution.stop import Stop
from data_mover.store import figures, host_health, plan_requests
from data_mover.store.database import Database
from data_mover.store.plan_requests import PlanClaim, PlanReport

log = logging.getLogger(__name__)

#: how often it is written down how far the answer is
TELL_SECONDS = 1.0


def answer_question(
    settings: Settings, database: Database, registry: Registry, connector: Connector, stop: Stop
) -> None:
    """Answers the question that has waited longest, if there is one. Raises ServiceUnavailable where the database does
    not answer."""
    with database.reading() as session:
        if not plan_requests.waiting(session):
            return
    lease_ms = int(settings.lease_seconds * 1000)
    with database.writing() as session:
        taken = plan_requests.take(session, lease_ms)
    if taken is not None:
        log.info("question-taken %d %s", taken.id, taken.wanted.route)
        with Connections(registry, connector) as connections:
            _Answer(database, taken, lease_ms, stop, connections).give()


class _Answer:
    """One question in the hands of this worker."""

    def __init__(
        self, database: Database, taken: PlanClaim, lease_ms: int, stop: Stop, connections: Connections
    ) -> None:
        self._database = database
        self._taken = taken
        self._wanted = taken.wanted
        self._lease_ms = lease_ms
        self._stop = stop
        self._connections = connections
        self._report = PlanReport(phase=Phase.RESOLVING)
        #: why it is not to be answered, at least not by this worker
        self._lost: AttemptEnded | None = None
        self._ended = threading.Event()

    def give(self) -> None:
        reach("answering")
        try:
            if not self._is_blocked():
                with self._kept():
                    self._look()
            self._complete()
        except Stopped:
            with self._database.writing() as session:
                plan_requests.hand_back(session, self._taken)
        except Fenced:
            log.info("question-dropped %d", self._taken.id)

    def _look(self) -> None:
        """Stopped, or Fenced if nobody wants to know any more."""
        try:
            Preview(self._wanted, self._connections, self._report, self._alive).look()
        except MoveFailure as failure:
            self._alive()
            self._report.expect(failure.code, failure.reason)
            if isinstance(failure, HostUnreachable):
                self._report.phase = Phase.BLOCKED
        except DataMoverError:
            raise
        except Exception:
            log.exception("question-broke %d", self._taken.id)
            self._report.expect(InternalError.code, InternalError.sentence())

    def _complete(self) -> None:
        self._report.complete = True
        if self._report.phase is Phase.RESOLVING:
            self._report.phase = None
        self._tell()
        self._alive()
        log.info("question-answered %d", self._taken.id)

    def _is_blocked(self) -> bool:
        """Whether the move would have to wait for one of its hosts."""
        with self._database.reading() as session:
            blocks = host_health.blocks(session)
            self._report.bytes_reserved = figures.bytes_reserved_on(session, self._wanted.destination.host)
        block = next((blocks[name] for name in sorted(self._wanted.host_names) if name in blocks), None)
        if block is not None:
            self._report.phase = Phase.BLOCKED
            self._report.expect(block.code, block.reason)
        return block is not None

    @contextmanager
    def _kept(self) -> Iterator[None]:
        """Until the block ends it is told every second how far the answer is, whatever the hosts do; a host that does
        nothing is not waited for once that is in vain."""
        beat = threading.Thread(target=self._beat, name="question", daemon=True)
        beat.start()
        try:
            yield
        finally:
            self._ended.set()
            beat.join()

    def _beat(self) -> None:
        while self._lost is None and not self._ended.wait(TELL_SECONDS):
            if self._stop.is_asked():
                self._lost = Stopped()
            else:
                with suppress(ServiceUnavailable):
                    self._tell()
        if self._lost is not None:
            self._connections.abort()

    def _tell(self) -> None:
        with self._database.writing() as session:
            if not plan_requests.tell(session, self._taken, self._report, self._lease_ms):
                self._lost = Fenced()

    def _alive(self) -> None:
        if self._lost is not None:
            raise self._lost
