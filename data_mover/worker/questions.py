"""Answering what callers want to know of a move before they ask for it."""

import logging
import time
from contextlib import suppress

from data_mover.db import Database
from data_mover.errors import DataMoverError, Fenced, HostUnreachable, InternalError, MoveFailure, Stopped
from data_mover.fault_points import reach
from data_mover.jobs import claims, hosts, questions
from data_mover.jobs.questions import PlanReport, Taken
from data_mover.jobs.states import Phase
from data_mover.registry import Registry
from data_mover.settings import Settings
from data_mover.worker.connections import Connections
from data_mover.worker.dialler import Dialler
from data_mover.worker.preview import Preview
from data_mover.worker.stop import Stop

log = logging.getLogger(__name__)

#: how often at most it is written down how far the answer is
TELL_SECONDS = 1.0


def answer_question(settings: Settings, database: Database, registry: Registry, dialler: Dialler, stop: Stop) -> None:
    """Answers the question that has waited longest, if there is one. Raises ServiceUnavailable where the database does
    not answer."""
    with database.reading() as session:
        if not questions.waiting(session):
            return
    lease_ms = int(settings.lease_seconds * 1000)
    with database.writing() as session:
        taken = questions.take(session, lease_ms)
    if taken is not None:
        log.info("question-taken %d %s", taken.id, taken.wanted.route)
        with Connections(registry, dialler) as connections, suppress(Fenced):
            _Answer(database, taken, lease_ms, stop).give(connections)


class _Answer:
    """One question in the hands of this worker."""

    def __init__(self, database: Database, taken: Taken, lease_ms: int, stop: Stop) -> None:
        self._database = database
        self._taken = taken
        self._wanted = taken.wanted
        self._lease_ms = lease_ms
        self._stop = stop
        self._report = PlanReport(phase=Phase.RESOLVING)
        self._told_at = time.monotonic()

    def give(self, connections: Connections) -> None:
        """Fenced if nobody wants to know any more."""
        self._tell()
        reach("answering")
        try:
            if not self._is_blocked():
                self._look(connections)
        except Stopped:
            with self._database.writing() as session:
                questions.hand_back(session, self._taken)
        else:
            self._report.complete = True
            if self._report.phase is Phase.RESOLVING:
                self._report.phase = None
            self._tell()
            log.info("question-answered %d", self._taken.id)

    def _look(self, connections: Connections) -> None:
        try:
            Preview(self._wanted, connections, self._report, self._alive).look()
        except MoveFailure as failure:
            self._report.expect(failure.code, failure.reason)
            if isinstance(failure, HostUnreachable):
                self._report.phase = Phase.BLOCKED
        except DataMoverError:
            raise
        except Exception:
            log.exception("question-broke %d", self._taken.id)
            self._report.expect(InternalError.code, InternalError.sentence())

    def _is_blocked(self) -> bool:
        """Whether the move would have to wait for one of its hosts."""
        with self._database.reading() as session:
            blocks = hosts.blocks(session)
            self._report.bytes_promised = claims.bytes_promised_to(session, self._wanted.destination.host)
        block = next((blocks[name] for name in sorted(self._wanted.host_names) if name in blocks), None)
        if block is not None:
            self._report.phase = Phase.BLOCKED
            self._report.expect(block.code, block.reason)
        return block is not None

    def _alive(self) -> None:
        if self._stop.is_asked():
            raise Stopped
        if time.monotonic() >= self._told_at + TELL_SECONDS:
            self._tell()

    def _tell(self) -> None:
        with self._database.writing() as session:
            wanted = questions.tell(session, self._taken, self._report, self._lease_ms)
        if not wanted:
            raise Fenced
        self._told_at = time.monotonic()
