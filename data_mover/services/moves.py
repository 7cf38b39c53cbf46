"""The use cases: what callers can do with moves. Typed in, typed out; refusals and outages are raised."""

import dataclasses
import time
from collections.abc import Sequence
from dataclasses import dataclass, field

from data_mover.config.registry import RegistryFile
from data_mover.config.settings import Settings
from data_mover.domain.errors import Refusal
from data_mover.domain.fault_points import reach
from data_mover.domain.locations import Endpoint, IfExists, Locations, invalid, missing, parse_sources
from data_mover.domain.move_spec import MoveSpec
from data_mover.domain.selection import Selection
from data_mover.domain.states import FileState, Phase, Priority, Status
from data_mover.doorbell import Doorbell
from data_mover.services.access import Caller
from data_mover.store import events, host_health, plan_requests, reports, submissions, transitions
from data_mover.store.database import Database
from data_mover.store.events import EventReport
from data_mover.store.host_health import HostHealth
from data_mover.store.models import Job
from data_mover.store.plan_requests import PlanReport
from data_mover.store.reports import FileReport, JobReport
from data_mover.store.submissions import Submission

#: how often somebody who waits for an answer looks for it
LOOK_SECONDS = 0.1


@dataclass(frozen=True)
class MoveOptions:
    """How a move is to be done."""

    #: the same caller and key give the same job
    key: str | None = None
    label: str | None = None
    priority: Priority = Priority.NORMAL
    #: SHA-256 in hexadecimal that the source must have
    checksum: str | None = None
    #: which files are taken, and what they must be
    selection: Selection = field(default_factory=Selection)
    if_exists: IfExists = IfExists.REPLACE
    #: how long the job may take, from now; None is what the settings say
    deadline_seconds: int | None = None


@dataclass(frozen=True)
class Accepted:
    """A job that is on record, and will end whatever dies meanwhile."""

    id: int
    status: Status


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


