"""The state of hosts: rows to lock, running jobs, and whether a host can be reached.

An unreachable host opens its circuit: its jobs wait, and spend no attempt, until a probe succeeds. A host without a
recent login is unproven: one job at a time may try it, so that a host which never answers blocks one worker and not
all.
"""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import NamedTuple

from sqlalchemy import ColumnElement, Select, bindparam, func, or_, select, update
from sqlalchemy.orm import Session

from data_mover.domain.backoff import Backoff
from data_mover.domain.errors import HostUnreachable, MoveFailure
from data_mover.domain.states import TERMINAL, Phase, Status
from data_mover.store.database import insert_if_absent, ms, now_ms, read_now_ms
from data_mover.store.models import HOSTS, HostRecord, Job, Lane, TemporaryFile

#: how long after a login a host counts as proven
PROVEN_SECONDS = 60
#: the longest wait for a probe
LONGEST_PROBE_WAIT_SECONDS = 3_600


@dataclass(frozen=True)
class HostHealth:
    """The health of a host: `unknown`, `ok`, `failing` with the code and the reason of the failure, or `paused` by an
    operator."""

    state: str
    code: str | None = None
    reason: str | None = None


@dataclass(frozen=True)
class HostActivity:
    """What a host does."""

    #: how many moves run with it, and how many wait
    running: int = 0
    waiting: int = 0
    #: the last time at which a worker logged in
    reached_at: datetime | None = None
    #: while its circuit is open, when it is tried next
    probe_at: datetime | None = None


@dataclass(frozen=True)
class HostState:
    """What a claim must know of a host."""

    #: the jobs that read from it or write to it, and those of them that may not be logged in yet
    running: int = 0
    connecting: int = 0
    proven: bool = False
    #: cannot be reached, or is paused
    blocked: bool = False

    def admits(self, slots: int) -> bool:
        """Whether one more job may run with the host, which has `slots` slots."""
        return not self.blocked and self.running < slots and (self.proven or not self.connecting)


@dataclass(frozen=True)
class Block:
    """Why the jobs of a host wait."""

    reason: str
    code: str | None
    #: when the host is probed next; None while it is paused
    until_ms: int | None


class Probe(NamedTuple):
    """A host that one worker probes."""

    host: str
    #: no other worker probes it before; it also identifies the probe
    until_ms: int


_HOSTS = HostRecord.name.in_(bindparam("hosts", expanding=True))
_ALL = select(HostRecord)
_LOCK = select(HOSTS.c.name).where(_HOSTS).order_by(HostRecord.name).with_for_update()
_BLOCKED = (
    select(HostRecord).where(or_(HostRecord.paused, HostRecord.probe_at_ms.is_not(None))).order_by(HostRecord.name)
)
#: known within half of the time for which a host counts as proven
_IS_KNOWN = HostRecord.reached_ms.between(now_ms() - ms(PROVEN_SECONDS / 2), now_ms()) & HostRecord.code.is_(None)
_REACHED = (
    update(HOSTS)
    .where(_HOSTS, or_(~_IS_KNOWN, HostRecord.reached_ms.is_(None)))
    .values(reached_ms=now_ms(), code=None, reason=None, unreachable=0, probe_at_ms=None)
    .returning(HOSTS.c.name)
)
_MOVED = update(HOSTS).where(_HOSTS, HostRecord.move_code.is_not(None)).values(move_code=None, move_reason=None)
_RUNNING = (
    select(Lane.hosts, func.count(), func.count().filter(Job.phase == Phase.RESOLVING))
    .join(Job, Job.lane_id == Lane.id)
    .where(Job.status == Status.IN_PROGRESS)
    .group_by(Lane.hosts)
)


def know(session: Session, names: Iterable[str]) -> None:
    """Give each host a row, which can be locked."""
    for name in sorted(set(names)):
        insert_if_absent(session, HostRecord, {"name": name, "unreachable": 0, "paused": False})


