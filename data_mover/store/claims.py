"""Who may work on a job, and what becomes of it: every change of a job's status, each one guarded UPDATE.

An attempt holds a job by its number: each UPDATE of an attempt says "if the job is still mine" and tells whether it
was. All functions take a writing session and leave the commit to the caller.
"""

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Select, Update, case, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from data_mover.domain.errors import (
    AttemptEnded,
    Cancelled,
    DataMoverError,
    DeadlinePassed,
    Fenced,
    HostUnreachable,
    MoveFailure,
    Poison,
    UnknownOutcome,
)
from data_mover.domain.locations import Endpoint, IfExists
from data_mover.domain.move_spec import MoveSpec
from data_mover.domain.selection import Selection
from data_mover.domain.states import ARRIVED, SETTLED, FileKind, FileState, Phase, Status
from data_mover.store import host_health
from data_mover.store.database import now_ms
from data_mover.store.host_health import HostState
from data_mover.store.models import EXPECTED_BYTES, Job, JobFile, Lane, TemporaryFile

#: Clocks jump: whatever is due later than it can have been set counts as due now. Nobody waits longer than this.
LONGEST_WAIT_MS = 86_400_000
#: so long a job waits before it looks again whether its final path is free
PATH_WAIT_MS = 1_000
#: a job that has lost its lease so often runs alone on its machine, to show whether it was to blame
SUSPECT_LOSSES = 2


@dataclass(frozen=True)
class Claim(MoveSpec):
    """A job in the hands of one attempt."""

    job_id: int
    attempt: int
    #: how many earlier attempts have failed for a reason of the job's own
    failures: int
    #: where the file or folder goes, or the directory that receives several, if an earlier attempt has resolved it
    path: str | None
    #: whether an earlier attempt has put all files on record
    planned: bool
    #: the job that this one does again
    retry_of: int | None
    deadline_ms: int
    #: what earlier attempts have copied, as far as callers were told
    bytes_done: int

    def __str__(self) -> str:
        return f"job={self.job_id} attempt={self.attempt}"


@dataclass(frozen=True)
class Candidate:
    """The job that is next in its lane."""

    job_id: int
    priority: int
    caller: str
    host_names: frozenset[str]
    suspect: bool


class Worker(NamedTuple):
    """Who claims: a process of a machine."""

    machine: str
    process: int

    def __str__(self) -> str:
        return f"{self.machine}:{self.process}"


class Lost(NamedTuple):
    """A job whose attempt gave no sign of life in time, and what has become of it."""

    job_id: int
    status: Status


def candidates(
    session: Session, worker: Worker, slots: Mapping[str, int], last: Claim | None = None
) -> list[Candidate]:
    """The jobs that the worker may claim now, the best first: one of each lane whose hosts admit one more.

    `places` says how many jobs may run with each host; a host that is not named has one, for a job that is then told
    that its host is unknown. Order: priority, the caller with the least running, the hosts of the `last` claim, age;
    but while one worker finds out whether a host lets it in, the others turn to hosts that are proven.
    """
    states, callers = host_health.states(session), _running_by_caller(session)
    warm = last.host_names if last else frozenset()
    finding_out = any(state.connecting and not state.proven for state in states.values())
    admitted = [candidate for candidate in _candidates(session) if _admit(candidate, states, slots)]

    def order(candidate: Candidate) -> tuple[Any, ...]:
        unproven = not all(states.get(name, HostState()).proven for name in candidate.host_names)
        return (
            finding_out and unproven,
            candidate.priority,
            callers[candidate.caller],
            candidate.host_names != warm,
            candidate.job_id,
        )

    return _leaving_suspects_alone(session, worker, sorted(admitted, key=order))


