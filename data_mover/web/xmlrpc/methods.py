"""The methods that programs call. Each turns arguments into values, calls a use case, and answers."""

from typing import Any

from pyramid.request import Request

from data_mover.domain.rights import Verb
from data_mover.services.queries import no_such_job
from data_mover.web.parsing import (
    LONGEST_WAIT_SECONDS,
    file_filter,
    job_filter,
    job_id,
    job_ids,
    move_request,
    wait_seconds,
)
from data_mover.web.structs import event_struct, host_struct
from data_mover.web.xmlrpc.dispatch import Method, rejected


def move(request: Request, source: Any = None, destination: Any = None, options: Any = None) -> Any:
    """move(source, destination[, options]) copies a file, a folder or several to a registered destination and answers
    at once.

    source: {'host': name, 'path': path}, a URL like sftp://name/path or one of https or http, {'type': data type,
    'id': id}, a list of these, or as two arguments a data type and an id: move('species', 12).
    destination: {'host': name, 'path': path} or a URL. A directory, or a path that ends in a slash, receives the source
    under its own name; anything else is the exact name. A folder merges into what is there and removes nothing.
    options: key (the same key gives the same job), label, priority (low, normal, high), checksum (sha256:...),
    if_exists (replace, refuse, verify), deadline (seconds); of folders match (patterns like *.tif or **/*.csv), links
    (skip, follow, refuse), checksums (by name), atomic (all files appear at once).

    Answers {'id': id, 'status': 'PENDING'}, or {'status': 'REJECTED', 'reason', 'code', 'field'} and no job.
    """
    return request.moves.submit(request.caller, *move_request(source, destination, options))


def plan(request: Request, source: Any = None, destination: Any = None, options: Any = None) -> Any:
    """plan(source, destination[, options]) returns what a move would do, and changes nothing.

    It takes what move takes, and answers {'status': 'REJECTED', ...} where move would. path is the final path;
    files_total and bytes_total count the files and their bytes, files_existing the final paths that exist already;
    bytes_free is the free space of the destination, bytes_reserved what running moves will still write to it; writable
    says whether this service may write there. code and reason say why the move would fail, or would have to wait with
    phase blocked; failures lists files that would fail, 100 at most, files_failed counts them.

    Waits 10 seconds at most. complete is false if that was too short: the answer then has what is known so far, and the
    same call, repeated within a minute, resumes there.
    """
    with request.wait_slots.slot(request) as seconds:
        return request.plans.plan(request.caller, *move_request(source, destination, options), wait_seconds=seconds)


def check(request: Request, id: Any = None) -> Any:
    """check(id) returns the state of a job.

    status is PENDING, IN_PROGRESS, COMPLETED, FAILED or CANCELLED; COMPLETED says that size and SHA-256 at the
    destination were found equal to the source. reason and code say why a job failed, retryable and who_can_fix what can
    be done; path is where the file is. Sizes are bytes, times are ISO 8601 in UTC; what is not known is left out.
    """
    return request.queries.check(request.caller, job_id(id))


def cancel(request: Request, id: Any = None) -> Any:
    """cancel(id) stops a job and answers as check does: CANCELLED, or phase cancelling until its worker has stopped.

    Refused with the code too-late if the file has its final name, or is about to get it.
    """
    return request.moves.cancel(request.caller, job_id(id))


def retry(request: Request, id: Any = None) -> Any:
    """retry(id) submits the move of a FAILED or CANCELLED job again, as a new job.

    Answers {'id': id, 'status': 'PENDING'}; if a live job retries it already, that one.
    """
    return request.moves.retry(request.caller, job_id(id))


def files(request: Request, id: Any = None, filter: Any = None) -> Any:
    """files(id[, filter]) lists the files of a job, by number: name, final path, state, size in bytes, proof, and why
    it failed.

    state is pending, transferring, verified, published, skipped (it was there already) or failed.

    filter: state (only these), after (a number: those behind it), limit (100 by default, 1000 at most).
    """
    return request.queries.files(request.caller, job_id(id), *file_filter(filter))


