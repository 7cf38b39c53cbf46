"""The errors of the client."""

from typing import Any


class ClientError(Exception):
    """Base of all errors of the client. They can be pickled, and so cross the borders of processes."""


class Rejected(ClientError):
    """The service refuses the request; the same one will be refused again."""

    def __init__(self, reason: str, code: str, field: str | None) -> None:
        self.reason = reason
        self.code = code
        #: the wrong argument, if there is one
        self.field = field
        super().__init__(reason, code, field)

    def __str__(self) -> str:
        return self.reason


class MoveFailed(ClientError):
    """The move has ended FAILED or CANCELLED."""

    def __init__(self, answer: dict[str, Any]) -> None:
        self.id: int = answer["id"]
        self.status: str = answer["status"]
        self.code: str | None = answer["code"]
        self.reason: str = answer["reason"] or "the move was cancelled"
        #: whether `Move.retry` can help, and who can fix it: caller, host owner or operator
        self.retryable: bool | None = answer["retryable"]
        self.who_can_fix: str | None = answer["who_can_fix"]
        super().__init__(answer)

    def __str__(self) -> str:
        return f"move {self.id} is {self.status}: {self.reason}"


class NotAuthenticated(ClientError):
    """The service does not know the token."""


class NotAllowed(ClientError):
    """The service does not allow the caller to do this."""


class ServiceUnavailable(ClientError):
    """The service does not answer, or not at the moment; ask again."""
