"""What use cases need that write."""

from contextlib import AbstractContextManager
from typing import Protocol

from sqlalchemy.orm import Session


class Transactions(Protocol):
    """The transactions of one caller's request. Raises ServiceUnavailable if the database does not answer."""

    def reading(self) -> AbstractContextManager[Session]:
        """Yield a session that only reads."""

    def writing(self) -> AbstractContextManager[Session]:
        """Yield a session that commits at the end of the block, or rolls back if the block raises."""

    def notify_workers(self) -> None:
        """Wake a worker once the block has committed. Call it within the block."""

    def notify_all_workers(self) -> None:
        """Wake every worker once the block has committed. Call it within the block."""