def take(
    session: Session, candidate: Candidate, worker: Worker, slots: Mapping[str, int], lease_ms: int
) -> Claim | None:
    """Claims the job, or returns None where it has to wait or somebody else was faster.

    One in a transaction: it keeps the rows of both hosts locked, in order of name, so that no two wait for each other.
    A suspect keeps all hosts locked, so that nothing else begins beside it.
    """
    if candidate.suspect:
        host_health.lock_all(session)
    else:
        host_health.lock(session, candidate.host_names)
    may = _admit(candidate, host_health.states(session), slots) and _leaving_suspects_alone(
        session, worker, [candidate]
    )
    if (
        may
        and not _waits_for_its_path(session, candidate.job_id)
        and _take(session, candidate.job_id, worker, lease_ms)
    ):
        return _claim(session, candidate.job_id)
    return None


def runnable(session: Session) -> bool:
    """Whether a job waits whose time has come; that its hosts have a free place is not said."""
    now = _now(session)
    statement = select(Job.id).where(Job.status == Status.PENDING, _due(Job.not_before_ms, now, LONGEST_WAIT_MS))
    return session.scalars(statement.limit(1)).one_or_none() is not None


def renew(session: Session, claim: Claim, lease_ms: int, **progress: Any) -> bool:
    """Extends the lease and records progress. False if the job is no longer this attempt's."""
    return change(session, claim, lease_until_ms=now_ms() + lease_ms, **progress)


def change(session: Session, claim: Claim, **values: Any) -> bool:
    """Changes the job. False if it is no longer this attempt's, or if the caller no longer wants it: nothing but
    `end_cancelled` changes it then."""
    return _changed(session, update(Job).where(*_mine(claim), Job.phase != Phase.CANCELLING).values(**values))


def is_mine(session: Session, claim: Claim) -> bool:
    """Whether the job is this attempt's still, wanted or not. Its row stays locked until the transaction ends."""
    return session.scalars(select(Job.id).where(*_mine(claim)).with_for_update()).one_or_none() is not None


def record_phase(session: Session, claim: Claim, phase: Phase, **values: Any) -> bool:
    """Records the phase. False if the job is no longer this attempt's."""
    return change(session, claim, phase=phase, **values)


def complete(session: Session, claim: Claim) -> bool:
    """COMPLETED, all files in their places. False if the job is no longer this attempt's."""
    return _end(session, claim, Status.COMPLETED, code=None, reason=None)


def fail(session: Session, claim: Claim, code: str, reason: str) -> bool:
    """FAILED, for good, and so are the files that have not arrived. False if the job is no longer this attempt's.

    Of many files it is told, too, how many have not arrived.
    """
    job = session.get_one(Job, claim.job_id, populate_existing=True)
    missing = job.files_total if job.selection["atomic"] else job.files_total - job.files_done
    if missing and job.files_total > 1:
        reason = f"{missing} of {job.files_total} files have not arrived. {reason}"
    return _end(session, claim, Status.FAILED, code=code, reason=reason)


def put_back(session: Session, claim: Claim, failure: MoveFailure, wait_ms: int) -> bool:
    """PENDING again after a failure, for another attempt after the wait. False if the job is no longer this
    attempt's."""
    values = {"phase": Phase.WAITING_RETRY, "failures": Job.failures + 1}
    return _release(session, claim, failure, wait_ms, **values)


def hand_back(session: Session, claim: Claim, cause: DataMoverError, wait_ms: int = 0) -> bool:
    """PENDING again through no fault of the job: it spends no attempt. False if the job is no longer this attempt's."""
    return _release(session, claim, cause, wait_ms, phase=Phase.WAITING_RETRY if wait_ms else Phase.QUEUED)


def cancel(session: Session, job_id: int) -> None:
    """CANCELLED where the job waits; where a worker is at it, that one is told with its next sign of life.

    A job that has ended, or is about to publish all it has, or has done so, or of which nobody knows whether it did,
    stays what it is.
    """
    unmarked = ~_marked().where(JobFile.job_id == job_id).exists()
    #: one of many files is no reason to go on with the others
    in_part = Job.files_total > 1
    running = (Job.id == job_id, Job.status == Status.IN_PROGRESS, Job.phase != Phase.PUBLISHING, unmarked | in_part)
    session.execute(update(Job).where(*running).values(phase=Phase.CANCELLING))
    waiting = (Job.id == job_id, Job.status == Status.PENDING, unmarked, ~_has_arrived())
    waiting_job = select(Job.id).where(*waiting).with_for_update()
    if session.scalars(waiting_job).one_or_none() is not None:
        _end_all(session, [job_id], Status.CANCELLED)


