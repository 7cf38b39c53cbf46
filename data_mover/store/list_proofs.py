"""What proves all files of a job together, so that nobody who asks for it reads a row for each."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from sqlalchemy import Row, select, update
from sqlalchemy.orm import Session

from data_mover.domain.states import ARRIVED, FileKind, Status
from data_mover.store.models import Job, JobFile

#: how a file's digest at the destination can be proven, the weakest first
METHODS = ("size", "sha256-readback", "sha256-remote")
#: how many files are read at a time
PAGE = 2_000

#: number, name, SHA-256 and method
ProvenRow = Row[int, str, str | None, str | None]


@dataclass(frozen=True)
class ListProof:
    """Of one file its own SHA-256, of several that of the list of them; and the weakest method that proved one."""

    sha256: str
    verified: str


def list_proof(page: Callable[[int], Sequence[ProvenRow]]) -> ListProof | None:
    """Return the proof of the files in the pages, or None if there are none. `page` returns the files behind that of a
    number."""
    digest, count, methods, last, own = hashlib.sha256(), 0, set[str](), -1, ""
    while rows := page(last):
        for number, name, sha256, verified in rows:
            digest.update(f"{sha256}  {name}\0".encode())
            methods.add(str(verified))
            last, own = number, str(sha256)
        count += len(rows)
    if not count:
        return None
    return ListProof(own if count == 1 else digest.hexdigest(), min(methods, key=METHODS.index))


def arrived_after(session: Session, job_id: int, number: int) -> Sequence[ProvenRow]:
    """Return the next files of the job that have arrived."""
    there = (JobFile.job_id == job_id, JobFile.kind == FileKind.FILE, JobFile.state.in_(ARRIVED))
    columns = (JobFile.number, JobFile.name, JobFile.sha256, JobFile.verified)
    page = select(*columns).where(*there, JobFile.number > number).order_by(JobFile.number).limit(PAGE)
    return session.execute(page).all()


def unproven(session: Session, job_ids: Sequence[int]) -> Sequence[int]:
    """Return those of the jobs that are completed, and whose attempts could not record a proof any more."""
    ended = (Job.id.in_(job_ids), Job.status == Status.COMPLETED, Job.verified.is_(None))
    return session.scalars(select(Job.id).where(*ended)).all()


def record_later(session: Session, job_id: int, proof: ListProof) -> None:
    """Record the proof of a job that is completed already."""
    completed = update(Job).where(Job.id == job_id, Job.status == Status.COMPLETED)
    session.execute(completed.values(sha256=proof.sha256, verified=proof.verified))
