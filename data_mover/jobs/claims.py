"""Who may work on a job, and what becomes of it: every change of a job's status, each one guarded UPDATE.

An attempt holds a job by its number: each UPDATE of an attempt says "if the job is still mine" and tells whether it
was. All functions take a writing session and leave the commit to the caller.
"""

from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Update, case, func, or_, select, update
from sqlalchemy.orm import InstrumentedAttribute, Session

from data_mover.db import now_ms
from data_mover.errors import DeadlinePassed, MoveFailure, UnknownOutcome
from data_mover.jobs import hosts
from data_mover.jobs.models import Job, JobFile, Lane
from data_mover.jobs.states import FileState, Phase, Status
from data_mover.locations import Endpoint

#: Clocks jump: whatever is due later than it can have been set counts as due now. Nobody waits longer than this.
LONGEST_WAIT_MS = 86_400_000


@dataclass(frozen=True)
class Claim:
    """A job in the hands of one attempt."""

    job_id: int
    attempt: int
    source: Endpoint
    destination: Endpoint
    #: SHA-256 that the caller says the source has
    checksum: str | None
    #: the final path, if an earlier attempt has resolved it
    path: str | None
    #: the digest that an earlier attempt was about to publish, if it came so far
    publishing_sha256: str | None
    deadline_ms: int

    @property
    def host_names(self) -> tuple[str, str]:
        return self.source.host, self.destination.host

    def __str__(self) -> str:
        return f"job={self.job_id} attempt={self.attempt}"


@dataclass(frozen=True)
class Head:
    """The job that is next in its lane."""

    job_id: int
    priority: int
    caller: str
    host_names: frozenset[str]


def heads(session: Session, places: Mapping[str, int], last: Claim | None = None) -> list[Head]:
    """The jobs that may be claimed now, the best first: one of each lane whose hosts have a free place.

    `places` says how many jobs may run with each host; a host that is not named has one, for a job that is then told
    that its host is unknown. Order: priority, the caller with the least running, the hosts of the `last` claim, age.
    """
    running, callers = hosts.running(session), _running_by_caller(session)
    warm = frozenset(last.host_names) if last else frozenset()
    free = [head for head in _heads(session) if _has_places(head, running, places)]
    return sorted(free, key=lambda head: (head.priority, callers[head.caller], head.host_names != warm, head.job_id))


def take(session: Session, head: Head, worker: str, places: Mapping[str, int], lease_ms: int) -> Claim | None:
    """Claims the job, or returns None where somebody else was faster.

    One in a transaction: it keeps the rows of both hosts locked, in order of name, so that no two wait for each other.
    """
    hosts.lock(session, head.host_names)
    if _has_places(head, hosts.running(session), places) and _take(session, head.job_id, worker, lease_ms):
        return _claim(session, head.job_id)
    return None


def runnable(session: Session) -> bool:
    """Whether a job waits whose time has come; that its hosts have a free place is not said."""
    now = _now(session)
    statement = select(Job.id).where(Job.status == Status.PENDING, _due(Job.not_before_ms, now, LONGEST_WAIT_MS))
    return session.scalars(statement.limit(1)).one_or_none() is not None


def renew(session: Session, held: Claim, lease_ms: int, **progress: Any) -> bool:
    """Extends the lease and records progress. False if the job is no longer this attempt's."""
    return _change(session, held, lease_until_ms=now_ms() + lease_ms, **progress)


def record_phase(session: Session, held: Claim, phase: Phase, **values: Any) -> bool:
    """Records the phase. False if the job is no longer this attempt's."""
    return _change(session, held, phase=phase, **values)


def complete(session: Session, held: Claim) -> bool:
    """COMPLETED, its file published. False if the job is no longer this attempt's."""
    ended = _end(session, held, Status.COMPLETED, bytes_done=Job.bytes_total, files_done=1)
    if ended:
        _set_file(session, held, state=FileState.PUBLISHED)
    return ended


def fail(session: Session, held: Claim, failure: MoveFailure) -> bool:
    """FAILED, for good. False if the job is no longer this attempt's."""
    ended = _end(session, held, Status.FAILED, code=failure.code, reason=failure.reason)
    if ended:
        _set_file(session, held, state=FileState.FAILED)
    return ended


def put_back(session: Session, held: Claim, failure: MoveFailure, wait_ms: int) -> bool:
    """PENDING again, for another attempt after the wait. False if the job is no longer this attempt's."""
    return _change(
        session,
        held,
        status=Status.PENDING,
        phase=Phase.WAITING_RETRY,
        lease_until_ms=None,
        worker=None,
        not_before_ms=now_ms() + wait_ms,
        code=failure.code,
        reason=failure.reason,
        bytes_per_second=None,
    )


def remaining_ms(session: Session, held: Claim) -> int:
    """How long until the job's deadline; negative once it has passed."""
    return held.deadline_ms - _now(session)


