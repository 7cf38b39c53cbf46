"""One attempt at a job: connect to both hosts, move the file, record what became of it."""

import logging
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import asdict

from sqlalchemy.orm import Session
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from data_mover.db import Database
from data_mover.errors import (
    Cancelled,
    DataMoverError,
    HostUnreachable,
    InternalError,
    MoveFailure,
    PathBusy,
    ServiceUnavailable,
    Stopped,
    UnknownHost,
    UnknownOutcome,
)
from data_mover.fault_points import reach
from data_mover.jobs import claims, files
from data_mover.jobs.claims import Claim
from data_mover.jobs.files import RecordedLeftover
from data_mover.jobs.leases import Lease, LeaseTerms
from data_mover.jobs.retries import Backoff, RetryPolicy
from data_mover.jobs.states import Phase
from data_mover.locations import Endpoint
from data_mover.protocols import writable
from data_mover.protocols.base import Source
from data_mover.protocols.options import HostOptions, Role
from data_mover.registry import Registry
from data_mover.settings import Settings
from data_mover.transfer import Checkpoint, Leftover, Order, Proof, move_file
from data_mover.worker.dialler import Dialler
from data_mover.worker.stop import Stop

log = logging.getLogger(__name__)

#: the time-outs of the connections come first; the lease watches for what they cannot see
IDLE_MARGIN_SECONDS = 5


