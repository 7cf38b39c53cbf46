"""The use cases of whoever follows moves: pages of them, several at once, and waiting for an end."""

import time
from collections.abc import Callable, Sequence

from data_mover.services.access import Caller
from data_mover.store import listing
from data_mover.store.database import Database
from data_mover.store.listing import JobFilter
from data_mover.store.reports import JobReport

#: how often somebody who waits for an end looks for it
LOOK_SECONDS = 0.2

Check = Callable[[Caller, int], JobReport]


class Listing:
    """What a caller sees of its own moves. Raises ServiceUnavailable where the database does not answer."""

    def __init__(self, database: Database, check: Check) -> None:
        self._database = database
        self._check = check

    def page(self, caller: Caller, wanted: JobFilter) -> Sequence[JobReport]:
        """The newest moves that the filter chooses, the newest first."""
        with self._database.reading() as session:
            return listing.page(session, caller.name, wanted)

    def several(self, caller: Caller, job_ids: Sequence[int]) -> Sequence[JobReport | None]:
        """The moves in the order of their ids; None for one that does not exist or is another caller's."""
        with self._database.reading() as session:
            known = {report.id: report for report in listing.several(session, caller.name, job_ids)}
        return [known.get(job_id) for job_id in job_ids]

    def wait(self, caller: Caller, job_id: int, seconds: float) -> JobReport:
        """The move, once it has ended or the seconds are over. Raises Refusal if there is no such move."""
        until = time.monotonic() + seconds
        while True:
            report = self._check(caller, job_id)
            left = until - time.monotonic()
            if report.status.terminal or left <= 0:
                return report
            time.sleep(min(LOOK_SECONDS, left))
