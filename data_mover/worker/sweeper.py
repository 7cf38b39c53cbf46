"""The sweeper: finds what nobody took and what somebody dropped. It asks the database and rings, and no host."""

import logging
import threading

from data_mover.config.settings import Settings
from data_mover.domain.errors import ServiceUnavailable
from data_mover.doorbell import Doorbell
from data_mover.store import host_health, plan_requests, queue, temporary_files, transitions, workers
from data_mover.store.database import Database

log = logging.getLogger(__name__)

#: how many jobs are changed in one transaction
AT_A_TIME = 500


class Sweeper:
    """Any number of them may run; each sweep is a few guarded statements."""

    def __init__(self, settings: Settings, database: Database, doorbell: Doorbell) -> None:
        self._settings = settings
        self._database = database
        self._doorbell = doorbell

    def run(self, stop: threading.Event) -> None:
        """Sweeps every `sweep_seconds` until the event is set, whatever is away meanwhile."""
        while not stop.is_set():
            try:
                self.sweep()
            except ServiceUnavailable as error:
                log.error("sweep-failed %s; trying again in %g s", error, self._settings.sweep_seconds)
            stop.wait(self._settings.sweep_seconds)

    def sweep(self) -> None:
        """Takes back jobs whose lease has run out, ends those past their deadline, forgets plan requests that nobody
        repeats, rings if there is work. Raises ServiceUnavailable where the database does not answer."""
        while self._take_back_lost() == AT_A_TIME:
            pass
        while self._end_overdue() == AT_A_TIME:
            pass
        with self._database.writing() as session:
            plan_requests.forget_abandoned(session)
            workers.forget_dead(session)
        if self._is_work():
            self._doorbell.notify_workers()

    def _is_work(self) -> bool:
        with self._database.reading() as session:
            awaited = queue.runnable(session) or plan_requests.waiting(session)
            return awaited or temporary_files.temporary_files_due(session) or host_health.probe_due(session)

    def _take_back_lost(self) -> int:
        with self._database.writing() as session:
            lost = transitions.take_back_lost(session, AT_A_TIME)
        for job_id, status in lost:
            log.warning("lease-expired job=%s its worker gave no sign of life; it is %s now", job_id, status)
        return len(lost)

    def _end_overdue(self) -> int:
        with self._database.writing() as session:
            overdue = transitions.end_overdue(session, AT_A_TIME)
        for job_id in overdue:
            log.warning("deadline-passed job=%s", job_id)
        return len(overdue)
