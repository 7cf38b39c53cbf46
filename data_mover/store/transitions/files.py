"""State changes of a job's files, in batches.

Every function that returns a bool returns False if the job is no longer this attempt's.
"""

from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import cache
from typing import Any

from sqlalchemy import BigInteger, BindParameter, Update, bindparam, case, insert, select, union_all, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from data_mover.domain.errors import MoveFailure, NameConflict, PathBusy, Superseded
from data_mover.domain.locations import Endpoint
from data_mover.domain.proof import Proof
from data_mover.domain.states import ARRIVED, SETTLED, EventKind, FileKind, FileState, Phase
from data_mover.store import claims, host_health
from data_mover.store.claims import Claim, is_mine, renew, why_not
from data_mover.store.figures import bytes_total
from data_mover.store.files import BEGUN
from data_mover.store.models import JOB_FILES, JOBS, Job, JobFile
from data_mover.store.temporary_files import forget_temporary_files, take_over_folder, top_directory
from data_mover.store.transitions.change import Change, given, new
from data_mover.store.transitions.ends import FILES_AT_ONCE
from data_mover.store.transitions.jobs import record_phase

#: a job's log is for people: after so many events, batches of files are no longer logged
MOST_EVENTS = 1_000


@dataclass(frozen=True)
class PathLock:
    """A final path that no other job may publish at."""

    number: int
    #: the final path's name for every alias of its host
    lock_name: str


@dataclass(frozen=True)
class ArrivedFile:
    """A file at its final path, no longer at the temporary path."""

    number: int
    proof: Proof
    state: FileState
    temporary_path: str | None = None


_ITS_JOB = bindparam("its_job", type_=BigInteger)
_NAMES: BindParameter[str] = bindparam("lock_names", expanding=True)

_INSERT = insert(JOB_FILES)
_NAMED = (
    select(JobFile.lock_name, JobFile.job_id, JobFile.number, JobFile.state, JobFile.locked, Job.caller)
    .join(Job, Job.id == JobFile.job_id)
    .where(JobFile.lock_name.in_(_NAMES))
)
#: the files that have these lock names: of other jobs those that were published later or are locked, and the job's own
_RIVALS = union_all(
    _NAMED.where(JobFile.job_id > _ITS_JOB, JobFile.state == FileState.PUBLISHED),
    _NAMED.where(JobFile.job_id != _ITS_JOB, JobFile.locked),
    _NAMED.where(JobFile.job_id == _ITS_JOB, JobFile.state != FileState.FAILED),
)
_MORE = {"files_done": Job.files_done + bindparam("new_files", type_=BigInteger), "losses": 0, "path_waits": 0}
_BROUGHT = update(JOBS).where(Job.id == _ITS_JOB).values(_MORE)
#: a file that has arrived already stays as it is: the answer to an earlier call may have been lost
_ARRIVE = (
    update(JOB_FILES)
    .where(JobFile.job_id == _ITS_JOB, JobFile.number == bindparam("its_number"))
    .where(*(JobFile.state != state for state in ARRIVED))
    .values(
        **{name: bindparam(f"new_{name}") for name in ("state", *(field.name for field in fields(Proof)))},
        locked=False,
        code=None,
        reason=None,
    )
)
_NEW_TOTAL = update(JOBS).where(Job.id == _ITS_JOB).values(bytes_total=bytes_total(_ITS_JOB))
_HAS_ROOM = (*claims.MINE, Job.events < bindparam("most_events"))
_FILES = {"files": bindparam("new_files", type_=BigInteger)}
_FILES_ARRIVED = Change(EventKind.FILES_ARRIVED, (*_HAS_ROOM, Job.files_total > 1), _MORE, about=_FILES)
_FILES_FAILED = Change(EventKind.FILES_FAILED, _HAS_ROOM, {}, about={**_FILES, **given("code", "reason")})


