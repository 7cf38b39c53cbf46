"""Read moves, hosts and data types; wait for a move to end. Raises ServiceUnavailable."""

import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from data_mover.config.callers import Caller
from data_mover.config.registry import PROBLEM_IN_REGISTRY
from data_mover.config.registry_file import RegistryFile
from data_mover.domain.errors import ConfigProblem, HostUnreachable, Refusal
from data_mover.domain.rights import Verb
from data_mover.domain.states import FileState
from data_mover.doorbell import Doorbell
from data_mover.store import events, host_health, listing, reports
from data_mover.store.database import Database
from data_mover.store.events import EventReport
from data_mover.store.host_health import HostActivity, HostHealth
from data_mover.store.listing import JobFilter
from data_mover.store.reports import FileReport, JobReport

#: interval of the queries that wait for a move to end
LOOK_SECONDS = 0.2


@dataclass(frozen=True)
class HostDescription:
    name: str
    description: str
    protocol: str
    roles: tuple[str, ...]
    health: HostHealth


@dataclass(frozen=True)
class DatasetDescription:
    name: str
    description: str


class Queries:
    """What a caller sees of moves, its own unless it may see all, and of the registry. Raises Refusal if there is no
    such move."""

    def __init__(self, database: Database, registry: RegistryFile, doorbell: Doorbell) -> None:
        self._database = database
        self._registry = registry
        self._doorbell = doorbell

    def check(self, caller: Caller, job_id: int) -> JobReport:
        """Return the state of the job."""
        with self._database.reading() as session:
            report = reports.report(session, caller.sees_only, job_id, self._doorbell.is_away)
        if report is None:
            raise no_such_job()
        return report

    def report(self, job_id: int) -> JobReport:
        """Return the state of a job that exists, whoever's it is."""
        with self._database.reading() as session:
            report = reports.report(session, None, job_id, self._doorbell.is_away)
        if report is None:
            raise no_such_job()
        return report

    def page(self, caller: Caller, job_filter: JobFilter, of_caller: str | None) -> Sequence[JobReport]:
        """Return the newest moves that match the filter, the newest first: of all whose moves the caller sees, or of
        one."""
        if of_caller is not None and not caller.sees(of_caller):
            return []
        with self._database.reading() as session:
            return listing.page(session, of_caller or caller.sees_only, job_filter, self._doorbell.is_away)

    def owners(self, caller: Caller, moves: Iterable[JobReport]) -> Mapping[int, str]:
        """Return the caller of each of these moves by its id: of the moves that this caller sees."""
        with self._database.reading() as session:
            return listing.owners(session, caller.sees_only, [move.id for move in moves])

    def several(self, caller: Caller, job_ids: Sequence[int]) -> Sequence[JobReport | None]:
        """Return the moves in the order of their ids; None for one that does not exist or is another caller's."""
        with self._database.reading() as session:
            found = listing.several(session, caller.sees_only, job_ids, self._doorbell.is_away)
        known = {report.id: report for report in found}
        return [known.get(job_id) for job_id in job_ids]

    def wait(self, caller: Caller, job_id: int, seconds: float) -> JobReport:
        """Return the move once it has ended or the seconds are over."""
        until = time.monotonic() + seconds
        while True:
            report = self.check(caller, job_id)
            left = until - time.monotonic()
            if report.status.terminal or left <= 0:
                return report
            time.sleep(min(LOOK_SECONDS, left))

    def files(
        self, caller: Caller, job_id: int, state: FileState | None, after: int, limit: int
    ) -> Sequence[FileReport]:
        """Return the files of the job behind the one of that number, `limit` at most: those in a state, or all."""
        with self._database.reading() as session:
            if reports.find(session, caller.sees_only, job_id) is None:
                raise no_such_job()
            return reports.files(session, job_id, state, after, limit)

    def events(self, caller: Caller, job_id: int) -> Sequence[EventReport]:
        """Return the log of the job, the oldest event first."""
        with self._database.reading() as session:
            if reports.find(session, caller.sees_only, job_id) is None:
                raise no_such_job()
            return events.of_job(session, job_id)

    def hosts(self, caller: Caller) -> Sequence[HostDescription]:
        """Return the registered hosts that the caller may use, in the order of the registry, without addresses and
        logins; then those whose entries have problems."""
        with self._database.reading() as session:
            health = host_health.health(session)
        registry = self._registry.current().seen_with(caller.rights)
        served = [
            HostDescription(name, host.description, host.protocol, host.roles, health.get(name, HostHealth("unknown")))
            for name, host in registry.seen_hosts.items()
        ]
        failing = HostHealth("failing", HostUnreachable.code, PROBLEM_IN_REGISTRY)
        refused = [HostDescription(name, "", "", (), failing) for name in sorted(registry.refused_hosts)]
        return served + refused

    def activity(self, caller: Caller) -> Mapping[str, HostActivity]:
        """Return what hosts do that a move has named, by name; of moves those are counted that the caller sees."""
        with self._database.reading() as session:
            return host_health.activity(session, caller.sees_only)

    def registry_problems(self, caller: Caller) -> Sequence[ConfigProblem]:
        """Return what is wrong with the registry, to whoever may act on its hosts."""
        return self._registry.current().problems if caller.may(Verb.HOSTS) else ()

    def datasets(self, caller: Caller) -> Sequence[DatasetDescription]:
        """Return the data types of the catalogue that the caller may use, in the order of the registry."""
        datasets = self._registry.current().seen_with(caller.rights).datasets
        return [DatasetDescription(name, dataset.description) for name, dataset in datasets.items()]


def no_such_job() -> Refusal:
    """Return the refusal for an unknown job, and for that of another caller."""
    return Refusal("Job does not exist", code="no-such-job", field="id")
