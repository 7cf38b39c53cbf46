"""The database access of one attempt."""

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
    """Reads and writes the record of a claimed job. Retries for the length of a lease if the database is away, so that
    no copy is lost. Changes are guarded by the attempt's number, and may be repeated if their answer was lost."""

    def __init__(self, database: Database, claim: Claim, lease: Lease, lease_seconds: float) -> None:
        self.claim = claim
        self.lease = lease
        self.lease_seconds = lease_seconds
        #: whether this attempt has made lasting progress: another file arrived, or a later checkpoint
        self.has_advanced = False
        self._database = database

    def write(self, record: Callable[Concatenate[Session, Claim, P], bool], *values: P.args, **named: P.kwargs) -> None:
        """Make a guarded change. Raises Fenced or Cancelled if the job is no longer this attempt's."""
        for trial in self._trials():
            with trial, self._database.writing() as session:
                ended = None if record(session, self.claim, *values, **named) else claims.why_not(session, self.claim)
        if ended is not None:
            raise ended
        self.lease.alive()

    def change(self, change: Callable[Concatenate[Session, P], T], *values: P.args, **named: P.kwargs) -> T:
        """Make a change, whoever owns the job; return its result."""
        for trial in self._trials():
            with trial, self._database.writing() as session:
                result = change(session, *values, **named)
        return result

    def ask(self, query: Callable[Concatenate[Session, P], T], *values: P.args, **named: P.kwargs) -> T:
        """Return the result of a query."""
        for trial in self._trials():
            with trial, self._database.reading() as session:
                answer = query(session, *values, **named)
        return answer

    def try_to_write(
        self, record: Callable[Concatenate[Session, Claim, P], bool], *values: P.args, **named: P.kwargs
    ) -> None:
        """Make a guarded change without a retry. Raises ServiceUnavailable too."""
        with self._database.writing() as session:
            ended = None if record(session, self.claim, *values, **named) else claims.why_not(session, self.claim)
        if ended is not None:
            raise ended

    def finish(
        self, change: Callable[Concatenate[Session, Claim, P], bool], *values: P.args, **named: P.kwargs
    ) -> bool:
        """Make the last change of this attempt. A job whose cancellation was requested becomes CANCELLED instead.
        Returns False if the job is no longer this attempt's."""
        for trial in self._trials():
            with trial, self._database.writing() as session:
                mine = change(session, self.claim, *values, **named) or transitions.end_cancelled(session, self.claim)
        return mine

    def settle(self) -> None:
        """Settle the files of a job that this attempt has ended. The sweeper does so if this process dies."""
        while not self.change(transitions.settle, self.claim.job_id):
            pass

    def _trials(self) -> Retrying:
        return Retrying(
            retry=retry_if_exception_type(ServiceUnavailable),
            wait=wait_exponential(multiplier=0.1, max=2),
            stop=stop_after_delay(self.lease_seconds),
            before_sleep=lambda _: self.lease.excused(),
            reraise=True,
        )
