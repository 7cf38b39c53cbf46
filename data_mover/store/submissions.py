"""Submitted moves: making jobs of them, and finding those jobs again."""

from dataclasses import dataclass, field

from sqlalchemy import bindparam, select
from sqlalchemy.orm import Session

from data_mover.domain.locations import Endpoint, IfExists, Locations, sources_as_json
from data_mover.domain.selection import Selection
from data_mover.domain.states import TERMINAL, Priority
from data_mover.store import host_health, transitions
from data_mover.store.database import insert_if_absent, ms, read_now_ms
from data_mover.store.models import Job, Lane


@dataclass(frozen=True)
class Submission:
    """A valid request for a move."""

    caller: str
    #: of a caller of OpenID Connect, the scopes that grant its rights
    scopes: str | None
    sources: Locations
    destination: Endpoint
    #: the sources, as the registry resolves them now
    endpoints: tuple[Endpoint, ...]
    key: str | None
    label: str | None
    priority: Priority
    #: SHA-256 in hexadecimal that the source must have
    checksum: str | None
    deadline_seconds: int
    selection: Selection = field(default_factory=Selection)
    if_exists: IfExists = IfExists.REPLACE
    #: the job that this one retries
    retry_of: int | None = None

    @property
    def host_names(self) -> frozenset[str]:
        return frozenset({self.destination.host, *(endpoint.host for endpoint in self.endpoints)})


def add(session: Session, submission: Submission) -> int | None:
    """Record a new PENDING job; return its id, or None if the caller has used the key before, or a live job retries the
    same job already."""
    if submission.retry_of is not None and _is_being_done_again(session, submission.retry_of):
        return None
    now = read_now_ms(session)
    host_health.know(session, submission.host_names)
    return transitions.submit(
        session,
        {
            "caller": submission.caller,
            "scopes": submission.scopes,
            "key": submission.key,
            "source": sources_as_json(submission.sources),
            "destination": submission.destination.as_struct(),
            "label": submission.label,
            "priority": submission.priority.rank,
            "checksum": submission.checksum,
            "selection": submission.selection.as_struct(),
            "if_exists": submission.if_exists,
            "retry_of": submission.retry_of,
            "submitted_ms": now,
            "deadline_ms": now + ms(submission.deadline_seconds),
            "lane_id": _lane(session, submission.caller, " ".join(sorted(submission.host_names))),
            "sources": [[endpoint.host, endpoint.path] for endpoint in submission.endpoints],
            "destination_host": submission.destination.host,
            "destination_path": submission.destination.path,
            "not_before_ms": now,
        },
    )


def find_by_key(session: Session, caller: str, key: str) -> Job:
    """Return the job that the caller has submitted with this key."""
    return session.scalars(select(Job).where(Job.caller == caller, Job.key == key)).one()


def is_same_request(job: Job, submission: Submission) -> bool:
    """Whether the job has the same request, labels apart."""
    asked = (job.source, job.destination, job.checksum, job.selection, job.priority, job.if_exists)
    return asked == (
        sources_as_json(submission.sources),
        submission.destination.as_struct(),
        submission.checksum,
        submission.selection.as_struct(),
        submission.priority.rank,
        submission.if_exists,
    )


def find_live_retry(session: Session, job_id: int) -> Job | None:
    """Return a job that retries this one and has not ended, if there is one."""
    statement = select(Job).where(Job.retry_of == job_id, Job.status.not_in(TERMINAL)).order_by(Job.id).limit(1)
    return session.scalars(statement).one_or_none()


def find_newest_retry(session: Session, job_id: int) -> Job:
    """Return the newest job that retries this one."""
    return session.scalars(select(Job).where(Job.retry_of == job_id).order_by(Job.id.desc()).limit(1)).one()


def _is_being_done_again(session: Session, job_id: int) -> bool:
    """Whether a live job retries it already. Locks the row of the job: concurrent callers block."""
    session.execute(select(Job.id).where(Job.id == job_id).with_for_update())
    return find_live_retry(session, job_id) is not None


_LANE = select(Lane.id).where(Lane.caller == bindparam("caller"), Lane.hosts == bindparam("hosts"))


def _lane(session: Session, caller: str, host_names: str) -> int:
    names = {"caller": caller, "hosts": host_names}
    known = session.connection().scalars(_LANE, names).one_or_none()
    if known is not None:
        return known
    insert_if_absent(session, Lane, names)
    return session.connection().scalars(_LANE, names).one()