class Moves:
    """Everything that can be asked. Each call is a few short transactions; no call talks to a host.

    All methods raise Refusal for what the caller got wrong and ServiceUnavailable where the database does not answer.
    """

    def __init__(self, settings: Settings, database: Database, registry: RegistryFile, doorbell: Doorbell) -> None:
        self._settings = settings
        self._database = database
        self._registry = registry
        self._doorbell = doorbell

    def submit(
        self, caller: Caller, sources: Locations, destination: Endpoint | None, options: MoveOptions
    ) -> Accepted:
        """Puts a move on record and wakes a worker. Without a destination it goes to the default one."""
        return self._accept(self._submission(caller, sources, destination, options))

    def plan(
        self,
        caller: Caller,
        sources: Locations,
        destination: Endpoint | None,
        options: MoveOptions,
        wait_seconds: float,
    ) -> PlanReport:
        """What `submit` would come to, once a worker has found out, or how far it is when the time is up."""
        submission = self._submission(caller, sources, destination, options)
        until = time.monotonic() + wait_seconds
        request_id = self._ask(submission)
        while True:
            with self._database.reading() as session:
                report = plan_requests.report(session, request_id)
            if report is not None and (report.complete or time.monotonic() > until):
                break
            time.sleep(LOOK_SECONDS)
            if report is None:  # another call of the same caller took the answer
                request_id = self._ask(submission)
        if report.complete:
            with self._database.writing() as session:
                plan_requests.forget(session, request_id)
        return report

    def check(self, caller: Caller, job_id: int) -> JobReport:
        """How the job stands. Asking again and again is fine; what has ended stays as it is."""
        with self._database.reading() as session:
            report = reports.report(session, caller.name, job_id)
        if report is None:
            raise no_such_job()
        return report

    def cancel(self, caller: Caller, job_id: int) -> JobReport:
        """The job, which is CANCELLED, or will be once its worker has stopped. A job that has failed stays so.

        Refused where the file is about to get its final name or has it.
        """
        self.check(caller, job_id)
        with self._database.writing() as session:
            transitions.cancel(session, job_id)
        report = self.check(caller, job_id)
        is_over = report.status in (Status.CANCELLED, Status.FAILED)
        if not is_over and report.phase not in (Phase.CANCELLING, Phase.ENDING):
            done = "is complete" if report.status is Status.COMPLETED else "is giving the file its final name"
            raise Refusal(f"Too late to cancel: the job {done}", code="too-late", field="id")
        return report

    def retry(self, caller: Caller, job_id: int) -> Accepted:
        """A new job that does again what one that has failed or was cancelled was to do; while there is one already,
        that one."""
        with self._database.reading() as session:
            job = reports.find(session, caller.name, job_id)
            live = submissions.find_live_retry(session, job_id)
        if job is None:
            raise no_such_job()
        if job.status not in (Status.FAILED, Status.CANCELLED):
            raise Refusal(f"Nothing to retry: the job is {job.status}", code="not-ended", field="id")
        if live is not None:
            return Accepted(live.id, Status(live.status))
        return self._accept(self._submission_again(caller, job))

    def files(
        self, caller: Caller, job_id: int, state: FileState | None, after: int, limit: int
    ) -> Sequence[FileReport]:
        """The files of the job behind the one of that number, `limit` at most: those in a state, or all."""
        with self._database.reading() as session:
            if reports.find(session, caller.name, job_id) is None:
                raise no_such_job()
            return reports.files(session, job_id, state, after, limit)

    def events(self, caller: Caller, job_id: int) -> Sequence[EventReport]:
        """The log of the job, the oldest event first."""
        with self._database.reading() as session:
            if reports.find(session, caller.name, job_id) is None:
                raise no_such_job()
            return events.of_job(session, job_id)

    def newest(self, caller: Caller, limit: int) -> Sequence[JobReport]:
        """The caller's newest jobs, the newest first."""
        with self._database.reading() as session:
            return reports.newest(session, caller.name, limit)

    def hosts(self) -> Sequence[HostDescription]:
        """The registered hosts, in the order of the registry; nothing that would help to get into one."""
        with self._database.reading() as session:
            health = host_health.health(session)
        return [
            HostDescription(name, host.description, host.protocol, host.roles, health.get(name, HostHealth("unknown")))
            for name, host in self._registry.current().hosts.items()
        ]

    def datasets(self) -> Sequence[DatasetDescription]:
        """The data types of the catalogue, in the order of the registry."""
        datasets = self._registry.current().datasets
        return [DatasetDescription(name, dataset.description) for name, dataset in datasets.items()]

    def _ask(self, submission: Submission) -> int:
        wanted = MoveSpec(
            sources=submission.endpoints,
            destination=submission.destination,
            checksum=submission.checksum,
            selection=submission.selection,
            if_exists=submission.if_exists,
        )
        with self._database.writing() as session:
            request_id = plan_requests.ask(session, submission.caller, wanted)
        self._doorbell.notify_workers()
        return request_id

    def _accept(self, submission: Submission) -> Accepted:
        with self._database.writing() as session:
            reach("begun")
            job_id = submissions.add(session, submission)
            reach("inserted")
        reach("committed")
        if job_id is None:
            return self._submitted_before(submission)
        self._doorbell.notify_workers()
        reach("notified")
        return Accepted(job_id, Status.PENDING)

    def _submission_again(self, caller: Caller, job: Job) -> Submission:
        """As the job was asked for, by the registry of today; with as much time as it had."""
        options = MoveOptions(
            label=job.label,
            priority=Priority.of_rank(job.priority),
            checksum=job.checksum,
            selection=Selection.from_struct(job.selection),
            if_exists=IfExists(job.if_exists),
            deadline_seconds=(job.deadline_ms - job.submitted_ms) // 1000,
        )
        destination = Endpoint(job.destination_host, job.destination_path)
        submission = self._submission(caller, parse_sources(job.source), destination, options)
        return dataclasses.replace(submission, retry_of=job.id)

    def _submission(
        self, caller: Caller, sources: Locations, destination: Endpoint | None, options: MoveOptions
    ) -> Submission:
        registry = self._registry.current()
        endpoints = registry.resolve_sources(sources)
        if destination is None:
            destination = registry.default_destination(sources) or self._settings.default_destination
        if destination is None:
            raise missing("destination")
        if options.checksum is not None:
            _require_one_file(options.checksum, options.selection, endpoints)
        return Submission(
            caller=caller.name,
            sources=sources,
            destination=registry.resolve_destination(destination),
            endpoints=endpoints,
            key=options.key,
            label=options.label,
            priority=options.priority,
            checksum=options.checksum,
            selection=options.selection,
            if_exists=options.if_exists,
            deadline_seconds=options.deadline_seconds or self._settings.deadline_seconds,
        )

    def _submitted_before(self, submission: Submission) -> Accepted:
        """The job that does the same again already; or has the key already, if it is the same request."""
        with self._database.reading() as session:
            if submission.retry_of is not None:
                job = submissions.find_newest_retry(session, submission.retry_of)
                return Accepted(job.id, Status(job.status))
            job = submissions.find_by_key(session, submission.caller, submission.key or "")
        if not submissions.is_same_request(job, submission):
            raise invalid("options.key", f"job {job.id} has this key and is another request; take another key")
        return Accepted(job.id, Status(job.status))


def _require_one_file(checksum: str, selection: Selection, endpoints: Sequence[Endpoint]) -> None:
    if len(endpoints) > 1:
        raise invalid("options.checksum", "is of one file; name those of several in options.checksums")
    if any(each != checksum for each in selection.checksums.values()):
        raise invalid("options.checksums", "says another than options.checksum, which is of the only file")


def no_such_job() -> Refusal:
    """Also said of another caller's job."""
    return Refusal("Job does not exist", code="no-such-job", field="id")
