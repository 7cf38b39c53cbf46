"""When each token was used last, and from where. Of a token only its SHA-256 is recorded."""

from collections.abc import Iterable
from dataclasses import dataclass

from sqlalchemy import select
from sqlalchemy.orm import Session

from data_mover.store.database import insert_or_update
from data_mover.store.models import TokenUse


@dataclass(frozen=True)
class LastUse:
    """The last use of a token."""

    sha256: str
    caller: str
    #: of this process' clock
    used_ms: int
    #: None over a Unix socket
    address: str | None


def record(session: Session, uses: Iterable[LastUse]) -> None:
    """Record the last uses; each replaces an earlier one."""
    for use in uses:
        values = {"caller": use.caller, "used_ms": use.used_ms, "address": use.address}
        insert_or_update(session, TokenUse, {"sha256": use.sha256, **values}, ["sha256"], values)


def last_uses(session: Session) -> dict[str, LastUse]:
    """Return the last uses by the tokens' SHA-256."""
    return {row.sha256: LastUse(row.sha256, row.caller, row.used_ms, row.address) for row in session.scalars(_ALL)}


_ALL = select(TokenUse)
