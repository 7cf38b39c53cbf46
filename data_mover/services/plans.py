"""Plan a move: find out what it would do. Raises Refusal and ServiceUnavailable."""

import time

from data_mover.config.callers import Caller
from data_mover.domain.errors import Refusal
from data_mover.domain.locations import Endpoint, Locations, sources_as_json
from data_mover.domain.move_spec import MoveSpec
from data_mover.services.moves import MoveOptions, Moves, shows_what_is_there
from data_mover.services.quotas import full
from data_mover.services.transactions import Transactions
from data_mover.store import plan_requests
from data_mover.store.plan_requests import PlanReport
from data_mover.store.submissions import Submission

#: interval of the queries that wait for an answer
LOOK_SECONDS = 0.1
#: how many plans may wait for a caller at a time: they are answered one after the other
MOST_PLANS = 20


class Plans:
    """Dry runs of moves, which workers do, since only they connect to hosts."""

    def __init__(self, transactions: Transactions, moves: Moves) -> None:
        self._transactions = transactions
        self._moves = moves

    def plan(
        self,
        caller: Caller,
        sources: Locations,
        destination: Endpoint | None,
        options: MoveOptions,
        wait_seconds: float,
    ) -> PlanReport:
        """Return what `Moves.submit` would do, once a worker has found out; after `wait_seconds`, what is known so
        far."""
        submission = self._moves.submission(caller, sources, destination, options)
        there = submission.destination
        if not caller.rights.may_read(there.host, there.path):
            raise shows_what_is_there("destination", "plan")
        until = time.monotonic() + wait_seconds
        request_id = self._ask(caller, submission)
        while True:
            with self._transactions.reading() as session:
                report = plan_requests.report(session, request_id)
            if report is not None and (report.complete or time.monotonic() > until):
                break
            time.sleep(LOOK_SECONDS)
            if report is None:  # another call of the same caller took the answer
                request_id = self._ask(caller, submission)
        if report.complete:
            with self._transactions.writing() as session:
                plan_requests.forget(session, request_id)
        return report

    def _ask(self, caller: Caller, submission: Submission) -> int:
        spec = MoveSpec(
            sources=submission.endpoints,
            destination=submission.destination,
            checksum=submission.checksum,
            selection=submission.selection,
            if_exists=submission.if_exists,
            asked=sources_as_json(submission.sources),
            scopes=submission.scopes,
        )
        with self._transactions.writing() as session:
            waiting = plan_requests.asked_by(session, submission.caller, spec)
            if caller.quota.plans is not None and waiting >= caller.quota.plans:
                raise full(f"{waiting} plans of {caller.name} wait already; one more may once one is answered")
            if waiting >= MOST_PLANS:
                raise Refusal(
                    f"{MOST_PLANS} plans of this caller wait for their answers already; ask again later",
                    code="too-many-plans",
                    field="",
                )
            request_id = plan_requests.ask(session, submission.caller, spec)
            self._transactions.notify_workers()
        return request_id
