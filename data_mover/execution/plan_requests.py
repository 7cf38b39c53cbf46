"""Answer `plan`: a worker does the dry run of a move, since only workers connect to hosts."""

import logging
import time

from sqlalchemy.orm import Session

from data_mover.config.registry import Registry
from data_mover.domain.errors import (
    AttemptEnded,
    DataMoverError,
    Fenced,
    HostUnreachable,
    InternalError,
    MoveFailure,
    Stalled,
    Stopped,
)
from data_mover.domain.fault_points import reach
from data_mover.domain.states import Phase
from data_mover.execution.connections import Connections
from data_mover.execution.connector import Connector
from data_mover.execution.dry_run import DryRun
from data_mover.execution.heartbeat import Heartbeat
from data_mover.store import figures, host_health, plan_requests
from data_mover.store.database import Database
from data_mover.store.plan_requests import PlanClaim, PlanReport

log = logging.getLogger(__name__)

#: a plan that takes longer is given up, and answered with the reason
LONGEST_SECONDS = 600.0


def is_plan_requested(database: Database) -> bool:
    """Whether a plan request is waiting. Raises ServiceUnavailable if the database does not answer."""
    with database.reading() as session:
        return plan_requests.waiting(session)


def answer_plan_request(
    database: Database, registry: Registry, connector: Connector, heartbeat: Heartbeat, most_files: int
) -> None:
    """Answer the plan request that is next, if there is one. Raises ServiceUnavailable if the database does
    not answer."""
    with database.writing() as session:
        claim = plan_requests.take(session, heartbeat.terms.lease_ms)
    if claim is not None:
        log.info("plan-begun plan=%d %s", claim.id, claim.spec.route)
        with Connections(registry, connector) as connections:
            _Answer(database, claim, heartbeat, connections, most_files).give()


class _Answer:
    """A claimed plan request."""

    def __init__(
        self,
        database: Database,
        claim: PlanClaim,
        heartbeat: Heartbeat,
        connections: Connections,
        most_files: int,
    ) -> None:
        self.name = f"plan {claim.id}"
        self._database = database
        self._claim = claim
        self._spec = claim.spec
        self._heartbeat = heartbeat
        self._connections = connections
        self._most_files = most_files
        self._report = PlanReport(phase=Phase.RESOLVING)
        self._is_overdue = False
        #: why this worker must not answer it
        self._lost: AttemptEnded | None = None
        self._ends_at = time.monotonic() + LONGEST_SECONDS

    def give(self) -> None:
        reach("answering")
        try:
            if not self._is_blocked():
                with self._heartbeat.keep(self):
                    self._look()
            self._complete()
        except Stopped:
            with self._database.writing() as session:
                plan_requests.hand_back(session, self._claim)
        except Fenced:
            log.info("plan-dropped plan=%d", self._claim.id)

    def renew(self, session: Session, lease_ms: int) -> bool:
        """Report progress."""
        return plan_requests.report_progress(session, self._claim, self._report, lease_ms)

    def answered(self, is_mine: bool) -> None:
        """End the connections once nobody waits for the answer."""
        self._is_overdue = time.monotonic() > self._ends_at
        if self._heartbeat.stop.is_asked():
            self._lost = Stopped()
        elif not is_mine:
            self._lost = Fenced()
        if self._is_overdue or self._lost is not None:
            self._connections.abort()

    def _look(self) -> None:
        """Do the dry run. Raises Stopped, or Fenced if the request is no longer this worker's."""
        try:
            DryRun(self._spec, self._connections, self._report, self._most_files, self._alive).look()
        except MoveFailure as failure:
            if self._lost is not None:
                raise self._lost from failure
            self._expect(Stalled(f"the plan took {LONGEST_SECONDS:g} s") if self._is_overdue else failure)
        except DataMoverError:
            raise
        except Exception:
            log.exception("plan-broke plan=%d", self._claim.id)
            self._report.expect(InternalError.code, InternalError.sentence())

    def _expect(self, failure: MoveFailure) -> None:
        self._report.expect(failure.code, failure.reason)
        if isinstance(failure, HostUnreachable):
            self._report.phase = Phase.BLOCKED

    def _complete(self) -> None:
        self._report.complete = True
        if self._report.phase is Phase.RESOLVING:
            self._report.phase = None
        with self._database.writing() as session:
            if not plan_requests.report_progress(session, self._claim, self._report, self._heartbeat.terms.lease_ms):
                raise Fenced
        log.info("plan-answered plan=%d", self._claim.id)

    def _is_blocked(self) -> bool:
        """Whether the move would have to wait for one of its hosts."""
        with self._database.reading() as session:
            blocks = host_health.blocks(session)
            self._report.bytes_reserved = figures.bytes_reserved_on(session, self._spec.destination.host)
        block = next((blocks[name] for name in sorted(self._spec.host_names) if name in blocks), None)
        if block is not None:
            self._report.phase = Phase.BLOCKED
            self._report.expect(block.code, block.reason)
        return block is not None

    def _alive(self) -> None:
        if self._lost is not None:
            raise self._lost
        if self._is_overdue:
            raise Stalled
