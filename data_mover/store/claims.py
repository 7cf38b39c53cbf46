"""The claim of an attempt on a job, and the changes that only this attempt may make.

The attempt's number is the fence: it guards each UPDATE, which returns whether the job was still this attempt's. A
change of status, phase or of a file's state goes through `transitions`. All functions take a writing session and leave
the commit to the caller.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import BigInteger, Executable, bindparam, case, select, tuple_, update
from sqlalchemy.orm import Session

from data_mover.domain.errors import AttemptEnded, Cancelled, Fenced
from data_mover.domain.locations import Endpoint, IfExists
from data_mover.domain.move_spec import MoveSpec
from data_mover.domain.selection import Selection
from data_mover.domain.states import FileState, Phase, Status
from data_mover.store.database import ms, now_ms, read_now_ms
from data_mover.store.figures import bytes_total, files_total
from data_mover.store.models import JOBS, Job, JobFile

#: a job that has lost so many leases runs alone on its machine, to show whether it is the cause
SUSPECT_LOSSES = 2
#: how long after its last loss this lasts; then the job is claimed like any other, so that it cannot block the machine
SUSPECT_SECONDS = 600
#: so many losses in a row are its own fault, whatever ran beside it
POISON_LOSSES = 5


@dataclass(frozen=True)
class Claim(MoveSpec):
    """A claimed job, as one attempt sees it."""

    job_id: int
    caller: str
    attempt: int
    #: how many earlier attempts have failed for a reason of the job's own
    failures: int
    #: the final path of the file or folder, or of the directory that receives several, once an attempt has resolved it
    path: str | None
    #: whether an earlier attempt has recorded all files
    planned: bool
    #: the job that this one retries
    retry_of: int | None
    deadline_ms: int
    #: how much earlier attempts have copied, as far as it was reported
    bytes_done: int

    def __str__(self) -> str:
        return f"job={self.job_id} attempt={self.attempt}"


class Beat(NamedTuple):
    """The progress of a job, which its worker reports with each heartbeat."""

    claim: Claim
    bytes_done: int
    bytes_per_second: int


def claim_of(session: Session, job_id: int) -> Claim:
    """Return the claim of the job's newest attempt."""
    job = session.get_one(Job, job_id, populate_existing=True)
    return Claim(
        job_id=job.id,
        caller=job.caller,
        attempt=job.attempt,
        asked=job.source,
        scopes=job.scopes,
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


_JOB = bindparam("claimed_job", type_=BigInteger)
#: the job is the attempt's; `of` has the parameters
MINE = (
    Job.id == _JOB,
    Job.attempt == bindparam("claimed_attempt"),
    Job.status == Status.IN_PROGRESS,
    Job.ending.is_(None),
)
#: and is not being cancelled
ACTIVE = (*MINE, Job.phase != Phase.CANCELLING)


def of(claim: Claim) -> dict[str, int]:
    """Return the parameters of a statement about the attempt."""
    return {"claimed_job": claim.job_id, "claimed_attempt": claim.attempt}


def _changing(**values: Any) -> Executable:
    """Return a statement that changes columns other than those of the job's state."""
    return update(JOBS).where(*ACTIVE).values(**values).returning(JOBS.c.id)


_IS_MINE = select(JOBS.c.id).where(*MINE).with_for_update()
_IS_CANCELLING = select(JOBS.c.id).where(*MINE, Job.phase == Phase.CANCELLING).with_for_update()
_LEASE = {"lease_until_ms": now_ms() + bindparam("lease_length_ms")}
_RENEWED = update(JOBS).where(*ACTIVE).values(_LEASE).returning(JOBS.c.phase)
_BEGUN_AGAIN = _changing(**_LEASE, files_done=0, bytes_done=0)
_PLAN = _changing(planned=True, files_total=files_total(_JOB), files_done=0, bytes_total=bytes_total(_JOB))
_PATH = _changing(path=bindparam("new_path"))
_PROOF = _changing(sha256=bindparam("new_sha256"), verified=bindparam("new_verified"))


def renew(session: Session, claim: Claim, lease_seconds: float) -> bool:
    """Extend the lease, once in a transaction. Returns False if the job is no longer this attempt's."""
    if renewed_phase(session, claim) is None:
        parameters = {**of(claim), "lease_length_ms": ms(lease_seconds)}
        phase = session.connection().scalars(_RENEWED, parameters).one_or_none()
        if phase is not None:
            note_renewal(session, claim, Phase(phase))
    return renewed_phase(session, claim) is not None


def note_renewal(session: Session, claim: Claim, phase: Phase) -> None:
    """Note that the session's transaction has changed the job's row, and the phase that it has now. Nobody else changes
    the row before the transaction ends."""
    session.info["renewed"] = (claim.job_id, claim.attempt, phase)


def renewed_phase(session: Session, claim: Claim) -> Phase | None:
    """Return the phase of the attempt's job if the session's transaction has renewed it, else None."""
    job_id, attempt, phase = session.info.get("renewed", (None, None, None))
    return phase if (job_id, attempt) == (claim.job_id, claim.attempt) else None


def begin_again(session: Session, claim: Claim, lease_seconds: float) -> bool:
    """Extend the lease of a job of which nothing has arrived. Returns False if it is no longer this attempt's."""
    return _change(session, claim, _BEGUN_AGAIN, lease_length_ms=ms(lease_seconds))


def renew_all(session: Session, beats: Sequence[Beat], lease_seconds: float) -> dict[int, Phase]:
    """Extend the leases of several jobs and record their progress, in one statement.

    Returns the phase of each job that is still its attempt's, by the job's id.
    """
    if not beats:
        return {}
    attempts = [(each.claim.job_id, each.claim.attempt) for each in beats]
    mine = (
        Job.id.in_([job_id for job_id, _ in attempts]),
        tuple_(Job.id, Job.attempt).in_(attempts),
        Job.status == Status.IN_PROGRESS,
        Job.ending.is_(None),
    )
    progress = {
        "bytes_done": case({each.claim.job_id: each.bytes_done for each in beats}, value=Job.id),
        "bytes_per_second": case({each.claim.job_id: each.bytes_per_second for each in beats}, value=Job.id),
    }
    renewed = update(Job).where(*mine).values(lease_until_ms=now_ms() + ms(lease_seconds), **progress)
    statement = renewed.returning(Job.id, Job.phase).execution_options(synchronize_session=False)
    return {job_id: Phase(str(phase)) for job_id, phase in session.execute(statement)}


def record_path(session: Session, claim: Claim, path: str) -> bool:
    """Record where the job goes. Returns False if it is no longer this attempt's."""
    return _change(session, claim, _PATH, new_path=path)


def record_plan(session: Session, claim: Claim) -> bool:
    """Record that all files are listed, and none has arrived. Returns False if the job is no longer this attempt's."""
    return _change(session, claim, _PLAN)


def record_proof(session: Session, claim: Claim, sha256: str, verified: str) -> bool:
    """Record what proves all files of the job. Returns False if it is no longer this attempt's."""
    return _change(session, claim, _PROOF, new_sha256=sha256, new_verified=verified)


def is_mine(session: Session, claim: Claim) -> bool:
    """Whether the job is still this attempt's, cancelled or not. Locks its row until the transaction ends."""
    if renewed_phase(session, claim) is not None:
        return True
    return session.connection().scalars(_IS_MINE, of(claim)).one_or_none() is not None


def is_cancelling(session: Session, claim: Claim) -> bool:
    """Whether this attempt's job is being cancelled. Locks its row until the transaction ends."""
    return session.connection().scalars(_IS_CANCELLING, of(claim)).one_or_none() is not None


def why_not(session: Session, claim: Claim) -> AttemptEnded:
    """Return why a change of the attempt was not made."""
    return Cancelled() if is_cancelling(session, claim) else Fenced()


def remaining_seconds(session: Session, claim: Claim) -> float:
    """Return the time until the job's deadline; negative once it has passed."""
    return (claim.deadline_ms - read_now_ms(session)) / 1000


def is_marked(session: Session, claim: Claim) -> bool:
    """Whether an attempt was about to publish, and it is unknown whether it did."""
    marked = (JobFile.job_id == claim.job_id, JobFile.state == FileState.VERIFIED)
    return session.scalars(select(JobFile.job_id).where(*marked).limit(1)).one_or_none() is not None


def _change(session: Session, claim: Claim, statement: Executable, **values: Any) -> bool:
    """Return False if the job is no longer this attempt's, or is being cancelled: then only
    `transitions.end_cancelled` changes it."""
    return session.connection().scalars(statement, {**of(claim), **values}).one_or_none() is not None