def why_not(session: Session, claim: Claim) -> AttemptEnded:
    """Why a change that the attempt wanted to make was not made."""
    return Cancelled() if _is_cancelling(session, claim) else Fenced()


def end_cancelled(session: Session, claim: Claim) -> bool:
    """CANCELLED, once the attempt has stopped. False if the job is no longer this attempt's, or is still wanted."""
    if not _is_cancelling(session, claim):
        return False
    _end_all(session, [claim.job_id], Status.CANCELLED)
    _clear_at_once(session, claim)
    return True


def reserve(session: Session, claim: Claim) -> int:
    """Has the job bring what it has to its host, and returns what other running jobs have still to bring there, in
    bytes. Of two that begin at once, the second one counts the first.

    The phase stays what it is where the job is no longer this attempt's.
    """
    host_health.lock(session, [claim.destination.host])
    record_phase(session, claim, Phase.TRANSFERRING)
    return bytes_reserved_on(session, claim.destination.host, Job.id != claim.job_id)


def bytes_reserved_on(session: Session, host: str, *which: ColumnElement[bool]) -> int:
    """What running jobs have still to bring to the host, as far as they have found out."""
    begun = (Job.status == Status.IN_PROGRESS, Job.phase != Phase.RESOLVING, Job.destination_host == host)
    expected = select(func.coalesce(func.sum(EXPECTED_BYTES), 0)).where(JobFile.job_id == Job.id)
    left = expected.scalar_subquery() - Job.bytes_done
    return sum(max(0, int(each)) for each in session.scalars(select(left).where(*begun, *which)))


def remaining_ms(session: Session, claim: Claim) -> int:
    """How long until the job's deadline; negative once it has passed."""
    return claim.deadline_ms - _now(session)


def take_back_lost(session: Session, lease_ms: int, limit: int) -> list[Lost]:
    """Makes jobs PENDING whose attempt has not renewed its lease in time, `limit` at most.

    One that the caller no longer wants is CANCELLED, and one that was lost while it ran alone has FAILED.
    """
    lost = select(Job.id, Job.phase, Job.losses)
    lost = lost.where(Job.status == Status.IN_PROGRESS, _due(Job.lease_until_ms, _now(session), 2 * lease_ms))
    rows = session.execute(lost.limit(limit).with_for_update(skip_locked=True, of=Job)).all()
    cancelled = [row.id for row in rows if row.phase == Phase.CANCELLING]
    poison = [row.id for row in rows if row.losses >= SUSPECT_LOSSES and row.id not in cancelled]
    again = [row.id for row in rows if row.id not in cancelled and row.id not in poison]
    _end_all(session, cancelled, Status.CANCELLED)
    _take_back(session, again)
    outcomes = dict.fromkeys(cancelled, Status.CANCELLED) | _fail_all(session, poison, Poison())
    return [Lost(row.id, outcomes.get(row.id, Status.PENDING)) for row in rows]


def end_overdue(session: Session, limit: int) -> list[int]:
    """Fails jobs whose deadline has passed, `limit` at most; the ids of the jobs.

    One that is about to publish or to stop is left to its attempt. One that waited for a host that cannot be reached
    fails for that reason.
    """
    left_alone = (Phase.PUBLISHING, Phase.CANCELLING)
    live = or_(Job.status == Status.PENDING, (Job.status == Status.IN_PROGRESS) & Job.phase.not_in(left_alone))
    overdue = select(Job.id, Job.status, Job.reason, Lane.hosts).join(Lane, Lane.id == Job.lane_id)
    overdue = overdue.where(Job.deadline_ms < _now(session), live).limit(limit)
    rows = session.execute(overdue.with_for_update(skip_locked=True, of=Job)).all()
    unreachable = {name for name, block in host_health.blocks(session).items() if block.code == HostUnreachable.code}
    for row in rows:
        waits_for = unreachable & set(row.hosts.split()) if row.status == Status.PENDING else ()
        failure = HostUnreachable(f"{min(waits_for)}, until the deadline") if waits_for else DeadlinePassed(row.reason)
        _fail_all(session, [row.id], failure)
    return [row.id for row in rows]


