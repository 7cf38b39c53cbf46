"""The calls of a request, in the audit trail."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from data_mover.domain.errors import Refusal
from data_mover.store.audit_trail import AuditTrail


@dataclass(frozen=True)
class RequestAudit:
    """The audit trail for the calls of one request."""

    trail: AuditTrail
    caller: str
    #: the first digits of its token's SHA-256, None without one
    token: str | None
    #: the client's; behind a proxy, what that says
    address: str | None
    #: from where the connection came: behind a proxy, the proxy's own; None if the server does not say
    peer: str | None

    @contextmanager
    def call(self, method: str, **asked: Any) -> Iterator[dict[str, Any]]:
        """Record the call with its answer: what the block adds to the entry, or the code of its refusal."""
        entry: dict[str, Any] = {}
        try:
            yield entry
        except Refusal as refusal:
            self._record(method, asked, {**entry, "answer": "REJECTED", "code": refusal.code, "field": refusal.field})
            raise
        self._record(method, asked, entry)

    def not_allowed(self, method: str) -> None:
        """Record that the caller lacks the verb for a method."""
        self._record(method, {}, {"answer": "not-allowed"})

    def _record(self, method: str, asked: dict[str, Any], entry: dict[str, Any]) -> None:
        who = {"caller": self.caller, "token": self.token, "address": self.address, "peer": self.peer}
        self.trail.record(event="call", **who, method=method, **asked, **entry)
