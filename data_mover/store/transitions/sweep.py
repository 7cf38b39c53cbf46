"""State changes that the sweeper makes: lost leases and passed deadlines."""

from collections import defaultdict
from collections.abc import Sequence
from itertools import accumulate
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Text, cast, func, or_, select
from sqlalchemy.orm import Session, aliased

from data_mover.domain.errors import DeadlinePassed, HostUnreachable, MoveFailure, Poison, UnknownOutcome
from data_mover.domain.states import REASONS, Cause, EventKind, FileKind, Phase, Status
from data_mover.store import host_health
from data_mover.store.claims import POISON_LOSSES, SUSPECT_LOSSES, SUSPECT_SECONDS
from data_mover.store.database import ms, now_ms
from data_mover.store.models import Job, JobFile, Lane, WorkerRecord
from data_mover.store.transitions.change import UNATTENDED, Change
from data_mover.store.transitions.ends import FILES_AT_ONCE, end_all, has_arrived, marked_files, unlock_paths


class Lost(NamedTuple):
    """A job whose lease has expired, and its new status."""

    job_id: int
    status: Status


def take_back_lost(session: Session, limit: int) -> list[Lost]:
    """Make jobs PENDING again whose lease has expired, `limit` at most, and of no more files together than a
    transaction may change.

    A job that is being cancelled becomes CANCELLED, and one that is to blame for its losses FAILED. The row has the
    length of the lease: a lease that ends later than that allows counts as expired, since clocks jump.
    """
    now = session.scalars(select(now_ms())).one()
    run_out = or_(Job.lease_until_ms <= now, Job.lease_until_ms > now + 2 * Job.lease_ms)
    running = (Job.status == Status.IN_PROGRESS, Job.ending.is_(None))
    lost = select(Job.id, Job.phase, Job.losses, Job.lost_ms, _fell_with_others(now).label("with_others"))
    lost = lost.add_columns(_last_number()).where(*running, run_out)
    rows = _few(session.execute(lost.limit(limit).with_for_update(skip_locked=True, of=Job)).all())
    cancelled = [row.id for row in rows if row.phase == Phase.CANCELLING]
    kept = [row for row in rows if row.id not in cancelled]
    poison = [row.id for row in kept if _is_to_blame(row.losses, row.lost_ms, now) and not row.with_others]
    again = [row.id for row in kept if row.id not in poison]
    blameless = [row.id for row in kept if row.with_others]
    if cancelled:
        end_all(session, EventKind.CANCELLED, (Job.id.in_(cancelled),), Status.CANCELLED)
    if again:
        blamed = [id_ for id_ in again if id_ not in blameless]
        _take_back(session, blamed, losses=Job.losses + 1, lost_ms=now_ms())
        _take_back(session, blameless)
    outcomes = dict.fromkeys(cancelled, Status.CANCELLED) | _fail_all(session, poison, Poison())
    return [Lost(row.id, outcomes.get(row.id, Status.PENDING)) for row in rows]


def end_overdue(session: Session, limit: int) -> list[int]:
    """Fail jobs whose deadline has passed, `limit` at most, and of no more files together than a transaction may
    change; return their ids.

    A job that is publishing or being cancelled is left to its attempt. One that waited for an unreachable host fails
    for that reason.
    """
    left_alone = (Phase.PUBLISHING, Phase.CANCELLING)
    live = or_(Job.status == Status.PENDING, (Job.status == Status.IN_PROGRESS) & Job.phase.not_in(left_alone))
    overdue = select(Job.id, Job.status, Job.reason, Lane.hosts, _last_number()).join(Lane, Lane.id == Job.lane_id)
    now = session.scalars(select(now_ms())).one()
    overdue = overdue.where(Job.deadline_ms < now, live, Job.ending.is_(None)).limit(limit)
    rows = _few(session.execute(overdue.with_for_update(skip_locked=True, of=Job)).all())
    if not rows:
        return []
    unreachable = {name for name, block in host_health.blocks(session).items() if block.code == HostUnreachable.code}
    alike = defaultdict[tuple[str | None, str | None], list[int]](list)
    for row in rows:
        waits_for = unreachable & set(row.hosts.split()) if row.status == Status.PENDING else ()
        alike[min(waits_for, default=None), row.reason].append(row.id)
    for (host, reason), ids in alike.items():
        failure = HostUnreachable(f"{host}, until the deadline") if host else DeadlinePassed(reason)
        _fail_all(session, ids, failure)
    return [row.id for row in rows]


