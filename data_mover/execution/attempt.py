"""One attempt at a job: run it, and record its outcome."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Concatenate, ParamSpec

from sqlalchemy.orm import Session

from data_mover.config.callers import Callers
from data_mover.config.registry import Registry
from data_mover.config.settings import Settings
from data_mover.domain.backoff import Backoff, RetryPolicy
from data_mover.domain.errors import (
    Cancelled,
    ConnectionLost,
    DataMoverError,
    FilesFailed,
    GaveWay,
    HostUnreachable,
    InternalError,
    MoveFailure,
    PathBusy,
    Stalled,
    Stopped,
    UnknownOutcome,
)
from data_mover.domain.fault_points import reach
from data_mover.execution.boundaries import Boundaries
from data_mover.execution.connections import Connections
from data_mover.execution.connector import Connector
from data_mover.execution.executor import Execution
from data_mover.execution.heartbeat import Heartbeat, Patience
from data_mover.execution.record import Record
from data_mover.store import claims, figures, host_health, queue, transitions, usage
from data_mover.store.claims import Claim
from data_mover.store.database import Database
from data_mover.store.queue import Limits

log = logging.getLogger(__name__)

#: the interval between two looks for waiting jobs, as a share of the time that they may wait
LOOK_SHARE = 0.1

#: these spend attempts only in a row without progress: what was copied before is kept
_OF_THE_LINE = (ConnectionLost, HostUnreachable, Stalled)


P = ParamSpec("P")


class Attempt:
    """Runs a claimed job, and turns its failures into states of the job."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        registry: Registry,
        callers: Callers,
        connector: Connector,
        heartbeat: Heartbeat,
        claim: Claim,
    ) -> None:
        self._settings = settings
        self._callers = callers
        self._database = database
        self._registry = registry
        self._heartbeat = heartbeat
        self._claim = claim
        self._connector = connector
        self._connections = Connections(registry, connector)
        self._look_from = 0.0

    def run(self) -> None:
        """Return once the job has a new state, or is another attempt's. Raises ServiceUnavailable if the database does
        not answer: the lease then expires, and the next attempt finds out what this one has done."""
        log.info("attempt-begun %s %s", self._claim, self._claim.route)
        patience = Patience.of(self._claim.host_names, self._registry)
        with self._heartbeat.lease(self._claim, patience, self._connections.abort, self._leave) as lease:
            self._record = Record(self._database, self._claim, lease, self._settings.lease_seconds)
            with self._heartbeat.watching(self._look_for_others):
                outcome = self._move()
        match outcome:
            case None:
                self._completed()
            case GaveWay():
                self._handed_back(outcome, queue.GIVE_WAY_SECONDS)
            case Stopped():
                self._handed_back(outcome, wait_seconds=0)
            case HostUnreachable() if outcome is self._connections.unreachable:  # its jobs wait for it now
                self._handed_back(outcome, wait_seconds=0)
            case PathBusy():
                self._postponed(transitions.wait_for_path, outcome)
            case MoveFailure():
                self._failed(outcome)
            case FilesFailed():
                self._over(outcome.code, outcome.reason)
            case Cancelled():
                self._cancelled()
            case _:
                log.warning("attempt-ended %s %r", self._claim, outcome)

    def _look_for_others(self) -> None:
        """Give way to another host's or caller's job that has waited too long for a worker. Called by the heartbeat."""
        wait_seconds, now = self._settings.give_way_seconds, time.monotonic()
        if now < self._look_from:
            return
        self._look_from = now + wait_seconds * LOOK_SHARE
        with self._database.reading() as session:
            waiting = queue.kept_waiting(
                session, self._claim, Limits(self._registry.slots, self._callers.running_limit()), wait_seconds
            )
        lease = self._record.lease
        if waiting is not None and lease.lost is None:
            log.info("attempt-gives-way %s waiting_job=%d", self._claim, waiting)
            lease.give_up(GaveWay(waiting))

    def _leave(self) -> None:
        """End this process, unless it waits for a connection that has time-outs of its own. Called by the heartbeat.
        Records the job's local disks as unreachable."""
        if self._connections.is_connecting:
            return
        stuck = Stalled(f"{self._claim.route}: it hangs in the kernel; a mounted disk does not answer")
        try:
            self._connector.hangs(self._claim.host_names, self._registry)
            with self._database.writing() as session:
                transitions.hand_back(session, self._claim, stuck)
        finally:
            self._heartbeat.leave(str(self._claim))

    def _move(self) -> DataMoverError | None:
        """Return None once all files have their final names, else the reason why they have not."""
        try:
            boundaries = Boundaries(self._callers, self._claim.caller, self._claim, self._registry)
            self._connections.registry = boundaries.require_ends()
            with self._connections:
                reach("resolving")
                Execution(self._settings, self._record, self._connections, boundaries).run()
        except MoveFailure as failure:
            return self._record.lease.cause_of(failure)
        except DataMoverError as ended:
            return ended
        except Exception:
            log.exception("attempt-broke %s", self._claim)
            return self._record.lease.lost or InternalError()
        return None

    def _completed(self) -> None:
        ended = self._record.finish(_judging(self._complete, None))
        reach("finished")
        log.info("%s %s", "job-completed" if ended else "attempt-fenced after it had published", self._claim)

    def _complete(self, session: Session, claim: Claim) -> bool:
        """Complete the job; count its bytes if its caller has a quota of them."""
        ended = transitions.complete(session, claim)
        caller = self._callers.named(claim.caller, claim.scopes)
        if ended and caller is not None and caller.quota.bytes_per_day is not None:
            usage.record_bytes(session, claim.caller, figures.figures(session, claim.job_id).arrived_bytes)
        return ended

    def _failed(self, failure: MoveFailure) -> None:
        if self._record.has_advanced and isinstance(failure, _OF_THE_LINE):
            self._record.claim = self._claim = replace(self._claim, failures=0)
        wait_seconds = self._record.ask(self._wait_seconds, failure)
        if wait_seconds is None:
            self._over(failure.code, failure.reason, failure)
            return
        put_back = _judging(transitions.put_back, failure)
        event = "attempt-failed" if self._record.finish(put_back, failure, wait_seconds) else "attempt-fenced"
        log.warning(
            "%s %s code=%s next_attempt_in_seconds=%.1f %s",
            event,
            self._claim,
            failure.code,
            wait_seconds,
            failure.reason,
        )

    def _over(self, code: str, reason: str, failure: MoveFailure | None = None) -> None:
        fail = _judging(transitions.fail, failure) if failure else transitions.fail
        event = "job-failed" if self._record.finish(fail, code, reason) else "attempt-fenced"
        self._record.settle()
        log.warning("%s %s code=%s %s", event, self._claim, code, reason)

    def _handed_back(self, cause: DataMoverError, wait_seconds: float) -> None:
        self._postponed(transitions.hand_back, cause, wait_seconds)

    def _postponed(
        self, change: Callable[Concatenate[Session, Claim, P], bool], *values: P.args, **named: P.kwargs
    ) -> None:
        event = "attempt-postponed" if self._record.finish(change, *values, **named) else "attempt-fenced"
        log.info("%s %s %s", event, self._claim, values[0])

    def _cancelled(self) -> None:
        ended = self._record.finish(transitions.end_cancelled)
        self._record.settle()
        log.info("%s %s", "job-cancelled" if ended else "attempt-fenced", self._claim)

    def _wait_seconds(self, session: Session, failure: MoveFailure) -> float | None:
        """Return how long to wait for the next attempt, or None if there is none.

        A marked job is tried again until its deadline, since finding out whether it has published costs no copy.
        """
        remaining_seconds = claims.remaining_seconds(session, self._claim)
        wait_seconds = self._policy().wait_seconds(self._claim.failures + 1, failure, remaining_seconds)
        if wait_seconds is None and not isinstance(failure, UnknownOutcome) and claims.is_marked(session, self._claim):
            return self._settings.retry_longest_seconds
        return wait_seconds

    def _policy(self) -> RetryPolicy:
        settings = self._settings
        backoff = Backoff(settings.retry_first_seconds, settings.retry_longest_seconds)
        return RetryPolicy(settings.max_attempts, backoff)


def _judging(
    change: Callable[Concatenate[Session, Claim, P], bool], failure: MoveFailure | None
) -> Callable[Concatenate[Session, Claim, P], bool]:
    """Wrap the change, so that it records the outcome for the hosts in the same transaction."""

    def judged(session: Session, claim: Claim, /, *values: P.args, **named: P.kwargs) -> bool:
        is_mine = change(session, claim, *values, **named)
        if is_mine:
            host_health.record_move(session, claim.host_names, failure)
        return is_mine

    return judged