def insert_files(session: Session, claim: Claim, first_number: int, listed: Sequence[Mapping[str, Any]]) -> None:
    """Insert the next files of the job; one with a code has failed already."""
    rows = [
        {
            "job_id": claim.job_id,
            "number": number,
            "state": FileState.FAILED if values["code"] else FileState.PENDING,
            "locked": False,
            **values,
        }
        for number, values in enumerate(listed, first_number)
    ]
    session.connection().execute(_INSERT, rows)


def lock_paths(
    session: Session, claim: Claim, locks: Sequence[PathLock], lease_seconds: float
) -> dict[int, PathBusy | MoveFailure]:
    """Lock the final paths, and record their lock names. No other job can publish there while this one runs.

    Returns, by number, why a path could not be locked: PathBusy if another job has locked it; Superseded if a later job
    has published there; NameConflict if an earlier file of this job has the same path. Raises Fenced or Cancelled if
    the job is no longer this attempt's.
    """
    if not renew(session, claim, lease_seconds):
        raise why_not(session, claim)
    refused = _refused(session, claim, locks)
    try:
        with session.connection().begin_nested():
            _name(session, claim, locks, locked=[lock.number for lock in locks if lock.number not in refused])
    except IntegrityError:  # a concurrent job has locked one of them; locking each alone shows which
        _name(session, claim, locks, locked=[])
        for lock in locks:
            if lock.number not in refused and not _lock_alone(session, claim, lock.number):
                refused[lock.number] = PathBusy("Waits for another job, which writes to the same path.")
    return refused


def mark_publishing(
    session: Session, claim: Claim, proofs: Mapping[int, Proof], phase: Phase, lease_seconds: float
) -> bool:
    """Mark the files as proven and about to be published."""
    is_ours = record_phase(session, claim, phase, lease_seconds)
    if is_ours:
        _set(session, claim, [{"number": n, **vars(proof), "state": FileState.VERIFIED} for n, proof in proofs.items()])
    return is_ours


def unmark_publishing(session: Session, claim: Claim, numbers: Collection[int], lease_seconds: float) -> bool:
    """Take the mark back: the files were certainly not published, and no attempt will publish them."""
    is_ours = record_phase(session, claim, Phase.TRANSFERRING, lease_seconds)
    if is_ours:
        unproven = {"sha256": None, "verified": None, "state": FileState.TRANSFERRING}
        _set(session, claim, [{"number": number, **unproven} for number in numbers])
    return is_ours


def record_arrived(session: Session, claim: Claim, arrived: Sequence[ArrivedFile]) -> bool:
    """Record that the files are at their final paths, also for a job that is being cancelled.

    Resets the job's losses: a job whose files arrive did not cause the loss of its workers.
    """
    is_ours = is_mine(session, claim)
    if is_ours:
        rows = [
            {"its_job": claim.job_id, "its_number": each.number, "new_state": each.state, **new(**vars(each.proof))}
            for each in arrived
        ]
        count = session.connection().execute(_ARRIVE, rows).rowcount
        more = {"new_files": count, "most_events": MOST_EVENTS}
        if count and not _FILES_ARRIVED.make(session, **claims.of(claim), **more):
            session.connection().execute(_BROUGHT, {"its_job": claim.job_id, "new_files": count})
        gone = [each.temporary_path for each in arrived if each.temporary_path is not None]
        forget_temporary_files(session, claim.destination.host, gone)
    return is_ours


def correct_sizes(session: Session, claim: Claim, sizes: Mapping[int, int | None]) -> bool:
    """Record the sizes of files, by number, that are others than those listed, and the job's new total."""
    is_ours = is_mine(session, claim)
    if is_ours:
        _set(session, claim, [{"number": number, "size_bytes": size} for number, size in sizes.items()])
        session.connection().execute(_NEW_TOTAL, {"its_job": claim.job_id})
    return is_ours


