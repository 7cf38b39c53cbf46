"""Plan requests: callers ask what a move would do. That takes the hosts, so a worker answers.

A request is kept while its caller repeats it: a large folder may take longer than one call waits.
"""

import hashlib
import json
from collections import Counter
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from pydantic import TypeAdapter
from sqlalchemy import ColumnElement, delete, func, select, update
from sqlalchemy.orm import Session

from data_mover.domain.errors import failure_of
from data_mover.domain.move_spec import MoveSpec
from data_mover.domain.states import Phase
from data_mover.store import host_health, workers
from data_mover.store.database import insert_or_update, ms, now_ms, read_now_ms
from data_mover.store.models import PlanRequest

#: how long a request is kept after its caller has asked last
KEPT_SECONDS = 60


@dataclass(frozen=True)
class ExpectedFailure:
    """A file that the move could not publish."""

    #: the path below the source, or the base name of a source that is a file
    name: str
    code: str
    reason: str


@dataclass
class PlanReport:
    """The answer to `plan`. Sizes are bytes; what is not known is None."""

    #: whether the dry run is complete; else the same request, repeated, resumes it
    complete: bool = False
    #: queued until a worker has begun, resolving while one looks, blocked where the move would wait for a host
    phase: Phase | None = Phase.QUEUED
    #: host and path of each source and of the destination, as the registry resolves them; without the queries of URLs
    sources: list[dict[str, str]] = field(default_factory=list)
    destination: dict[str, str] = field(default_factory=dict)
    #: the final path of the file or folder, or of the directory that would receive several
    path: str | None = None
    files_total: int = 0
    #: None if the source does not report the size of a file
    bytes_total: int | None = 0
    #: how many of the final paths exist already
    files_existing: int = 0
    files_failed: int = 0
    #: the first of these
    failures: list[ExpectedFailure] = field(default_factory=list)
    #: the free space of the destination, and what running moves will still write to it
    bytes_free: int | None = None
    bytes_reserved: int = 0
    #: whether this service may write at the destination
    writable: bool | None = None
    #: why the move would fail or wait; None if it would not
    code: str | None = None
    reason: str | None = None
    retryable: bool | None = None
    who_can_fix: str | None = None

    def expect(self, code: str | None, reason: str) -> None:
        """Record what the move would fail with, or wait for."""
        self.code, self.reason = code, reason
        failure = failure_of(code) if code else None
        self.retryable = failure.retryable if failure else None
        self.who_can_fix = failure.who_can_fix if failure else None


class PlanClaim(NamedTuple):
    """A claimed plan request."""

    id: int
    #: the number of the claim; a later worker's is higher
    number: int
    caller: str
    spec: MoveSpec


_REPORT = TypeAdapter(PlanReport)


#: the caller has asked recently. Times far in the future do not count: clocks jump
_IS_ASKED = PlanRequest.asked_ms.between(now_ms() - ms(KEPT_SECONDS), now_ms() + ms(KEPT_SECONDS))
_UNANSWERED = (_IS_ASKED, ~PlanRequest.answered)
_IS_LEASED = func.coalesce(PlanRequest.lease_until_ms > now_ms(), False)
_WAITING = select(PlanRequest.id, PlanRequest.caller, _IS_LEASED).where(*_UNANSWERED)


def ask(session: Session, caller: str, spec: MoveSpec) -> int:
    """Record the request, or renew the same one of this caller. Returns its id."""
    host_health.know(session, spec.host_names)
    row = {
        "caller": caller,
        "digest": _digest(spec),
        "spec": spec.as_struct(),
        "asked_ms": now_ms(),
        "claims": 0,
        "answered": False,
    }
    return insert_or_update(session, PlanRequest, row, ["caller", "digest"], {"asked_ms": now_ms()})


def asked_by(session: Session, caller: str, spec: MoveSpec) -> int:
    """Return how many other plans the caller waits for."""
    digest = _digest(spec)
    mine = (PlanRequest.caller == caller, PlanRequest.digest != digest, *_UNANSWERED)
    return session.scalars(select(func.count()).select_from(PlanRequest).where(*mine)).one()


def report(session: Session, request_id: int) -> PlanReport | None:
    """Return the answer so far. Returns None if the request no longer exists."""
    row = session.get(PlanRequest, request_id)
    if row is None:
        return None
    found = PlanReport() if row.report is None else _REPORT.validate_python(row.report)
    spec = MoveSpec.from_struct(row.spec)
    found.sources = [source.as_shown() for source in spec.sources]
    found.destination = spec.destination.as_struct()
    return found


def forget(session: Session, request_id: int) -> None:
    """Delete an answered request."""
    session.execute(delete(PlanRequest).where(PlanRequest.id == request_id))


def forget_abandoned(session: Session) -> None:
    """Delete the requests whose callers have not asked again."""
    session.execute(delete(PlanRequest).where(~_IS_ASKED))


def waiting(session: Session) -> bool:
    """Whether there is anything for `take`."""
    return _next(session) is not None


def take(session: Session, lease_seconds: float) -> PlanClaim | None:
    """Claim a request for the length of a lease: of the callers with the fewest plans under way the one that has waited
    longest. No caller gets all workers if there are two or more. Returns None if no request may be answered now.

    All requests stay locked until the transaction ends, so that two workers count each other's claims.
    """
    session.execute(select(PlanRequest.id).where(*_UNANSWERED).order_by(PlanRequest.id).with_for_update())
    request_id = _next(session)
    row = session.get(PlanRequest, request_id) if request_id is not None else None
    if row is None:
        return None
    row.claims += 1
    row.lease_until_ms = read_now_ms(session) + ms(lease_seconds)
    return PlanClaim(row.id, row.claims, row.caller, MoveSpec.from_struct(row.spec))


def report_progress(session: Session, claim: PlanClaim, progress: PlanReport, lease_seconds: float) -> bool:
    """Record the answer so far and extend the lease. Returns False if the caller no longer asks, or another worker has
    the request."""
    struct: Any = _REPORT.dump_python(progress, mode="json")
    values = {"report": struct, "answered": progress.complete, "lease_until_ms": now_ms() + ms(lease_seconds)}
    return _changed(session, claim, values, _IS_ASKED)


def hand_back(session: Session, claim: PlanClaim) -> None:
    """Release the request to another worker."""
    _changed(session, claim, {"lease_until_ms": None})


def _changed(session: Session, claim: PlanClaim, values: dict[str, Any], *which: ColumnElement[bool]) -> bool:
    mine = (PlanRequest.id == claim.id, PlanRequest.claims == claim.number, ~PlanRequest.answered)
    statement = update(PlanRequest).where(*mine, *which).values(values).execution_options(synchronize_session=False)
    return session.scalars(statement.returning(PlanRequest.id)).one_or_none() is not None


def _next(session: Session) -> int | None:
    """Return the id of the request that is answered next; None if none may be."""
    rows = session.connection().execute(_WAITING).all()
    if not rows:
        return None
    leased = Counter(caller for _, caller, is_leased in rows if is_leased)
    most = max(1, workers.alive(session, workers.SILENT_AFTER_SECONDS) - 1)
    free = [(leased[caller], id_) for id_, caller, is_leased in rows if not is_leased and leased[caller] < most]
    return min(free)[1] if free else None


def _digest(spec: MoveSpec) -> str:
    return hashlib.sha256(json.dumps(spec.as_struct(), sort_keys=True).encode()).hexdigest()
