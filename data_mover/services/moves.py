"""Submit, cancel and retry moves. Raises Refusal and ServiceUnavailable."""

import dataclasses
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field

from data_mover.config.callers import Caller, Callers
from data_mover.config.registry_file import RegistryFile
from data_mover.config.settings import Settings
from data_mover.domain.errors import Refusal
from data_mover.domain.fault_points import reach
from data_mover.domain.locations import (
    CatalogueItem,
    Endpoint,
    IfExists,
    Locations,
    invalid,
    missing,
    parse_sources,
    shown,
    sources_as_json,
)
from data_mover.domain.rights import Verb
from data_mover.domain.selection import Selection
from data_mover.domain.states import Phase, Priority, Status
from data_mover.services.audit import RequestAudit
from data_mover.services.queries import Queries, no_such_job
from data_mover.services.quotas import require_quota
from data_mover.services.transactions import Transactions
from data_mover.store import reports, submissions, transitions
from data_mover.store.models import Job
from data_mover.store.reports import JobReport
from data_mover.store.submissions import Submission

#: the interval of the queries that wait for an answer
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
    #: which files are moved, and what they must be
    selection: Selection = field(default_factory=Selection)
    if_exists: IfExists = IfExists.REPLACE
    #: how long the job may take, from now; None is what the settings say
    deadline_seconds: int | None = None


@dataclass(frozen=True)
class Accepted:
    """A recorded job, which will end whatever process dies meanwhile."""

    id: int
    status: Status