def _last_number() -> ColumnElement[int]:
    """The number of a job's last file; the first one has 0."""
    last = select(func.max(JobFile.number)).where(JobFile.job_id == Job.id)
    return last.correlate(Job).scalar_subquery().label("last_number")


def _few(rows: Sequence[Any]) -> list[Any]:
    """The first of the jobs, one at least: as many as have FILES_AT_ONCE files together."""
    counts = accumulate(0 if row.last_number is None else row.last_number + 1 for row in rows)
    return [row for row, count in zip(rows, counts, strict=True) if row is rows[0] or count <= FILES_AT_ONCE]


def _fail_all(session: Session, ids: Sequence[int], failure: MoveFailure) -> dict[int, Status]:
    """Fail locked jobs that no attempt runs; return the status of each. A job whose files have all arrived is
    COMPLETED. One that was lost while it published its only file, or its atomic folder, fails with UnknownOutcome."""
    if not ids:
        return {}
    here = Job.id.in_(ids)
    arrived = end_all(
        session, EventKind.COMPLETED, (here, has_arrived()), Status.COMPLETED, {"code": None, "reason": None}
    )
    all_of_it = or_(Job.files_total == 1, JobFile.kind == FileKind.DIRECTORY)
    marked = set(session.scalars(marked_files().join(Job).where(here, Job.id.not_in(arrived), all_of_it)))
    for jobs, cause in (marked, UnknownOutcome()), (set(ids) - marked - set(arrived), failure):
        if jobs:
            reported = {"code": cause.code, "reason": cause.reason}
            end_all(session, EventKind.FAILED, (Job.id.in_(jobs),), Status.FAILED, reported)
    return {id_: Status.COMPLETED if id_ in arrived else Status.FAILED for id_ in ids}


def _is_to_blame(losses: int, lost_ms: int | None, now: int) -> bool:
    """Whether a job that is lost once more was a suspect, so that it ran alone, or is lost for the last time. `losses`
    and `lost_ms` are those before."""
    ran_alone = losses >= SUSPECT_LOSSES and (lost_ms or 0) > now - ms(SUSPECT_SECONDS)
    return ran_alone or losses + 1 >= POISON_LOSSES


def _fell_with_others(now: int) -> ColumnElement[bool]:
    """Return the condition that another worker of the machine fell silent together with the job's: then the machine
    failed.

    Only workers that run something count: one that has outlived its work-horse, or is idle, may be silent for long.
    """
    other, mine = aliased(WorkerRecord), aliased(WorkerRecord)
    together = (
        other.machine == mine.machine,
        other.id != mine.id,
        *(cast(each.runs, Text) != "[]" for each in (other, mine)),
        other.beat_ms < now - Job.lease_ms / 2,
        other.beat_ms.between(mine.beat_ms - Job.lease_ms / 2, mine.beat_ms + Job.lease_ms / 2),
    )
    return select(other.id).join(mine, mine.id == Job.worker_id).where(*together).correlate(Job).exists()


def _take_back(session: Session, ids: Sequence[int], **loss: Any) -> None:
    """Make lost jobs PENDING again. `loss` is what their rows say of the loss, if it counts."""
    if not ids:
        return
    values = {"status": Status.PENDING, "phase": Phase.QUEUED, **UNATTENDED}
    cause = {"code": Cause.WORKER_LOST, "reason": REASONS[Cause.WORKER_LOST]}
    changes = {**values, **cause, "not_before_ms": now_ms(), "bytes_per_second": None, **loss}
    Change(EventKind.LEASE_LOST, (Job.id.in_(ids),), changes).make(session)
    unlock_paths(session, ids)