def lock(session: Session, names: Iterable[str]) -> None:
    """Lock the rows of the hosts until the transaction ends; concurrent claims block. In order of name, against
    deadlocks."""
    session.connection().execute(_LOCK, {"hosts": sorted(set(names))})


def lock_all(session: Session) -> None:
    """Lock the rows of all hosts until the transaction ends; concurrent claims block."""
    session.execute(select(HostRecord.name).order_by(HostRecord.name).with_for_update())


def states(session: Session) -> dict[str, HostState]:
    """Return the states by host name. A host that is missing is one without a record."""
    now, running = read_now_ms(session), _running(session)
    return {each.name: _state(each, running.get(each.name, (0, 0)), now) for each in session.scalars(_ALL)}


def record_reached(session: Session, *names: str) -> list[str]:
    """Record that the hosts can be reached, which closes their circuits. Returns those of which it was not known."""
    return list(session.connection().scalars(_REACHED, {"hosts": sorted(names)}))


def record_refused(session: Session, name: str, failure: MoveFailure) -> None:
    """Record that the host answers but refuses the login. Closes its circuit: its jobs run, and fail with the
    reason."""
    changes = {"code": failure.code, "reason": failure.reason, "unreachable": 0, "probe_at_ms": None}
    session.execute(update(HostRecord).where(HostRecord.name == name).values(changes))


def record_unreachable(session: Session, name: str, failure: HostUnreachable, backoff: Backoff) -> None:
    """Open the circuit of the host, or keep it open; the wait until the next probe grows."""
    record = session.get_one(HostRecord, name, with_for_update=True)
    record.unreachable += 1
    record.code, record.reason = failure.code, failure.reason
    record.reached_ms = None
    record.probe_at_ms = read_now_ms(session) + ms(backoff.wait_seconds(record.unreachable))


def record_move(session: Session, names: Iterable[str], failure: MoveFailure | None) -> None:
    """Record how a move, or a file of one, ended for its hosts. A failure that the host's owner has to fix counts
    against the host that it happened at."""
    if failure is None:
        session.connection().execute(_MOVED, {"hosts": sorted(set(names))})
    elif failure.who_can_fix == "host owner":
        blamed = [name for name in names if failure.is_of(name)]
        values = {"move_code": failure.code, "move_reason": failure.reason}
        session.execute(update(HostRecord).where(HostRecord.name.in_(blamed)).values(values))


def take_probe(session: Session, lease_seconds: float) -> Probe | None:
    """Claim a host to be probed, for the length of a lease. Returns None if there is none."""
    statement = _probes_due(session).order_by(HostRecord.probe_at_ms).limit(1)
    due = statement.with_for_update(skip_locked=True, of=HostRecord)
    record = session.scalars(due).one_or_none()
    if record is None:
        return None
    record.probe_at_ms = read_now_ms(session) + ms(lease_seconds)
    return Probe(record.name, record.probe_at_ms)


def renew_probe(session: Session, probe: Probe, lease_seconds: float) -> Probe | None:
    """Extend the lease. Returns None if the probe has an outcome, or another worker has it."""
    mine = (HostRecord.name == probe.host, HostRecord.probe_at_ms == probe.until_ms)
    statement = update(HostRecord).where(*mine).values(probe_at_ms=now_ms() + ms(lease_seconds))
    until_ms = session.scalars(statement.returning(HostRecord.probe_at_ms)).one_or_none()
    return Probe(probe.host, until_ms) if until_ms is not None else None


def probe_due(session: Session) -> bool:
    """Whether there is anything for `take_probe`."""
    return session.scalars(_probes_due(session).limit(1)).one_or_none() is not None


def set_paused(session: Session, name: str, paused: bool) -> None:
    """Pause the host, so that its jobs wait unless they run already, or resume it."""
    know(session, [name])
    session.execute(update(HostRecord).where(HostRecord.name == name).values(paused=paused))


def blocks(session: Session) -> Mapping[str, Block]:
    """Return the hosts whose jobs wait, by name."""
    return {record.name: _block(record) for record in session.scalars(_BLOCKED)}