class Attempt:
    """A claimed job being worked on: the `Watch` of its transfer, and where its failures become states of the job."""

    def __init__(
        self, settings: Settings, database: Database, registry: Registry, dialler: Dialler, held: Claim, stop: Stop
    ) -> None:
        self._settings = settings
        self._database = database
        self._registry = registry
        self._dialler = dialler
        self._held = held
        self._connected: list[Source] = []
        self._lease = Lease(database, held, self._terms(), on_lost=self._abort, must_stop=stop.is_overdue)

    def run(self) -> None:
        """Returns when the job has a new state, or is another attempt's. Raises ServiceUnavailable where the database
        cannot be told: the lease then runs out, and the next attempt finds out what this one has done."""
        log.info("attempt-begun %s source=%s destination=%s", self._held, self._held.source, self._held.destination)
        with self._lease:
            outcome = self._move()
        match outcome:
            case None:
                self._completed()
            case Stopped():
                self._handed_back(outcome, wait_ms=0)
            case HostUnreachable() if not self._has_both:  # its jobs wait for it now
                self._handed_back(outcome, wait_ms=0)
            case PathBusy():
                self._handed_back(outcome, claims.PATH_WAIT_MS)
            case MoveFailure():
                self._failed(outcome)
            case Cancelled():
                self._cancelled()
            case _:
                log.warning("attempt-ended %s %r", self._held, outcome)

    # what the transfer tells (transfer.Watch)

    def phase(self, name: str) -> None:
        self._write(claims.record_phase, Phase(name))
        reach(name)

    def resolved(self, path: str, size_bytes: int | None) -> None:
        self._write(files.record_resolved, path, size_bytes)

    def placed(self, place: str) -> None:
        self._write(files.record_place, place)
        for trial in self._trials():
            with trial, self._database.writing() as session:
                files.hold_path(session, self._held, place)

    def leaving(self, leftover: Leftover) -> None:
        checkpoint = asdict(leftover.checkpoint) if leftover.checkpoint else None
        self._write(files.record_leftover, leftover.path, leftover.restores, checkpoint, self._lease_ms)
        reach("recorded")

    def copying_from(self, offset_bytes: int) -> None:
        if offset_bytes:
            log.info("copy-resumed %s offset_bytes=%d", self._held, offset_bytes)
        self._lease.copying_from(offset_bytes)

    def checkpoint(self, path: str, checkpoint: Checkpoint) -> None:
        """A database that is away is not waited for: the next checkpoint will do as well."""
        try:
            with self._database.writing() as session:
                recorded = files.record_checkpoint(session, self._held, path, asdict(checkpoint), self._lease_ms)
                taken_away = None if recorded else claims.why_not(session, self._held)
        except ServiceUnavailable as error:
            log.warning("checkpoint-not-recorded %s %s", self._held, error)
            return
        if taken_away is not None:
            raise taken_away

    def moved(self, acknowledged_bytes: int) -> None:
        self._lease.moved(acknowledged_bytes)

    def alive(self) -> None:
        self._lease.alive()

    def busy(self, seconds: float) -> None:
        self._lease.alive(seconds)

    def publishing(self, proof: Proof) -> None:
        reach("verified")
        self._write(files.mark_publishing, proof.size_bytes, proof.sha256, proof.verified, self._lease_ms)
        reach("marked")

    def not_published(self) -> None:
        self._write(files.unmark_publishing, self._lease_ms)

    def gone(self, leftover: Leftover) -> None:
        for trial in self._trials():
            with trial, self._database.writing() as session:
                files.forget_leftover(session, self._held.destination.host, leftover.path)

    def _write(self, record: Callable[..., bool], *values: object) -> None:
        """Records something of this attempt. Raises Fenced if the job is no longer its own, or Cancelled."""
        for trial in self._trials():
            with trial, self._database.writing() as session:
                taken_away = None if record(session, self._held, *values) else claims.why_not(session, self._held)
        if taken_away is not None:
            raise taken_away
        self._lease.alive()

    def _trials(self) -> Retrying:
        """A database that is away is asked again for as long as a lease lasts: what was copied is worth waiting for.

        Each change is guarded by the attempt's number, so that one whose answer was lost may be made again. No host is
        blamed for the wait.
        """
        return Retrying(
            retry=retry_if_exception_type(ServiceUnavailable),
            wait=wait_exponential(multiplier=0.1, max=2),
            stop=stop_after_delay(self._settings.lease_seconds),
            before_sleep=lambda _: self._lease.excused(),
            reraise=True,
        )

    # how the job goes

    def _move(self) -> DataMoverError | None:
        """None once the file is published, else why it is not."""
        try:
            with ExitStack() as connections:
                source = connections.enter_context(self._connect(self._held.source, "source"))
                destination = connections.enter_context(self._connect(self._held.destination, "destination"))
                move_file(self._order(), source, writable(destination), self)
        except MoveFailure as failure:
            return self._lease.lost or failure
        except DataMoverError as ended:
            return ended
        except Exception:
            log.exception("attempt-broke %s", self._held)
            return self._lease.lost or InternalError()
        return None

    def _connect(self, endpoint: Endpoint, role: Role) -> Source:
        options = self._registry.every_host.get(endpoint.host)
        if options is None or role not in options.roles:
            raise UnknownHost(f"{endpoint.host} as a {role}")
        connected = self._dialler.connect(endpoint.host, options)
        self._connected.append(connected)
        self._lease.alive()
        return connected

    @property
    def _has_both(self) -> bool:
        """Whether both hosts have been reached: what a web server leads to may be out of reach still."""
        return len(self._connected) == len(self._held.host_names)

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
            if_exists=self._held.if_exists,
            path=self._held.path,
            publishing_sha256=self._held.publishing_sha256,
            checkpoint_bytes=self._settings.checkpoint_bytes,
            state_dir=self._settings.state_dir,
            leftovers=tuple(_leftover(leftover) for leftover in leftovers),
        )

    def _completed(self) -> None:
        reach("moved")
        ended = self._finish(claims.complete)
        reach("finished")
        log.info("%s %s", "job-completed" if ended else "attempt-fenced after it had published", self._held)

    def _failed(self, failure: MoveFailure) -> None:
        for trial in self._trials():
            with trial, self._database.reading() as session:
                wait_ms = self._wait_ms(session, failure)
        if wait_ms is None:
            event = "job-failed" if self._finish(claims.fail, failure) else "attempt-fenced"
        else:
            event = "attempt-failed" if self._finish(claims.put_back, failure, wait_ms) else "attempt-fenced"
        log.warning("%s %s code=%s next_attempt_in_ms=%s %s", event, self._held, failure.code, wait_ms, failure.reason)

    def _handed_back(self, cause: DataMoverError, wait_ms: int) -> None:
        handed_back = self._finish(claims.hand_back, cause, wait_ms)
        log.info("%s %s %s", "attempt-postponed" if handed_back else "attempt-fenced", self._held, cause)

    def _cancelled(self) -> None:
        log.info("%s %s", "job-cancelled" if self._finish(claims.end_cancelled) else "attempt-fenced", self._held)

    def _finish(self, change: Callable[..., bool], *values: object) -> bool:
        """Makes the last change of this attempt. A job that the caller no longer wants is CANCELLED instead. False if
        the job is no longer this attempt's."""
        for trial in self._trials():
            with trial, self._database.writing() as session:
                mine = change(session, self._held, *values) or claims.end_cancelled(session, self._held)
        return mine

    def _wait_ms(self, session: Session, failure: MoveFailure) -> int | None:
        """Milliseconds until the next attempt, or None if there is none.

        A job of which nobody knows whether it has published is looked at again until its deadline: that costs no copy.
        """
        remaining_ms = claims.remaining_ms(session, self._held)
        wait_ms = self._policy().wait_ms(self._held.failures + 1, failure, remaining_ms)
        if wait_ms is None and not isinstance(failure, UnknownOutcome) and claims.is_marked(session, self._held):
            return int(self._settings.retry_longest_seconds * 1000)
        return wait_ms

    def _abort(self) -> None:
        for connected in self._connected:
            connected.abort()

    @property
    def _lease_ms(self) -> int:
        return int(self._settings.lease_seconds * 1000)

    def _policy(self) -> RetryPolicy:
        settings = self._settings
        backoff = Backoff(settings.retry_first_seconds, settings.retry_longest_seconds)
        return RetryPolicy(settings.max_attempts, backoff)

    def _terms(self) -> LeaseTerms:
        idle_seconds = max((options.idle_timeout_seconds for options in self._options()), default=0)
        return LeaseTerms(self._settings.lease_seconds, self._settings.beat_seconds, idle_seconds + IDLE_MARGIN_SECONDS)

    def _options(self) -> list[HostOptions]:
        return [options for name in self._held.host_names if (options := self._registry.every_host.get(name))]


def _leftover(recorded: RecordedLeftover) -> Leftover:
    checkpoint = Checkpoint(**recorded.checkpoint) if recorded.checkpoint else None
    return Leftover(recorded.path, recorded.restores, checkpoint)