def take_back_lost(session: Session, lease_ms: int) -> list[int]:
    """Makes jobs PENDING whose attempt has not renewed its lease in time; the ids of the jobs."""
    lost = (Job.status == Status.IN_PROGRESS, _due(Job.lease_until_ms, _now(session), 2 * lease_ms))
    taken = (
        update(Job)
        .where(*lost)
        .values(
            status=Status.PENDING,
            phase=Phase.QUEUED,
            lease_until_ms=None,
            worker=None,
            not_before_ms=now_ms(),
            bytes_per_second=None,
        )
    )
    return list(session.scalars(taken.returning(Job.id)))


def end_overdue(session: Session, limit: int) -> list[int]:
    """Fails jobs whose deadline has passed, `limit` at most; the ids of the jobs.

    One that is about to publish is left to its attempt. Where such an attempt was lost, nobody can say whether the
    file got its final name.
    """
    live = or_(Job.status == Status.PENDING, (Job.status == Status.IN_PROGRESS) & (Job.phase != Phase.PUBLISHING))
    overdue = select(Job.id, JobFile.state).join(JobFile, (JobFile.job_id == Job.id) & (JobFile.number == 0))
    overdue = overdue.where(Job.deadline_ms < _now(session), live).limit(limit)
    states: dict[int, str] = dict(session.execute(overdue.with_for_update(skip_locked=True, of=Job)).all())
    marked = [job_id for job_id, state in states.items() if state == FileState.VERIFIED]
    _fail_overdue(session, marked, UnknownOutcome())
    _fail_overdue(session, states.keys() - set(marked), DeadlinePassed())
    return list(states)


def is_marked(session: Session, held: Claim) -> bool:
    """Whether an attempt was about to publish, and nobody has found out yet whether it did."""
    state = select(JobFile.state).where(JobFile.job_id == held.job_id, JobFile.number == 0)
    return session.scalars(state).one() == FileState.VERIFIED


def _fail_overdue(session: Session, ids: Collection[int], failure: MoveFailure) -> None:
    session.execute(
        update(Job)
        .where(Job.id.in_(ids))
        .values(
            status=Status.FAILED,
            phase=None,
            lease_until_ms=None,
            worker=None,
            ended_ms=_now_but_not_before(func.coalesce(Job.started_ms, Job.submitted_ms)),
            code=failure.code,
            reason=failure.reason,
        )
    )
    session.execute(update(JobFile).where(JobFile.job_id.in_(ids)).values(state=FileState.FAILED))


def _heads(session: Session) -> list[Head]:
    now = _now(session)
    waiting = (Job.lane_id == Lane.id, Job.status == Status.PENDING, _due(Job.not_before_ms, now, LONGEST_WAIT_MS))
    head = select(Job.id).where(*waiting).order_by(Job.priority, Job.id).limit(1).correlate(Lane).scalar_subquery()
    rows = session.execute(select(Job.id, Job.priority, Lane).join(Lane, Job.id == head))
    return [
        Head(job_id, priority, lane.caller, frozenset((lane.source_host, lane.destination_host)))
        for job_id, priority, lane in rows
    ]


def _running_by_caller(session: Session) -> Counter[str]:
    rows = session.execute(
        select(Job.caller, func.count()).where(Job.status == Status.IN_PROGRESS).group_by(Job.caller)
    )
    return Counter(dict(rows.all()))


def _has_places(head: Head, running: Counter[str], places: Mapping[str, int]) -> bool:
    return all(running[name] < places.get(name, 1) for name in head.host_names)


def _take(session: Session, job_id: int, worker: str, lease_ms: int) -> bool:
    taken = (
        update(Job)
        .where(Job.id == job_id, Job.status == Status.PENDING)
        .values(
            status=Status.IN_PROGRESS,
            phase=Phase.RESOLVING,
            attempt=Job.attempt + 1,
            worker=worker,
            lease_until_ms=now_ms() + lease_ms,
            started_ms=func.coalesce(Job.started_ms, _now_but_not_before(Job.submitted_ms)),
            bytes_done=0,
        )
    )
    return _changed(session, taken)


def _claim(session: Session, job_id: int) -> Claim:
    job = session.get_one(Job, job_id, populate_existing=True)
    file = session.get_one(JobFile, (job_id, 0), populate_existing=True)
    return Claim(
        job_id=job.id,
        attempt=job.attempt,
        source=Endpoint(job.source_host, job.source_path),
        destination=Endpoint(job.destination_host, job.destination_path),
        checksum=job.checksum,
        path=file.path,
        publishing_sha256=file.sha256 if file.state == FileState.VERIFIED else None,
        deadline_ms=job.deadline_ms,
    )


def _end(session: Session, held: Claim, status: Status, **values: Any) -> bool:
    values = {"code": None, "reason": None, **values}
    ended = _now_but_not_before(Job.started_ms)
    return _change(session, held, status=status, phase=None, lease_until_ms=None, ended_ms=ended, **values)


def _change(session: Session, held: Claim, **values: Any) -> bool:
    mine = (Job.id == held.job_id, Job.attempt == held.attempt, Job.status == Status.IN_PROGRESS)
    return _changed(session, update(Job).where(*mine).values(**values))


def _set_file(session: Session, held: Claim, **values: Any) -> None:
    session.execute(update(JobFile).where(JobFile.job_id == held.job_id, JobFile.number == 0).values(**values))


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
