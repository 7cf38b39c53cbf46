"""The workers: a row for each, renewed by its heartbeat."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import BigInteger, bindparam, delete, func, insert, select, update
from sqlalchemy.orm import Session

from data_mover.domain.states import Status
from data_mover.store.database import ms, now_ms
from data_mover.store.models import WORKERS, Job, WorkerRecord

#: a process without a heartbeat for so long is dead, and its row is deleted
DEAD_AFTER_SECONDS = 600
#: a worker without a heartbeat for so long does not count as alive
SILENT_AFTER_SECONDS = 60


@dataclass(frozen=True)
class WorkerProcess:
    """A process that claims jobs, and the row of its worker."""

    id: int
    machine: str
    pid: int
    #: of Data Mover
    version: str

    def __str__(self) -> str:
        return f"{self.machine}:{self.pid}"


_BEAT = (
    update(WORKERS)
    .where(WorkerRecord.id == bindparam("its_id"))
    .values(beat_ms=now_ms(), runs=bindparam("new_runs"))
    .returning(WORKERS.c.id)
)
_WITHIN_MS = bindparam("within_ms", type_=BigInteger)
_ALIVE = (
    select(func.count())
    .select_from(WorkerRecord)
    .where(WorkerRecord.beat_ms.between(now_ms() - _WITHIN_MS, now_ms() + _WITHIN_MS))
)


def register(session: Session, machine: str, pid: int, version: str) -> WorkerProcess:
    """Insert the row of a worker that has just begun."""
    statement = insert(WorkerRecord).values(_row(machine, pid, version, ())).returning(WorkerRecord.id)
    return WorkerProcess(session.scalars(statement).one(), machine, pid, version)


def beat(session: Session, worker: WorkerProcess, runs: Sequence[str]) -> None:
    """Record a heartbeat, and what the worker runs. A worker that was taken for dead gets its row back."""
    if session.connection().scalars(_BEAT, {"its_id": worker.id, "new_runs": list(runs)}).one_or_none() is None:
        row = _row(worker.machine, worker.pid, worker.version, runs)
        session.execute(insert(WorkerRecord).values(id=worker.id, **row))


def forget(session: Session, worker: WorkerProcess) -> None:
    """Delete the row of a worker that ends."""
    session.execute(delete(WorkerRecord).where(WorkerRecord.id == worker.id))


def forget_dead(session: Session) -> None:
    """Delete the rows of dead workers, once none of their jobs counts as running."""
    running = select(Job.id).where(Job.worker_id == WorkerRecord.id, Job.status == Status.IN_PROGRESS).exists()
    silent = WorkerRecord.beat_ms < now_ms() - ms(DEAD_AFTER_SECONDS)
    dead = delete(WorkerRecord).where(silent, ~running).execution_options(synchronize_session=False)
    session.execute(dead)


def alive(session: Session, within_seconds: float) -> int:
    """Return how many workers had a heartbeat within the time."""
    return session.connection().scalars(_ALIVE, {"within_ms": ms(within_seconds)}).one()


def _row(machine: str, pid: int, version: str, runs: Sequence[str]) -> dict[str, Any]:
    times = {"started_ms": now_ms(), "beat_ms": now_ms()}
    return {"machine": machine, "pid": pid, "version": version, **times, "runs": list(runs)}
