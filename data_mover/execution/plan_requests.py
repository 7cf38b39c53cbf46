"""Answer `plan`: a worker does the dry run of a move, since only workers connect to hosts."""

import logging
from dataclasses import replace

from sqlalchemy.orm import Session

from data_mover.config.callers import Callers
from data_mover.config.registry import Registry
from data_mover.domain.errors import (
    AttemptEnded,
    DataMoverError,
    Fenced,
    HostUnreachable,
    InternalError,
    MoveFailure,
    Stopped,
)
from data_mover.domain.fault_points import reach
from data_mover.domain.rights import Verb
from data_mover.domain.states import Phase
from data_mover.execution.boundaries import Boundaries
from data_mover.execution.connections import Connections
from data_mover.execution.connector import Connector
from data_mover.execution.dry_run import DryRun
from data_mover.execution.heartbeat import Heartbeat, Patience, Watch
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
    database: Database,
    registry: Registry,
    callers: Callers,
    connector: Connector,
    heartbeat: Heartbeat,
    most_files: int,
) -> None:
    """Answer the plan request that is next, if there is one. Raises ServiceUnavailable if the database does
    not answer."""
    with database.writing() as session:
        claim = plan_requests.take(session, heartbeat.terms.lease_seconds)
    if claim is not None:
        log.info("plan-begun plan=%d %s", claim.id, claim.spec.route)
        _Answer(database, claim, heartbeat, registry, callers, connector, most_files).give()


class _Answer:
    """A claimed plan request."""

    def __init__(
        self,
        database: Database,
        claim: PlanClaim,
        heartbeat: Heartbeat,
        registry: Registry,
        callers: Callers,
        connector: Connector,
        most_files: int,
    ) -> None:
        self.name = f"plan {claim.id}"
        self._database = database
        self._claim = claim
        self._spec = claim.spec
        self._heartbeat = heartbeat
        self._registry = registry
        self._callers = callers
        self._connector = connector
        self._connections = Connections(registry, connector)
        self._most_files = most_files
        self._report = PlanReport(phase=Phase.RESOLVING)
        #: why this worker must not answer it
        self._lost: AttemptEnded | None = None
        idle_seconds = Patience.of(self._spec.host_names, registry).idle_seconds
        self._watch = Watch("the plan", idle_seconds, LONGEST_SECONDS, self._connections.abort, self._leave)

    def give(self) -> None:
        try:
            with self._heartbeat.keep(self), self._heartbeat.watching(self._watch.look), self._connections:
                reach("answering")
                if not self._is_blocked():
                    self._look()
            self._complete()
        except Stopped:
            with self._database.writing() as session:
                plan_requests.hand_back(session, self._claim)
        except Fenced:
            log.info("plan-dropped plan=%d", self._claim.id)

    def renew(self, session: Session, lease_seconds: float) -> bool:
        """Report progress, or the answer once it is over: the dry run may hang."""
        report = self._report
        if self._watch.over is not None:
            report = replace(report, complete=True, phase=None)
            report.expect(self._watch.over.code, self._watch.over.reason)
        return plan_requests.report_progress(session, self._claim, report, lease_seconds)

    def answered(self, is_mine: bool) -> None:
        """End the connections once nobody waits for the answer."""
        if self._heartbeat.stop.is_asked():
            self._lost = Stopped()
        elif not is_mine:
            self._lost = Fenced()
        if self._lost is not None:
            self._connections.abort()

    def _look(self) -> None:
        """Do the dry run. Raises Stopped, or Fenced if the request is no longer this worker's."""
        try:
            for host in sorted(self._spec.host_names):
                self._connector.require_disk(host, self._registry)
            boundaries = Boundaries(self._callers, self._claim.caller, self._spec, self._registry)
            self._connections.registry = boundaries.require_ends()
            DryRun(self._spec, self._connections, boundaries, self._report, self._most_files, self._alive).look()
        except MoveFailure as failure:
            if self._lost is not None:
                raise self._lost from failure
            self._expect(self._watch.over or failure)
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
            if not plan_requests.report_progress(
                session, self._claim, self._report, self._heartbeat.terms.lease_seconds
            ):
                raise Fenced
        log.info("plan-answered plan=%d", self._claim.id)

    def _is_blocked(self) -> bool:
        """Whether the move would have to wait for one of its hosts."""
        with self._database.reading() as session:
            blocks = host_health.blocks(session)
            self._report.bytes_reserved = self._bytes_reserved(session)
        block = next((blocks[name] for name in sorted(self._spec.host_names) if name in blocks), None)
        if block is not None:
            self._report.phase = Phase.BLOCKED
            self._report.expect(block.code, block.reason)
        return block is not None

    def _bytes_reserved(self, session: Session) -> int:
        """Return what running moves have still to write to the destination: all of those that the caller sees."""
        caller, host = self._callers.named(self._claim.caller, self._spec.scopes), self._spec.destination.host
        if caller is not None and caller.may(Verb.SEE_ALL):
            return figures.bytes_reserved_on(session, host)
        return figures.bytes_reserved_by(session, self._claim.caller, host)

    def _alive(self) -> None:
        if self._lost is not None:
            raise self._lost
        self._watch.alive()

    def _leave(self) -> None:
        """Leave with this process, as an attempt that hangs does."""
        if self._connections.is_connecting:
            return
        try:
            self._connector.hangs(self._spec.host_names, self._registry)
        finally:
            self._heartbeat.leave(self.name)
