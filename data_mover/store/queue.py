"""The queue: which jobs may be claimed now, in order, and claiming them."""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from sqlalchemy import (
    BigInteger,
    ColumnElement,
    ScalarSelect,
    Select,
    and_,
    bindparam,
    func,
    or_,
    select,
    union_all,
    update,
)
from sqlalchemy.orm import InstrumentedAttribute, Session, aliased

from data_mover.domain.states import Phase, Priority, Status
from data_mover.store import host_health, transitions, usage
from data_mover.store.claims import SUSPECT_LOSSES, SUSPECT_SECONDS, Claim, claim_of
from data_mover.store.database import ms, now_ms, read_now_ms
from data_mover.store.host_health import HostState
from data_mover.store.models import JOBS, Job, JobFile, Lane, WorkerRecord
from data_mover.store.shares import Shares
from data_mover.store.workers import WorkerProcess

#: Clocks jump: a time further in the future than this counts as due now. No job waits longer.
LONGEST_WAIT_SECONDS = 86_400
#: delay before a job of one file looks again whether its path is locked still
PATH_WAIT_SECONDS = 1
#: delay before a job that gave way is claimed again
GIVE_WAY_SECONDS = 10
#: how many jobs of a lane are put off at once because their paths are locked
PATHS_AT_ONCE = 500


_WAITING_SINCE = (
    select(Job.not_before_ms)
    .where(Job.status == Status.PENDING, Job.not_before_ms <= now_ms())
    .order_by(Job.not_before_ms)
    .limit(1)
)


@dataclass(frozen=True)
class Candidate:
    """The first job of its lane."""

    job_id: int
    lane_id: int
    priority: int
    caller: str
    #: of a caller of OpenID Connect, the scopes that it was submitted with
    scopes: str | None
    host_names: frozenset[str]
    suspect: bool
    #: whether its last attempt has failed or found a path locked
    is_retry: bool
    #: since when it may be claimed: nothing that comes back again and again passes what has waited meanwhile
    due_ms: int


@dataclass(frozen=True)
class Limits:
    """How many jobs may run with each host, and of a caller. An unregistered host has one slot, in which its job
    fails."""

    of_hosts: Mapping[str, int]
    #: by the caller's name and the scopes of the job; None is no limit
    of_caller: Callable[[str, str | None], int | None] = lambda caller, scopes: None


def candidates(
    session: Session,
    worker: WorkerProcess,
    limits: Limits,
    last: Claim | None = None,
    served: Mapping[str, int] = MappingProxyType({}),
) -> list[Candidate]:
    """Return the jobs that the worker may claim now, the best first: one of each lane whose hosts and caller are below
    their limits.

    Order: priority, the caller with the fewest running jobs, of these the one that this worker has `served` longest ago
    (it has the lowest number), hosts that would not occupy all workers then, the hosts of the `last` claim unless it is
    a retry, how long it has been due; but while one worker tries an unproven host, the others prefer proven ones.
    """
    states, shares = host_health.states(session), Shares.read(session)
    callers = shares.by_caller()
    warm = last.host_names if last else frozenset()
    finding_out = any(state.connecting and not state.proven for state in states.values())
    admitted = [
        candidate
        for candidate in _candidates(session)
        if _admit(candidate.host_names, states, limits) and _is_within_quota(candidate, callers, limits)
    ]

    def order(candidate: Candidate) -> tuple[Any, ...]:
        unproven = not all(states.get(name, HostState()).proven for name in candidate.host_names)
        return (
            finding_out and unproven,
            candidate.priority,
            callers[candidate.caller],
            served.get(candidate.caller, 0),
            shares.would_have_all(candidate.host_names),
            candidate.is_retry or candidate.host_names != warm,
            candidate.due_ms,
            candidate.job_id,
        )

    return _leaving_suspects_alone(session, worker, sorted(admitted, key=order))


def take(
    session: Session, candidate: Candidate, worker: WorkerProcess, limits: Limits, lease_seconds: float
) -> Claim | None:
    """Claim the job that is first in the candidate's lane by now: another worker may have claimed the candidate.
    Returns None if there is none, or it has to wait.

    Claim one job per transaction: it locks the rows of all its hosts, in order of name, against deadlocks. A suspect
    locks all hosts, so that no other job begins beside it.
    """
    if candidate.suspect:
        host_health.lock_all(session)
    else:
        host_health.lock(session, candidate.host_names)
    current = _candidate_of_lane(session, candidate.lane_id)
    if current is not None and _wait_for_paths(session, current):
        current = _candidate_of_lane(session, candidate.lane_id)
    if current is None or (current.suspect and not candidate.suspect):
        return None
    most = limits.of_caller(current.caller, current.scopes)
    if most is not None and usage.running(session, current.caller) >= most:
        return None
    is_admitted = _admit(current.host_names, host_health.states(session), limits)
    may = is_admitted and _leaving_suspects_alone(session, worker, [current])
    if may and transitions.begin(session, [current.job_id], worker, lease_seconds):
        return claim_of(session, current.job_id)
    return None


