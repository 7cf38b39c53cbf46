"""How the running jobs share the workers."""

from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Self

from sqlalchemy import select
from sqlalchemy.orm import Session

from data_mover.domain.states import Status
from data_mover.store import workers
from data_mover.store.models import Job, Lane


@dataclass(frozen=True)
class RunningJob:
    """A running job, as far as the shares depend on it."""

    job_id: int
    caller: str
    host_names: frozenset[str]
    priority: int
    bytes_per_second: int


_COLUMNS = (Job.id, Job.caller, Lane.hosts, Job.priority, Job.bytes_per_second)
_RUNNING = select(*_COLUMNS).join(Lane).where(Job.status == Status.IN_PROGRESS)


class Shares:
    """The running jobs, and the number of workers."""

    def __init__(self, running: Sequence[RunningJob], workers: int) -> None:
        self._running = running
        self._workers = workers

    @classmethod
    def read(cls, session: Session) -> Self:
        """Read the running jobs. They are counted here: SQLite would scan all jobs in the order of their callers."""
        running = [
            RunningJob(job_id, caller, frozenset(hosts.split()), priority, rate or 0)
            for job_id, caller, hosts, priority, rate in session.connection().execute(_RUNNING)
        ]
        return cls(running, workers.alive(session, workers.SILENT_AFTER_SECONDS))

    def by_caller(self) -> Counter[str]:
        """Return how many jobs of each caller run."""
        return Counter(each.caller for each in self._running)

    def would_have_all(self, host_names: Collection[str]) -> int:
        """Return how many of the hosts would have all workers, two at least, if a free one claimed another of their
        jobs."""
        is_last = self._workers >= 2 and len(self._running) >= self._workers - 1
        return len(self._hosts_of_all().intersection(host_names)) if is_last else 0

    def gives_way(self, job_id: int) -> RunningJob | None:
        """Return the running job if no worker is free, of two at least, and it is the slowest."""
        if not 2 <= self._workers <= len(self._running):
            return None
        slowest = min(self._running, key=lambda each: (each.bytes_per_second, each.job_id))
        return slowest if slowest.job_id == job_id else None

    def is_kept_out(self, caller: str, host_names: Collection[str]) -> bool:
        """Whether one host, or one caller, has all running jobs, and a job of this caller with these hosts would not be
        among them."""
        callers = {each.caller for each in self._running}
        return not self._hosts_of_all().issubset(host_names) or (len(callers) == 1 and caller not in callers)

    def _hosts_of_all(self) -> frozenset[str]:
        """Return the hosts that every running job needs."""
        return frozenset.intersection(*(each.host_names for each in self._running)) if self._running else frozenset()