def events(request: Request, id: Any = None) -> Any:
    """events(id) lists the log of a job, the oldest event first, numbered from 1 on.

    event says what: submitted, claimed, phase, attempt-failed, attempt-postponed, lease-lost, files-arrived,
    files-failed, cancel-requested, completed, failed or cancelled. at is when, from and to are the status before and
    after, phase the one after, attempt and worker who worked on it, code and reason why, files how many it is about.
    """
    return [event_struct(event) for event in request.queries.events(request.caller, job_id(id))]


def check_many(request: Request, ids: Any = None) -> Any:
    """check_many(ids) answers as check does for each id of a list, 500 at most, in its order."""
    parsed = job_ids(ids)
    known = iter(request.queries.several(request.caller, [job_id for job_id in parsed if job_id is not None]))
    reports = [None if job_id is None else next(known) for job_id in parsed]
    return [rejected(no_such_job()) if report is None else report for report in reports]


def wait(request: Request, id: Any = None, seconds: Any = LONGEST_WAIT_SECONDS) -> Any:
    """wait(id[, seconds]) answers as check does, once the job has ended or after so many seconds (30 at most); earlier,
    if many calls wait."""
    number, longest = job_id(id), wait_seconds(seconds)
    with request.wait_slots.slot(request, longest) as allowed:
        return request.queries.wait(request.caller, number, min(longest, allowed))


def jobs(request: Request, filter: Any = None) -> Any:
    """jobs([filter]) lists the caller's jobs as check answers them, the newest first.

    filter: status, phase, host (of a source or the destination), label, caller, since and until (ISO 8601 with time
    zone, of the submission), before (an id: older jobs), limit (50 by default, 500 at most).
    """
    return request.queries.page(request.caller, *job_filter(filter))


def explain(request: Request, id: Any = None) -> Any:
    """explain(id) says what a job waits for.

    cause is ended, running, worker-lost, settling, host-paused, host-unreachable, path-locked, waiting-retry,
    no-worker, host-limit, host-unproven, quota, no-sweeper, no-redis, others-first or queued; sentence says it in
    words, who_can_release who can change it; host, worker, position (1 is the caller's next) and until are there where
    they apply.
    """
    return request.explanations.explain(request.caller, job_id(id))


def hosts(request: Request) -> Any:
    """hosts() lists the registered hosts: name, description, protocol, roles and health (unknown, ok, failing or
    paused)."""
    return [host_struct(host) for host in request.queries.hosts(request.caller)]


def datasets(request: Request) -> Any:
    """datasets() lists the data types of the catalogue: name and description."""
    return request.queries.datasets(request.caller)


_ENDS = (
    ("string", "int"),
    *((source, destination) for source in ("string", "struct", "array") for destination in ("string", "struct")),
)

_MOVES = tuple(("struct", *ends, *options) for options in ((), ("struct",)) for ends in _ENDS)

_OF_ONE = (("struct", "int"), ("struct", "string"))

METHODS = {
    "move": Method(move, _MOVES, Verb.MOVE),
    "plan": Method(plan, _MOVES, Verb.PLAN),
    "check": Method(check, _OF_ONE, Verb.CHECK),
    "check_move_status": Method(check, _OF_ONE, Verb.CHECK),
    "cancel": Method(cancel, _OF_ONE, Verb.CANCEL),
    "retry": Method(retry, _OF_ONE, Verb.RETRY),
    "files": Method(
        files, tuple(("array", id, *filter) for filter in ((), ("struct",)) for id in ("int", "string")), Verb.CHECK
    ),
    "events": Method(events, (("array", "int"), ("array", "string")), Verb.CHECK),
    "check_many": Method(check_many, (("array", "array"),), Verb.CHECK),
    "wait": Method(
        wait,
        tuple(("struct", id, *seconds) for seconds in ((), ("int",), ("double",)) for id in ("int", "string")),
        Verb.CHECK,
    ),
    "jobs": Method(jobs, (("array",), ("array", "struct")), Verb.CHECK),
    "explain": Method(explain, _OF_ONE, Verb.CHECK),
    "hosts": Method(hosts, (("array",),)),
    "datasets": Method(datasets, (("array",),)),
}