def kept_waiting(session: Session, claim: Claim, limits: Limits, wait_seconds: float) -> int | None:
    """Return the job for which this one has to give way: it has waited for `wait_seconds` because one host or one
    caller has all workers, and this job is the slowest. Returns None if there is no such job.

    A job whose caller has no quota left even then does not count: it could not begin."""
    shares = Shares.read(session)
    mine = shares.gives_way(claim.job_id)
    if mine is None:
        return None
    states, running = host_health.states(session), shares.by_caller()
    running[mine.caller] -= 1
    ids = [
        each.job_id
        for each in _candidates(session)
        if each.priority <= mine.priority
        and shares.is_kept_out(each.caller, each.host_names)
        and _admit(each.host_names, states, limits)
        and _is_within_quota(each, running, limits)
    ]
    since = read_now_ms(session) - ms(wait_seconds)
    waited = (Job.id.in_(ids), Job.submitted_ms <= since, Job.not_before_ms <= since)
    return session.scalars(select(Job.id).where(*waited).order_by(Job.id).limit(1)).one_or_none()


def others_come_first(session: Session, job: Job, limits: Limits, full_host: str | None = None) -> bool:
    """Whether a waiting job of another caller is claimed before this one: of a higher priority, or of a caller with
    fewer running jobs. Where all slots of a host are taken, those count that wait for one of them, too."""
    states, running = host_health.states(session), Shares.read(session).by_caller()
    return any(
        each.caller != job.caller
        and (each.priority, running[each.caller]) < (job.priority, running[job.caller])
        and (full_host is None or full_host in each.host_names)
        and _admit(each.host_names - {full_host}, states, limits)
        and _is_within_quota(each, running, limits)
        for each in _candidates(session)
    )


def runnable(session: Session) -> bool:
    """Whether a job is due. Does not check the capacity of its hosts."""
    due = select(Job.id).where(Job.status == Status.PENDING, Job.ending.is_(None), _IS_DUE)
    return session.connection().scalars(due.limit(1), _at(read_now_ms(session))).one_or_none() is not None


def _candidates(session: Session, *lanes: int) -> list[Candidate]:
    """Return the first job of each lane, or of these lanes: among those due, by priority, and of the oldest that is
    queued and the first retry the one that is due longer."""
    now = read_now_ms(session)
    best = dict[int, Candidate]()
    found = _FIRST_OF_LANES if lanes else _FIRST_OF_ALL
    for job_id, priority, suspect, phase, not_before_ms, scopes, lane in session.execute(
        found, {**_at(now), "lanes": lanes}
    ):
        due_ms = not_before_ms if not_before_ms <= now else 0
        is_retry = phase == Phase.WAITING_RETRY
        candidate = Candidate(
            job_id, lane.id, priority, lane.caller, scopes, lane.host_names, suspect, is_retry, due_ms
        )
        best[lane.id] = min(
            best.get(lane.id, candidate), candidate, key=lambda each: (each.priority, each.due_ms, each.job_id)
        )
    return list(best.values())


def _candidate_of_lane(session: Session, lane_id: int) -> Candidate | None:
    return next(iter(_candidates(session, lane_id)), None)


#: the time of a query; `_at` has the parameters
_NOW, _SOON = bindparam("now_ms", type_=BigInteger), bindparam("a_day_later_ms", type_=BigInteger)
_RECENT = (bindparam("recent_ms", type_=BigInteger), bindparam("soon_ms", type_=BigInteger))


def _at(now: int) -> dict[str, int]:
    suspect = {"recent_ms": now - ms(SUSPECT_SECONDS), "soon_ms": now + ms(SUSPECT_SECONDS)}
    return {"now_ms": now, "a_day_later_ms": now + ms(LONGEST_WAIT_SECONDS), **suspect}


_IS_SUSPECT = and_(Job.losses >= SUSPECT_LOSSES, func.coalesce(Job.lost_ms, 0).between(*_RECENT))
_IS_DUE = or_(Job.not_before_ms <= _NOW, Job.not_before_ms > _SOON)