def record_failures(session: Session, claim: Claim, failures: Mapping[int, MoveFailure]) -> bool:
    """Record the failures of files: for good, or until another attempt if a retry can help. Those that a host's owner
    has to fix count against the host."""
    is_ours = _put_off(session, claim, failures)
    if is_ours and failures:
        for_good = {"state": FileState.FAILED, "locked": False}
        causes = {number: {"code": each.code, "reason": each.reason} for number, each in failures.items()}
        again = [number for number, failure in failures.items() if failure.retryable]
        _set(session, claim, [{"number": number, **causes[number]} for number in again])
        _set(session, claim, [{"number": n, **cause, **for_good} for n, cause in causes.items() if n not in again])
        for failure in failures.values():
            host_health.record_move(session, claim.host_names, failure)
        first = next(iter(failures.values()))
        about = {"new_files": len(failures), "new_code": first.code, "new_reason": first.reason}
        _FILES_FAILED.make(session, **claims.of(claim), **about, most_events=MOST_EVENTS)
    return is_ours


def record_busy(session: Session, claim: Claim, numbers: Collection[int]) -> bool:
    """Record that the files wait for their final paths."""
    return _put_off(session, claim, numbers)


def record_found_directories(
    session: Session, claim: Claim, existing: Collection[int], missing: Collection[int]
) -> bool:
    """Records which directories stood there before the job, and stay what they are, and which are its own to make."""
    is_ours = is_mine(session, claim)
    if is_ours:
        _set(session, claim, [{"number": number, "state": FileState.SKIPPED} for number in existing])
        _set(session, claim, [{"number": number, "attempt": claim.attempt} for number in missing])
    return is_ours


def record_directories(session: Session, claim: Claim, numbers: Collection[int]) -> bool:
    """Record that the directories are complete, except the top directory of an atomic folder, which is published by
    `record_folder_published`."""
    is_ours = is_mine(session, claim)
    if is_ours:
        made = (JobFile.job_id == claim.job_id, JobFile.kind == FileKind.DIRECTORY, JobFile.state.not_in(SETTLED))
        those = JobFile.number.in_([number for number in numbers if number or not claim.selection.atomic])
        session.execute(update(JOB_FILES).where(*made, those).values(state=FileState.PUBLISHED))
    return is_ours


def mark_folder(session: Session, claim: Claim, lease_seconds: float) -> bool:
    """Mark the atomic folder as about to be published."""
    return _mark_folder(session, claim, FileState.VERIFIED, Phase.PUBLISHING, lease_seconds)


def unmark_folder(session: Session, claim: Claim, lease_seconds: float) -> bool:
    """Take the mark back: the folder was certainly not published."""
    return _mark_folder(session, claim, FileState.TRANSFERRING, Phase.TRANSFERRING, lease_seconds)


def record_folder_published(session: Session, claim: Claim, path: str) -> bool:
    """Record that the atomic folder is published."""
    is_ours = is_mine(session, claim)
    if is_ours:
        session.execute(update(JOB_FILES).where(*top_directory(claim)).values(state=FileState.PUBLISHED, locked=False))
        forget_temporary_files(session, claim.destination.host, [path])
    return is_ours


def begin_afresh(session: Session, claim: Claim, lease_seconds: float) -> bool:
    """Reset the next files of an atomic folder that `files.is_begun` finds: none has arrived. The folder is this
    attempt's from now on."""
    is_ours = claims.begin_again(session, claim, lease_seconds)
    if is_ours:
        some = select(JobFile.number).where(JobFile.job_id == claim.job_id, BEGUN).order_by(JobFile.number)
        numbers = list(session.scalars(some.limit(FILES_AT_ONCE)))
        again = {"state": case((JobFile.state == FileState.FAILED, JobFile.state), else_=FileState.PENDING.value)}
        files = (JobFile.job_id == claim.job_id, JobFile.number.in_(numbers))
        session.execute(update(JOB_FILES).where(*files).values(**again, locked=False))
        take_over_folder(session, claim)
    return is_ours


