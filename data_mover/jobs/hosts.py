"""What the database knows of hosts: their rows to lock, what runs with them, how the last transfers went."""

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import func, select, update
from sqlalchemy.orm import Session

from data_mover.db import insert_if_absent, now_ms
from data_mover.jobs.models import HostRecord, Job
from data_mover.jobs.states import Status


@dataclass(frozen=True)
class HostHealth:
    """How the last transfers with a host went: `unknown`, `ok`, or `failing` with the code of the last failure."""

    state: str
    code: str | None = None


def know(session: Session, names: Iterable[str]) -> None:
    """Gives each host a row, so that there is something to lock."""
    for name in sorted(set(names)):
        insert_if_absent(session, HostRecord, {"name": name})


def lock(session: Session, names: Iterable[str]) -> None:
    """Keeps other claims with these hosts waiting until the transaction ends. In order of name, so that two never
    wait for each other."""
    statement = select(HostRecord.name).where(HostRecord.name.in_(set(names)))
    session.execute(statement.order_by(HostRecord.name).with_for_update())


def running(session: Session) -> Counter[str]:
    """How many running jobs read from each host or write to it."""
    rows = session.execute(
        select(Job.source_host, Job.destination_host, func.count())
        .where(Job.status == Status.IN_PROGRESS)
        .group_by(Job.source_host, Job.destination_host)
    )
    counts: Counter[str] = Counter()
    for source, destination, count in rows:
        for name in {source, destination}:
            counts[name] += count
    return counts


def record_success(session: Session, names: Iterable[str]) -> None:
    for name in sorted(set(names)):
        session.execute(update(HostRecord).where(HostRecord.name == name).values(succeeded_ms=now_ms(), code=None))


def record_failure(session: Session, name: str, code: str) -> None:
    session.execute(update(HostRecord).where(HostRecord.name == name).values(failed_ms=now_ms(), code=code))


def health(session: Session) -> dict[str, HostHealth]:
    """By host name; hosts that no job has named yet are left out."""
    return {record.name: _health(record) for record in session.scalars(select(HostRecord))}


def _health(record: HostRecord) -> HostHealth:
    if record.code is not None:
        return HostHealth("failing", record.code)
    return HostHealth("ok" if record.succeeded_ms is not None else "unknown")