def is_marked(session: Session, claim: Claim) -> bool:
    """Whether an attempt was about to publish, and nobody has found out yet whether it did."""
    marked = _marked().where(JobFile.job_id == claim.job_id).limit(1)
    return session.scalars(marked).one_or_none() is not None


def _mine(claim: Claim) -> tuple[ColumnElement[bool], ...]:
    return Job.id == claim.job_id, Job.attempt == claim.attempt, Job.status == Status.IN_PROGRESS


def _is_cancelling(session: Session, claim: Claim) -> bool:
    """The row stays locked until the transaction ends."""
    cancelling = select(Job.id).where(*_mine(claim), Job.phase == Phase.CANCELLING).with_for_update()
    return session.scalars(cancelling).one_or_none() is not None


def _marked() -> Select[int]:
    """Files of which an attempt was about to publish each, while nobody has found out yet whether it did."""
    return select(JobFile.job_id).where(JobFile.state == FileState.VERIFIED)


def _has_arrived() -> ColumnElement[bool]:
    """Whether all that a job consists of is in its place, whoever was to say so."""
    missing = select(JobFile.job_id).where(JobFile.job_id == Job.id, JobFile.state.not_in(ARRIVED))
    return Job.planned & ~missing.exists()


def _fail_all(session: Session, ids: Sequence[int], failure: MoveFailure) -> dict[int, Status]:
    """Fails locked jobs that are no longer worked on; how each has ended. One of which everything has arrived is
    COMPLETED. Where an attempt was lost that was about to publish a job's only file, or all files at once, nobody can
    say whether it did."""
    arrived = set(session.scalars(select(Job.id).where(Job.id.in_(ids), _has_arrived())))
    all_of_it = or_(Job.files_total == 1, JobFile.kind == FileKind.DIRECTORY)
    marked = set(session.scalars(_marked().join(Job).where(Job.id.in_(ids), all_of_it)))
    _end_all(session, arrived, Status.COMPLETED, code=None, reason=None)
    for jobs, cause in (marked, UnknownOutcome()), (set(ids) - marked - arrived, failure):
        _end_all(session, jobs, Status.FAILED, code=cause.code, reason=cause.reason)
    return {id_: Status.COMPLETED if id_ in arrived else Status.FAILED for id_ in ids}


def _end_all(session: Session, ids: Collection[int], status: Status, **values: Any) -> None:
    """Ends locked jobs that are no longer worked on."""
    if not ids:
        return
    ended = {"phase": None, "lease_until_ms": None, "worker": None, "bytes_per_second": None, **values}
    ended["ended_ms"] = _now_but_not_before(func.coalesce(Job.started_ms, Job.submitted_ms))
    session.execute(update(Job).where(Job.id.in_(ids)).values(status=status, **ended))
    _end_files(session, ids, status, values)