def _refused(session: Session, claim: Claim, locks: Sequence[PathLock]) -> dict[int, PathBusy | MoveFailure]:
    """Return why paths cannot be locked, by number, as far as it is recorded."""
    later, busy = dict[str, str](), dict[str, str]()
    own = defaultdict[str, list[tuple[int, bool]]](list)
    for lock in locks:
        own[lock.lock_name].append((lock.number, False))
    rivals = session.connection().execute(_RIVALS, {"its_job": claim.job_id, "lock_names": list(own)})
    for name, job_id, number, state, locked, caller in rivals:
        who = f"job {job_id}" if caller == claim.caller else "another job"  # no id of another caller's
        if job_id == claim.job_id:
            own[str(name)].append((number, state in ARRIVED))
        elif locked:
            busy[str(name)] = who
        else:
            later[str(name)] = who
    refused = dict[int, PathBusy | MoveFailure]()
    for lock in locks:
        name, host = lock.lock_name, claim.destination.host
        if name in later:
            refused[lock.number] = Superseded(f"{host}: {later[name]}")
        elif name in busy:
            refused[lock.number] = PathBusy(f"Waits for {busy[name]}, which writes to the same path.")
        elif any(_goes_first(other, lock.number) for other in own[name]):
            refused[lock.number] = NameConflict(str(Endpoint(host, name)))
    return refused


def _goes_first(other: tuple[int, bool], number: int) -> bool:
    """Whether another file of the job gets the path; it is given by number and whether it has arrived."""
    other_number, has_arrived = other
    return other_number != number and (has_arrived or other_number < number)


def _name(session: Session, claim: Claim, locks: Sequence[PathLock], locked: Collection[int]) -> None:
    """Record the lock names of files that begin, and lock the paths of those with these numbers."""
    begun = {"state": FileState.TRANSFERRING}
    names = [{"number": each.number, "lock_name": each.lock_name, "locked": each.number in locked} for each in locks]
    _set(session, claim, [{**named, **begun} for named in names])


def _lock_alone(session: Session, claim: Claim, number: int) -> bool:
    try:
        with session.connection().begin_nested():
            _set(session, claim, [{"number": number, "locked": True}])
    except IntegrityError:
        return False
    return True


def _put_off(session: Session, claim: Claim, numbers: Collection[int]) -> bool:
    """Record that the attempt is done with the files. Unlocks their paths, unless the outcome is unknown."""
    is_ours = is_mine(session, claim)
    if is_ours:
        unknown = case((JobFile.state == FileState.VERIFIED, JobFile.locked), else_=False)
        files = (JobFile.job_id == claim.job_id, JobFile.number.in_(numbers))
        session.execute(update(JOB_FILES).where(*files).values(locked=unknown, attempt=claim.attempt))
    return is_ours


def _mark_folder(session: Session, claim: Claim, state: FileState, phase: Phase, lease_seconds: float) -> bool:
    is_ours = record_phase(session, claim, phase, lease_seconds)
    if is_ours:
        session.execute(update(JOB_FILES).where(*top_directory(claim)).values(state=state))
    return is_ours


def _set(session: Session, claim: Claim, rows: Sequence[Mapping[str, Any]]) -> None:
    """Set columns of files, given by number, in one statement."""
    if rows:
        values = [{"its_job": claim.job_id, **{_parameter(name): row[name] for name in row}} for row in rows]
        session.connection().execute(_setting(tuple(rows[0])), values)


@cache
def _setting(names: tuple[str, ...]) -> Update:
    file = (JobFile.job_id == _ITS_JOB, JobFile.number == bindparam(_parameter("number")))
    columns: dict[str, Any] = {name: bindparam(_parameter(name)) for name in names if name != "number"}
    return update(JOB_FILES).where(*file).values(columns)


def _parameter(name: str) -> str:
    return "its_number" if name == "number" else f"new_{name}"