def health(session: Session) -> dict[str, HostHealth]:
    """Return the health by host name, without hosts that no job has named yet."""
    return {record.name: _health(record) for record in session.scalars(_ALL)}


def activity(session: Session, caller: str | None) -> dict[str, HostActivity]:
    """Return what the hosts do by their names, counting the moves of the caller, or of all for None."""
    own = [Lane.caller == caller] if caller is not None else []
    counted = select(Lane.hosts, Job.status, func.count().label("jobs")).join(Job, Job.lane_id == Lane.id)
    live = counted.where(Job.status.in_((Status.PENDING, Status.IN_PROGRESS)), *own).group_by(Lane.hosts, Job.status)
    counts = Counter[tuple[str, str]]()
    for row in session.execute(live):
        counts.update({(name, row.status): row.jobs for name in row.hosts.split()})
    return {record.name: _activity(record, counts) for record in session.scalars(_ALL)}


def _activity(record: HostRecord, counts: Mapping[tuple[str, str], int]) -> HostActivity:
    return HostActivity(
        running=counts[record.name, Status.IN_PROGRESS],
        waiting=counts[record.name, Status.PENDING],
        reached_at=_instant(record.reached_ms),
        probe_at=_instant(record.probe_at_ms),
    )


def _instant(milliseconds: int | None) -> datetime | None:
    return None if milliseconds is None else datetime.fromtimestamp(milliseconds / 1000, UTC)


def _running(session: Session) -> dict[str, tuple[int, int]]:
    """Return how many jobs run with each host, and how many of them are in their first phase."""
    counts: dict[str, tuple[int, int]] = {}
    for names, *both in session.connection().execute(_RUNNING):
        for name in names.split():
            running, first = counts.get(name, (0, 0))
            counts[name] = running + both[0], first + both[1]
    return counts


def _state(record: HostRecord, running: tuple[int, int], now: int) -> HostState:
    proven = record.reached_ms is not None and 0 <= now - record.reached_ms <= ms(PROVEN_SECONDS)
    return HostState(*running, proven=proven, blocked=record.paused or record.probe_at_ms is not None)


def _probes_due(session: Session) -> Select[HostRecord]:
    """Return hosts that jobs or cleanup wait for and whose probe is due. A probe scheduled beyond the longest wait is
    due too: clocks jump."""
    return select(HostRecord).where(
        ~HostRecord.paused,
        or_(HostRecord.probe_at_ms <= now_ms(), HostRecord.probe_at_ms > now_ms() + ms(LONGEST_PROBE_WAIT_SECONDS)),
        or_(HostRecord.name.in_(_waited_for(session)), _has_temporary_files()),
    )


def _waited_for(session: Session) -> set[str]:
    """Return the hosts of jobs that wait."""
    waiting = select(Job.id).where(Job.lane_id == Lane.id, Job.status == Status.PENDING).exists()
    return {name for names in session.scalars(select(Lane.hosts).where(waiting)) for name in names.split()}


def _has_temporary_files() -> ColumnElement[bool]:
    """Whether a job that has ended may have left temporary files on the host."""
    ended = select(TemporaryFile.id).join(Job, Job.id == TemporaryFile.job_id).where(Job.status.in_(TERMINAL))
    return ended.where(TemporaryFile.host == HostRecord.name).exists()


def _block(record: HostRecord) -> Block:
    if record.paused:
        return Block(f"An operator has paused {record.name}; the move continues when the host is resumed.", None, None)
    reason = record.reason or HostUnreachable(record.name).reason
    return Block(f"{reason}. `data_mover hosts check {record.name}` says more.", record.code, record.probe_at_ms)


def _health(record: HostRecord) -> HostHealth:
    if record.paused:
        return HostHealth("paused")
    if record.code is not None:
        return HostHealth("failing", record.code, record.reason)
    if record.move_code is not None:
        return HostHealth("failing", record.move_code, record.move_reason)
    return HostHealth("ok" if record.reached_ms is not None else "unknown")