def _first_of_each(*lanes: ColumnElement[bool]) -> Select[int, int, bool, str | None, int, str | None, Lane]:
    """Return the query of the jobs that may be first in a lane: each is the first row of an index range, so that a
    claim costs the same however many jobs are queued or wait for a retry."""
    first = [_first_job((Job.priority, Job.id), Job.phase == Phase.QUEUED, _IS_DUE)]
    for priority in Priority:
        retry = (Job.phase == Phase.WAITING_RETRY, Job.priority == priority.rank)
        first.append(_first_job((Job.not_before_ms,), *retry, Job.not_before_ms <= _NOW))
        first.append(_first_job((Job.not_before_ms,), *retry, Job.not_before_ms > _SOON))
    ids = union_all(*(select(each.label("job_id")).select_from(Lane).where(*lanes) for each in first)).subquery()
    columns = (Job.id, Job.priority, _IS_SUSPECT, Job.phase, Job.not_before_ms, Job.scopes, Lane)
    return select(*columns).join(ids, ids.c.job_id == Job.id).join(Lane, Lane.id == Job.lane_id)


def _first_job(order: Sequence[InstrumentedAttribute[int]], *which: ColumnElement[bool]) -> ScalarSelect[int]:
    first = select(Job.id).where(Job.lane_id == Lane.id, *which).order_by(*order).limit(1)
    return first.correlate(Lane).scalar_subquery()


_FIRST_OF_ALL = _first_of_each()
_FIRST_OF_LANES = _first_of_each(Lane.id.in_(bindparam("lanes", expanding=True)))
#: whether the jobs that run on a machine are suspects
_RUNNING_ON = (
    select(_IS_SUSPECT)
    .join(WorkerRecord, WorkerRecord.id == Job.worker_id)
    .where(Job.status == Status.IN_PROGRESS, WorkerRecord.machine == bindparam("its_machine"))
)


def _admit(host_names: Collection[str], states: Mapping[str, HostState], limits: Limits) -> bool:
    return all(states.get(name, HostState()).admits(limits.of_hosts.get(name, 1)) for name in host_names)


def _is_within_quota(candidate: Candidate, running: Mapping[str, int], limits: Limits) -> bool:
    """Whether a job of the caller may begin beside its running ones, as far as its quota goes."""
    most = limits.of_caller(candidate.caller, candidate.scopes)
    return most is None or running.get(candidate.caller, 0) < most


def _leaving_suspects_alone(session: Session, worker: WorkerProcess, found: Sequence[Candidate]) -> list[Candidate]:
    """Return the jobs that may begin beside those that run on the machine: none beside a suspect, and a suspect beside
    none. While a suspect waits, no other job begins."""
    at = {**_at(read_now_ms(session)), "its_machine": worker.machine}
    beside = session.connection().scalars(_RUNNING_ON, at).all()
    suspects = [candidate for candidate in found if candidate.suspect]
    if any(beside) or (suspects and beside):
        return []
    return suspects[:1] or list(found)


def _waiting_for_paths() -> Select[int]:
    """Return the query of waiting jobs of one file whose final path another job has locked."""
    other, mine = aliased(JobFile), aliased(JobFile)
    is_locked = select(other.job_id).where(other.lock_name == mine.lock_name, other.locked, other.job_id != mine.job_id)
    waiting = (Job.files_total == 1, Job.status == Status.PENDING, is_locked.exists())
    return select(mine.job_id).join(Job, Job.id == mine.job_id).where(*waiting)


_WAITING_FOR_PATHS = _waiting_for_paths()
_WAITS_FOR_PATH = _WAITING_FOR_PATHS.where(Job.id == bindparam("its_job")).limit(1)


def _wait_for_paths(session: Session, candidate: Candidate) -> bool:
    """Whether another job locks the final path of this one's only file, as far as it is known. Postpones this job, and
    all others of its lane that wait for paths, so that they do not block the lane."""
    if session.connection().scalars(_WAITS_FOR_PATH, {"its_job": candidate.job_id}).one_or_none() is None:
        return False
    in_lane = _WAITING_FOR_PATHS.where(Job.lane_id == candidate.lane_id).limit(PATHS_AT_ONCE)
    ids = {candidate.job_id, *session.scalars(in_lane)}
    postponed = update(JOBS).where(Job.id.in_(ids), Job.status == Status.PENDING)
    session.execute(postponed.values(not_before_ms=now_ms() + ms(PATH_WAIT_SECONDS)))
    return True


def waiting_since_ms(session: Session) -> int | None:
    """Return since when the job that waits longest could have run, as far as its own waits go; None if none waits."""
    return session.connection().scalars(_WAITING_SINCE).one_or_none()