def _end_files(session: Session, ids: Collection[int], status: Status, cause: Mapping[str, Any]) -> None:
    """What has not arrived by the end of its job has failed with it, for a reason of its own if it has one, or is left
    alone where nobody wants it any more. Of what was about to be published nobody can say whether it has arrived. What
    the job has come to follows from its files."""
    of_jobs = update(JobFile).where(JobFile.job_id.in_(ids))
    if status is not Status.COMPLETED:
        unseen = of_jobs.where(JobFile.job_id.in_(_not_appeared(ids)), JobFile.state.in_(ARRIVED))
        session.execute(unseen.values(state=FileState.PENDING).execution_options(synchronize_session=False))
    unknown = {"state": FileState.FAILED, "code": UnknownOutcome.code, "reason": UnknownOutcome().reason}
    session.execute(of_jobs.where(JobFile.state == FileState.VERIFIED).values(unknown))
    unsettled = of_jobs.where(JobFile.state.not_in(SETTLED))
    if status is Status.FAILED:
        told = {name: func.coalesce(getattr(JobFile, name), cause[name]) for name in ("code", "reason")}
        session.execute(unsettled.values(state=FileState.FAILED, **told))
    else:
        session.execute(unsettled.values(state=FileState.PENDING))
    session.execute(of_jobs.where(JobFile.held).values(held=False))
    there = (JobFile.job_id == Job.id, JobFile.kind == FileKind.FILE, JobFile.state.in_(ARRIVED))
    count = select(func.count()).select_from(JobFile).where(*there).scalar_subquery()
    size = select(func.coalesce(func.sum(JobFile.size_bytes), 0)).where(*there).scalar_subquery()
    session.execute(update(Job).where(Job.id.in_(ids)).values(files_done=count, bytes_done=size))


def _not_appeared(ids: Collection[int]) -> Select[int]:
    """Those of which a folder was to appear at once, and it is not on record that it has."""
    top = (JobFile.number == 0, JobFile.kind == FileKind.DIRECTORY, JobFile.state != FileState.PUBLISHED)
    return select(JobFile.job_id).join(Job).where(Job.id.in_(ids), Job.selection["atomic"].as_boolean(), *top)


def _take_back(session: Session, ids: Collection[int]) -> None:
    values = {"status": Status.PENDING, "phase": Phase.QUEUED, "lease_until_ms": None, "worker": None}
    changes = {**values, "not_before_ms": now_ms(), "bytes_per_second": None, "losses": Job.losses + 1}
    session.execute(update(Job).where(Job.id.in_(ids)).values(changes))
    _let_go(session, ids)


def _let_go(session: Session, ids: Collection[int]) -> None:
    """Others may publish at the final paths of the jobs; not so where one of these may still be about to."""
    unmarked = (JobFile.job_id.in_(ids), JobFile.held, JobFile.state != FileState.VERIFIED)
    session.execute(update(JobFile).where(*unmarked).values(held=False))


def _candidates(session: Session) -> list[Candidate]:
    now = _now(session)
    waiting = (Job.lane_id == Lane.id, Job.status == Status.PENDING, _due(Job.not_before_ms, now, LONGEST_WAIT_MS))
    candidate = select(Job.id).where(*waiting).order_by(Job.priority, Job.id).limit(1).correlate(Lane).scalar_subquery()
    rows = session.execute(select(Job.id, Job.priority, Job.losses, Lane).join(Lane, Job.id == candidate))
    return [
        Candidate(
            job_id,
            priority,
            lane.caller,
            lane.host_names,
            suspect=losses >= SUSPECT_LOSSES,
        )
        for job_id, priority, losses, lane in rows
    ]


def _running_by_caller(session: Session) -> Counter[str]:
    rows = session.execute(
        select(Job.caller, func.count()).where(Job.status == Status.IN_PROGRESS).group_by(Job.caller)
    )
    return Counter(dict(rows.all()))


def _admit(candidate: Candidate, states: Mapping[str, HostState], slots: Mapping[str, int]) -> bool:
    return all(states.get(name, HostState()).admits(slots.get(name, 1)) for name in candidate.host_names)


def _leaving_suspects_alone(session: Session, worker: Worker, found: Sequence[Candidate]) -> list[Candidate]:
    """Those of the jobs that may begin beside what runs on the machine: nothing beside a suspect, no suspect beside
    anything. While a suspect waits, nothing new begins, so that its turn comes."""
    beside = session.scalars(
        select(Job.losses).where(
            Job.status == Status.IN_PROGRESS, Job.worker.startswith(f"{worker.machine}:", autoescape=True)
        )
    ).all()
    suspects = [candidate for candidate in found if candidate.suspect]
    if any(losses >= SUSPECT_LOSSES for losses in beside) or (suspects and beside):
        return []
    return suspects[:1] or list(found)


