"""One attempt at a job: connect to both hosts, move the file, record what became of it."""

import logging
from collections.abc import Callable
from contextlib import ExitStack, suppress

from sqlalchemy.orm import Session
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from data_mover.db import Database
from data_mover.errors import (
    DataMoverError,
    Fenced,
    InternalError,
    MoveFailure,
    ServiceUnavailable,
    UnknownHost,
    UnknownOutcome,
)
from data_mover.jobs import claims, files, hosts
from data_mover.jobs.claims import Claim
from data_mover.jobs.leases import Lease, LeaseTerms
from data_mover.jobs.retries import RetryPolicy
from data_mover.jobs.states import Phase
from data_mover.locations import Endpoint
from data_mover.protocols import connect
from data_mover.protocols.base import Files
from data_mover.protocols.options import HostOptions, Role
from data_mover.registry import Registry
from data_mover.settings import Settings
from data_mover.transfer import Leftover, Order, Proof, move_file

log = logging.getLogger(__name__)

#: the time-outs of the connections come first; the lease watches for what they cannot see
IDLE_MARGIN_SECONDS = 5


class Attempt:
    """A claimed job being worked on: the `Watch` of its transfer, and where its failures become states of the job."""

    def __init__(self, settings: Settings, database: Database, registry: Registry, held: Claim) -> None:
        self._settings = settings
        self._database = database
        self._registry = registry
        self._held = held
        self._connected: list[Files] = []
        self._lease = Lease(database, held, self._terms(), on_lost=self._abort)

    def run(self) -> None:
        """Returns when the job has a new state, or is another attempt's. Raises ServiceUnavailable where the database
        cannot be told: the lease then runs out, and the next attempt finds out what this one has done."""
        log.info("attempt-begun %s source=%s destination=%s", self._held, self._held.source, self._held.destination)
        with self._lease:
            outcome = self._move()
        if outcome is None:
            self._completed()
        elif isinstance(outcome, MoveFailure):
            self._failed(outcome)
        else:
            log.warning("attempt-ended %s %s", self._held, outcome)

    # what the transfer tells (transfer.Watch)

    def phase(self, name: str) -> None:
        self._write(claims.record_phase, Phase(name))

    def resolved(self, path: str, size_bytes: int) -> None:
        self._write(files.record_resolved, path, size_bytes)

    def leaving(self, leftover: Leftover) -> None:
        self._write(files.record_leftover, leftover.path, leftover.restores, self._lease_ms)

    def moved(self, acknowledged_bytes: int) -> None:
        self._lease.moved(acknowledged_bytes)

    def alive(self) -> None:
        self._lease.alive()

    def publishing(self, proof: Proof) -> None:
        self._write(files.mark_publishing, proof.sha256, proof.verified, self._lease_ms)

    def not_published(self) -> None:
        self._write(files.unmark_publishing, self._lease_ms)

    def gone(self, leftover: Leftover) -> None:
        for trial in self._trials():
            with trial, self._database.writing() as session:
                files.forget_leftover(session, self._held.destination.host, leftover.path)

    def _write(self, record: Callable[..., bool], *values: object) -> None:
        """Records something of this attempt. Raises Fenced if the job is no longer its own."""
        for trial in self._trials():
            with trial, self._database.writing() as session:
                mine = record(session, self._held, *values)
        if not mine:
            raise Fenced
        self._lease.alive()

    def _trials(self) -> Retrying:
        """A database that is away is asked again for as long as a lease lasts: what was copied is worth waiting for.

        Each change is guarded by the attempt's number, so that one whose answer was lost may be made again.
        """
        return Retrying(
            retry=retry_if_exception_type(ServiceUnavailable),
            wait=wait_exponential(multiplier=0.1, max=2),
            stop=stop_after_delay(self._settings.lease_seconds),
            reraise=True,
        )

    # how the job goes

    def _move(self) -> DataMoverError | None:
        """None once the file is published, else why it is not."""
        try:
            with ExitStack() as connections:
                source = connections.enter_context(self._connect(self._held.source, "source"))
                destination = connections.enter_context(self._connect(self._held.destination, "destination"))
                move_file(self._order(), source, destination, self)
        except MoveFailure as failure:
            return self._lease.lost or failure
        except DataMoverError as ended:
            return ended
        except Exception:
            log.exception("attempt-broke %s", self._held)
            return self._lease.lost or InternalError()
        return None

    def _connect(self, endpoint: Endpoint, role: Role) -> Files:
        options = self._registry.hosts.get(endpoint.host)
        if options is None or role not in options.roles:
            raise UnknownHost(f"{endpoint.host} as a {role}")
        try:
            connected = connect(endpoint.host, options)
        except MoveFailure as failure:
            self._blame(endpoint.host, failure)
            raise
        self._connected.append(connected)
        self._lease.alive()
        return connected

    def _order(self) -> Order:
        with self._database.reading() as session:
            leftovers = files.leftovers_of(session, self._held)
        return Order(
            job_id=self._held.job_id,
            file_number=0,
            attempt=self._held.attempt,
            source_path=self._held.source.path,
            destination_path=self._held.destination.path,
            checksum=self._held.checksum,
            path=self._held.path,
            publishing_sha256=self._held.publishing_sha256,
            leftovers=tuple(Leftover(leftover.path, leftover.restores) for leftover in leftovers),
        )

    def _completed(self) -> None:
        for trial in self._trials():
            with trial, self._database.writing() as session:
                mine = claims.complete(session, self._held)
        log.info("%s %s", "job-completed" if mine else "attempt-fenced after it had published", self._held)
        with self._database.writing() as session:
            hosts.record_success(session, self._held.host_names)

    def _failed(self, failure: MoveFailure) -> None:
        for trial in self._trials():
            with trial, self._database.writing() as session:
                wait_ms = self._wait_ms(session, failure)
                mine = self._end_or_put_back(session, failure, wait_ms)
        event = "attempt-fenced" if not mine else "job-failed" if wait_ms is None else "attempt-failed"
        log.warning("%s %s code=%s next_attempt_in_ms=%s %s", event, self._held, failure.code, wait_ms, failure.reason)

    def _end_or_put_back(self, session: Session, failure: MoveFailure, wait_ms: int | None) -> bool:
        if wait_ms is None:
            return claims.fail(session, self._held, failure)
        return claims.put_back(session, self._held, failure, wait_ms)

    def _wait_ms(self, session: Session, failure: MoveFailure) -> int | None:
        """Milliseconds until the next attempt, or None if there is none.

        A job of which nobody knows whether it has published is looked at again until its deadline: that costs no copy.
        """
        remaining_ms = claims.remaining_ms(session, self._held)
        wait_ms = self._policy().wait_ms(self._held.attempt, failure, remaining_ms)
        if wait_ms is None and not isinstance(failure, UnknownOutcome) and claims.is_marked(session, self._held):
            return int(self._settings.retry_longest_seconds * 1000)
        return wait_ms

    def _blame(self, host: str, failure: MoveFailure) -> None:
        with suppress(ServiceUnavailable), self._database.writing() as session:
            hosts.record_failure(session, host, failure.code)

    def _abort(self) -> None:
        for connected in self._connected:
            connected.abort()

    @property
    def _lease_ms(self) -> int:
        return int(self._settings.lease_seconds * 1000)

    def _policy(self) -> RetryPolicy:
        settings = self._settings
        return RetryPolicy(settings.max_attempts, settings.retry_first_seconds, settings.retry_longest_seconds)

    def _terms(self) -> LeaseTerms:
        idle_seconds = max((options.idle_timeout_seconds for options in self._options()), default=0)
        return LeaseTerms(self._settings.lease_seconds, self._settings.beat_seconds, idle_seconds + IDLE_MARGIN_SECONDS)

    def _options(self) -> list[HostOptions]:
        return [self._registry.hosts[name] for name in self._held.host_names if name in self._registry.hosts]