class Moves:
    """What a caller can do with moves. Each call is a few short transactions; no call connects to a host.

    All methods raise Refusal for errors of the caller, and ServiceUnavailable if the database does not answer.
    """

    def __init__(
        self,
        settings: Settings,
        transactions: Transactions,
        registry: RegistryFile,
        callers: Callers,
        queries: Queries,
        audit: RequestAudit,
    ) -> None:
        self._settings = settings
        self._audit = audit
        self._callers = callers
        self._transactions = transactions
        self._registry = registry
        self._queries = queries

    def submit(
        self, caller: Caller, sources: Locations, destination: Endpoint | None, options: MoveOptions
    ) -> Accepted:
        """Record a move and wake a worker. Without a destination the default one is used."""
        asked = {"source": shown(sources_as_json(sources)), "destination": destination and destination.as_struct()}
        with self._audit.call("move", **asked, options=asdict(options)) as entry:
            submission = self.submission(caller, sources, destination, options)
            entry["resolved"] = {
                "sources": list(map(str, submission.endpoints)),
                "destination": str(submission.destination),
            }
            entry["by"] = _deciding_rights(caller, submission)
            accepted = self._accept(caller, submission)
            entry |= {"answer": accepted.status, "move": accepted.id}
        return accepted

    def cancel(self, caller: Caller, job_id: int) -> JobReport:
        """Return the job: CANCELLED, or about to be once its worker has stopped. A failed job stays so.

        Refused if the file has its final name or is about to get it.
        """
        with self._audit.call("cancel", move=job_id) as entry:
            self._require_own(caller, job_id)
            with self._transactions.writing() as session:
                transitions.cancel(session, job_id)
            report = self._queries.report(job_id)
            is_over = report.status in (Status.CANCELLED, Status.FAILED)
            if not is_over and report.phase not in (Phase.CANCELLING, Phase.ENDING):
                done = "is complete" if report.status is Status.COMPLETED else "is giving the file its final name"
                raise Refusal(f"Too late to cancel: the job {done}", code="too-late", field="id")
            entry["answer"] = report.status
        return report

    def retry(self, caller: Caller, job_id: int) -> Accepted:
        """Submit a failed or cancelled move again. Returns the job that does so already, if there is one."""
        with self._audit.call("retry", of=job_id) as entry:
            accepted = self._submitted_again(caller, job_id)
            entry |= {"answer": accepted.status, "move": accepted.id}
        return accepted

    def _submitted_again(self, caller: Caller, job_id: int) -> Accepted:
        job = self._require_own(caller, job_id)
        with self._transactions.reading() as session:
            live = submissions.find_live_retry(session, job_id)
        if job.status not in (Status.FAILED, Status.CANCELLED):
            raise Refusal(f"Nothing to retry: the job is {job.status}", code="not-ended", field="id")
        if live is not None:
            return Accepted(live.id, Status(live.status))
        owner = caller if job.caller == caller.name else self._callers.named(job.caller, job.scopes)
        if owner is None:
            raise Refusal(f"The caller '{job.caller}' is no longer known", code="not-allowed", field="id")
        return self._accept(owner, self._submission_again(owner, job))

    def submission(
        self, caller: Caller, sources: Locations, destination: Endpoint | None, options: MoveOptions
    ) -> Submission:
        """Return the valid move, resolved by the registry. Raises Refusal."""
        registry = self._registry.current().seen_with(caller.rights)
        endpoints = registry.resolve_sources(sources)
        if destination is None:
            destination = registry.default_destination(sources) or self._settings.default_destination
        if destination is None:
            raise missing("destination")
        if options.checksum is not None:
            _require_one_file(options.checksum, options.selection, endpoints)
        destination = registry.resolve_destination(destination)
        if options.if_exists is IfExists.VERIFY and not registry.may_read(destination):
            raise shows_what_is_there("options.if_exists", "verify")
        return Submission(
            caller=caller.name,
            scopes=caller.scopes,
            sources=sources,
            destination=destination,
            endpoints=endpoints,
            key=options.key,
            label=options.label,
            priority=options.priority,
            checksum=options.checksum,
            selection=options.selection,
            if_exists=options.if_exists,
            deadline_seconds=options.deadline_seconds or self._settings.deadline_seconds,
        )

    def _require_own(self, caller: Caller, job_id: int) -> Job:
        """Return the job, if the caller may act on it. Raises the refusal of a job that does not exist."""
        with self._transactions.reading() as session:
            job = reports.find(session, None if caller.may(Verb.ACT_ALL) else caller.name, job_id)
        if job is None:
            raise no_such_job()
        return job

    def _accept(self, owner: Caller, submission: Submission) -> Accepted:
        with self._transactions.writing() as session:
            reach("begun")
            job_id = submissions.add(session, submission)
            reach("inserted")
            if job_id is not None:
                require_quota(session, owner)
                self._transactions.notify_workers()
        if job_id is None:
            return self._submitted_before(submission)
        reach("notified")
        return Accepted(job_id, Status.PENDING)

    def _submission_again(self, caller: Caller, job: Job) -> Submission:
        """Return the submission of the job, resolved by the present registry, with the same deadline in seconds."""
        options = MoveOptions(
            label=job.label,
            priority=Priority.of_rank(job.priority),
            checksum=job.checksum,
            selection=Selection.from_struct(job.selection),
            if_exists=IfExists(job.if_exists),
            deadline_seconds=(job.deadline_ms - job.submitted_ms) // 1000,
        )
        destination = Endpoint(job.destination_host, job.destination_path)
        submission = self.submission(caller, parse_sources(job.source), destination, options)
        return dataclasses.replace(submission, retry_of=job.id)

    def _submitted_before(self, submission: Submission) -> Accepted:
        """Return the job with the same key, or the one that retries the same job. Refused if the key has another
        request."""
        with self._transactions.reading() as session:
            if submission.retry_of is not None:
                job = submissions.find_newest_retry(session, submission.retry_of)
                return Accepted(job.id, Status(job.status))
            job = submissions.find_by_key(session, submission.caller, submission.key or "")
        if not submissions.is_same_request(job, submission):
            raise invalid("options.key", f"job {job.id} has this key and is another request; take another key")
        return Accepted(job.id, Status(job.status))


def _deciding_rights(caller: Caller, submission: Submission) -> dict[str, list[str]]:
    """Return the rights that allow the move, as the callers' file has them."""
    rights, there = caller.rights, submission.destination
    types = [f"type:{each.type}" for each in submission.sources if isinstance(each, CatalogueItem)]
    read = [
        str(each) for each in rights.sources if any(each.covers(end.host, end.path) for end in submission.endpoints)
    ]
    return {
        "sources": [*types, *read] or ["web"],
        "destinations": [str(each) for each in rights.creates if each.covers(there.host, there.path)],
    }


def shows_what_is_there(field: str, what: str) -> Refusal:
    """Return the refusal of a caller who may write to the destination and not read it."""
    return Refusal(
        f"Not allowed: {what} shows what is at the destination, which takes the right to read there",
        code="not-allowed",
        field=field,
    )


def _require_one_file(checksum: str, selection: Selection, endpoints: Sequence[Endpoint]) -> None:
    if len(endpoints) > 1:
        raise invalid("options.checksum", "is of one file; name those of several in options.checksums")
    if any(each != checksum for each in selection.checksums.values()):
        raise invalid("options.checksums", "says another than options.checksum, which is of the only file")
