"""Quotas of callers: a refusal names the limit, and when it frees."""

from datetime import UTC, datetime

from sqlalchemy.orm import Session

from data_mover.config.callers import Caller
from data_mover.domain.errors import Refusal
from data_mover.store import usage


def require_quota(session: Session, caller: Caller) -> None:
    """Raise Refusal if the caller's newest move, which this transaction has inserted, is one too many."""
    queued, bytes_per_day = caller.quota.queued, caller.quota.bytes_per_day
    if queued is not None and usage.waiting(session, caller.name, queued + 1) > queued:
        raise full(f"{queued} moves of {caller.name} wait already; one more may as soon as one of them begins")
    if bytes_per_day is not None:
        used = usage.bytes_of_day(session, caller.name)
        if used.bytes >= bytes_per_day:
            frees_at = datetime.fromtimestamp(used.frees_at_ms / 1000, UTC).isoformat().replace("+00:00", "Z")
            raise full(
                f"moves of {caller.name} brought {used.bytes} bytes in 24 hours, {bytes_per_day} may; "
                f"the first of them no longer count at {frees_at}"
            )


def full(sentence: str) -> Refusal:
    """Return the refusal of what a quota does not allow now."""
    return Refusal(f"Quota: {sentence}", code="quota", field="")