def _waits_for_its_path(session: Session, job_id: int) -> bool:
    """Whether another job holds the final path of its only file, as far as that is known; it then waits a little."""
    other = aliased(JobFile)
    mine = (JobFile.job_id == job_id, Job.files_total == 1)
    claim = select(other.job_id).where(other.place == JobFile.place, other.held, other.job_id != job_id).exists()
    if session.scalars(select(JobFile.job_id).join(Job).where(*mine, claim).limit(1)).one_or_none() is None:
        return False
    waiting = update(Job).where(Job.id == job_id, Job.status == Status.PENDING)
    session.execute(waiting.values(not_before_ms=now_ms() + PATH_WAIT_MS))
    return True


def _take(session: Session, job_id: int, worker: Worker, lease_ms: int) -> bool:
    taken = (
        update(Job)
        .where(Job.id == job_id, Job.status == Status.PENDING)
        .values(
            status=Status.IN_PROGRESS,
            phase=Phase.RESOLVING,
            attempt=Job.attempt + 1,
            worker=str(worker),
            lease_until_ms=now_ms() + lease_ms,
            started_ms=func.coalesce(Job.started_ms, _now_but_not_before(Job.submitted_ms)),
        )
    )
    return _changed(session, taken)


def _claim(session: Session, job_id: int) -> Claim:
    job = session.get_one(Job, job_id, populate_existing=True)
    return Claim(
        job_id=job.id,
        attempt=job.attempt,
        sources=tuple(Endpoint(host, path) for host, path in job.sources),
        destination=Endpoint(job.destination_host, job.destination_path),
        checksum=job.checksum,
        selection=Selection.from_struct(job.selection),
        if_exists=IfExists(job.if_exists),
        failures=job.failures,
        path=job.path,
        planned=job.planned,
        retry_of=job.retry_of,
        deadline_ms=job.deadline_ms,
        bytes_done=job.bytes_done,
    )


def _end(session: Session, claim: Claim, status: Status, **values: Any) -> bool:
    ended = {"phase": None, "lease_until_ms": None, "worker": None, "ended_ms": _now_but_not_before(Job.started_ms)}
    mine = change(session, claim, status=status, **ended, **values)
    if mine:
        _end_files(session, [claim.job_id], status, values)
        _clear_at_once(session, claim)
    return mine


def _clear_at_once(session: Session, claim: Claim) -> None:
    """The attempt has ended the job and stopped: nobody writes what it could not clear."""
    session.execute(update(TemporaryFile).where(TemporaryFile.job_id == claim.job_id).values(not_before_ms=now_ms()))


def _release(session: Session, claim: Claim, cause: DataMoverError, wait_ms: int, **values: Any) -> bool:
    waiting = {"lease_until_ms": None, "worker": None, "bytes_per_second": None}
    code = cause.code if isinstance(cause, MoveFailure) else None
    told = {"code": code, "reason": str(cause) or None}
    due = now_ms() + wait_ms
    mine = change(session, claim, status=Status.PENDING, not_before_ms=due, **waiting, **told, **values)
    if mine:
        _let_go(session, [claim.job_id])
    return mine


def _changed(session: Session, statement: Update) -> bool:
    statement = statement.execution_options(synchronize_session=False)
    return session.scalars(statement.returning(Job.id)).one_or_none() is not None


def _now_but_not_before(column: ColumnElement[int] | InstrumentedAttribute[Any]) -> ColumnElement[int]:
    """A job that began has not ended before, whatever the clock says meanwhile."""
    return case((column > now_ms(), column), else_=now_ms())


def _due(column: InstrumentedAttribute[Any], now: int, longest_ms: int) -> ColumnElement[bool]:
    return or_(column <= now, column > now + longest_ms)


def _now(session: Session) -> int:
    return session.scalars(select(now_ms())).one()
