"""What an attempt writes down, for as long as the job is its own."""

from collections.abc import Callable
from typing import Concatenate, ParamSpec, TypeVar

from sqlalchemy.orm import Session
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_exponential

from data_mover.domain.errors import ServiceUnavailable
from data_mover.execution.heartbeat import Lease
from data_mover.store import claims, transitions
from data_mover.store.claims import Claim
from data_mover.store.database import Database

T = TypeVar("T")
P = ParamSpec("P")


class Record:
    """The database, as one attempt sees it. A database that is away is asked again for as long as a lease lasts: what
    was copied is worth waiting for. Each change is guarded by the attempt's number, so that one whose answer was lost
    may be made again. No host is blamed for the wait."""

    def __init__(self, database: Database, claim: Claim, lease: Lease, lease_seconds: float) -> None:
        self.held = claim
        self.lease = lease
        self.lease_ms = int(lease_seconds * 1000)
        self._database = database
        self._lease_seconds = lease_seconds

    def write(self, record: Callable[Concatenate[Session, Claim, P], bool], *values: P.args, **named: P.kwargs) -> None:
        """Records something of this attempt. Raises Fenced if the job is no longer its own, or Cancelled."""
        for trial in self._trials():
            with trial, self._database.writing() as session:
                taken_away = (
                    None if record(session, self.held, *values, **named) else claims.why_not(session, self.held)
                )
        if taken_away is not None:
            raise taken_away
        self.lease.alive()

    def change(self, change: Callable[Concatenate[Session, P], T], *values: P.args, **named: P.kwargs) -> T:
        """Changes something, whoever the job belongs to."""
        for trial in self._trials():
            with trial, self._database.writing() as session:
                result = change(session, *values, **named)
        return result

    def ask(self, question: Callable[Concatenate[Session, P], T], *values: P.args, **named: P.kwargs) -> T:
        """The answer to a question."""
        for trial in self._trials():
            with trial, self._database.reading() as session:
                answer = question(session, *values, **named)
        return answer

    def try_to_write(
        self, record: Callable[Concatenate[Session, Claim, P], bool], *values: P.args, **named: P.kwargs
    ) -> None:
        """As `write`, but nobody waits for a database that is away: raises ServiceUnavailable."""
        with self._database.writing() as session:
            taken_away = None if record(session, self.held, *values, **named) else claims.why_not(session, self.held)
        if taken_away is not None:
            raise taken_away

    def finish(
        self, change: Callable[Concatenate[Session, Claim, P], bool], *values: P.args, **named: P.kwargs
    ) -> bool:
        """Makes the last change of this attempt. A job that the caller no longer wants is CANCELLED instead. False if
        the job is no longer this attempt's."""
        for trial in self._trials():
            with trial, self._database.writing() as session:
                mine = change(session, self.held, *values, **named) or transitions.end_cancelled(session, self.held)
        return mine

    def settle(self) -> None:
        """Settles the files of a job that this attempt has ended; the sweeper does so if this process cannot."""
        while not self.change(transitions.settle, self.held.job_id):
            pass

    def _trials(self) -> Retrying:
        return Retrying(
            retry=retry_if_exception_type(ServiceUnavailable),
            wait=wait_exponential(multiplier=0.1, max=2),
            stop=stop_after_delay(self._lease_seconds),
            before_sleep=lambda _: self.lease.excused(),
            reraise=True,
        )
