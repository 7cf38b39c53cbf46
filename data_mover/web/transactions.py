"""The transactions of a request, by pyramid_tm and zope.sqlalchemy.

pyramid_tm begins a transaction with each request, and aborts what an error leaves open. A use case that writes commits
it, and the request continues with a new one: each call of a multicall is on its own, an answer is given only of what is
on record, and none is open while a request waits. What only reads takes no part, and never waits for a writer.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from sqlalchemy.orm import Session
from transaction import TransactionManager
from zope.sqlalchemy import mark_changed

from data_mover.domain.fault_points import reach
from data_mover.doorbell import Doorbell
from data_mover.store.database import Database, mapping_errors


class RequestTransactions:
    """Implements `services.transactions.Transactions`."""

    def __init__(self, database: Database, doorbell: Doorbell, manager: TransactionManager) -> None:
        self.reading = database.reading
        self._database = database
        self._doorbell = doorbell
        self._manager = manager

    @contextmanager
    def writing(self) -> Iterator[Session]:
        session = self._database.writer()
        try:
            with mapping_errors():
                mark_changed(session, self._manager)  # joins; statements of Core would be rolled back otherwise
                yield session
                self._manager.commit()
        except BaseException:
            self._manager.abort()
            raise
        finally:
            session.close()
            self._manager.begin()

    def notify_workers(self) -> None:
        self._after_commit(self._doorbell.notify_workers)

    def notify_all_workers(self) -> None:
        self._after_commit(self._doorbell.notify_all_workers)

    def _after_commit(self, notify: Callable[[], None]) -> None:
        def committed(is_committed: bool) -> None:
            if is_committed:
                reach("committed")
                notify()

        self._manager.get().addAfterCommitHook(committed)
