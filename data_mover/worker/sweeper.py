"""The sweeper: finds unclaimed jobs and those that lost their worker, and wakes workers. It never connects to a
host."""

import logging
import threading
import time
from collections.abc import Sequence
from functools import partial

from sqlalchemy.exc import SQLAlchemyError

from data_mover.config.settings import Settings
from data_mover.domain.errors import ServiceUnavailable
from data_mover.doorbell import Doorbell
from data_mover.store import (
    host_health,
    list_proofs,
    plan_requests,
    queue,
    sweeps,
    temporary_files,
    transitions,
    workers,
)
from data_mover.store.database import Database

log = logging.getLogger(__name__)

#: how many jobs are changed in one transaction at most, which keeps it short
AT_A_TIME = 50
#: interval between two looks of the database at its tables: what it knows of them must not be old where they grow fast
OPTIMIZE_SECONDS = 3_600


class Sweeper:
    """Sweeps at intervals. Any number may run; each sweep is a few guarded statements."""

    def __init__(self, settings: Settings, database: Database, doorbell: Doorbell) -> None:
        self._settings = settings
        self._database = database
        self._doorbell = doorbell
        self._had_workers = True
        self._optimize_from = 0.0

    def run(self, stop: threading.Event) -> None:
        """Sweep every `sweep_seconds` until the event is set, whatever fails meanwhile."""
        while not stop.is_set():
            self.sweep()
            stop.wait(self._settings.sweep_seconds)

    def sweep(self) -> None:
        """Take back jobs whose lease has expired, end those past their deadline, settle the files of ending jobs,
        forget abandoned plan requests, wake workers if there is work, and now and then have the database look at its
        tables. A step that fails does not prevent the others: the next sweep repeats it."""
        for part in (
            self._record,
            self._take_back_lost,
            self._end_overdue,
            self._settle,
            self._forget_abandoned,
            self._wake,
            self._optimize,
        ):
            try:
                part()
            except ServiceUnavailable as error:
                log.error("sweep-failed %s %s", part.__name__.strip("_"), error)
            except SQLAlchemyError:
                log.exception("sweep-broke %s", part.__name__.strip("_"))

    def _record(self) -> None:
        with self._database.writing() as session:
            sweeps.record(session, self._settings.sweep_seconds)

    def _wake(self) -> None:
        if self._is_work():
            self._require_workers()
            self._doorbell.notify_workers()

    def _optimize(self) -> None:
        """At the start, and every hour."""
        if time.monotonic() >= self._optimize_from:
            self._database.optimize()
            self._optimize_from = time.monotonic() + OPTIMIZE_SECONDS

    def _require_workers(self) -> None:
        """Log that no worker is alive, once until there is one again."""
        with self._database.reading() as session:
            has_workers = bool(workers.alive(session, workers.SILENT_AFTER_SECONDS))
        if not has_workers and self._had_workers:
            log.error("no-worker there is work, and no worker is alive; start one with `data_mover worker`")
        self._had_workers = has_workers

    def _forget_abandoned(self) -> None:
        with self._database.writing() as session:
            plan_requests.forget_abandoned(session)
            workers.forget_dead(session)

    def _settle(self) -> None:
        with self._database.reading() as session:
            ending = transitions.ending_jobs(session, AT_A_TIME)
        for job_id in ending:
            is_settled = False
            while not is_settled:
                with self._database.writing() as session:
                    is_settled = transitions.settle(session, job_id)

    def _is_work(self) -> bool:
        with self._database.reading() as session:
            awaited = queue.runnable(session) or plan_requests.waiting(session)
            return awaited or temporary_files.temporary_files_due(session) or host_health.probe_due(session)

    def _take_back_lost(self) -> None:
        while True:
            with self._database.writing() as session:
                lost = transitions.take_back_lost(session, AT_A_TIME)
            for job_id, status in lost:
                log.warning("lease-expired job=%s its worker gave no sign of life; it is %s now", job_id, status)
            self._prove([job_id for job_id, _ in lost])
            if not lost:
                return

    def _end_overdue(self) -> None:
        while True:
            with self._database.writing() as session:
                overdue = transitions.end_overdue(session, AT_A_TIME)
            for job_id in overdue:
                log.warning("deadline-passed job=%s", job_id)
            self._prove(overdue)
            if not overdue:
                return

    def _prove(self, job_ids: Sequence[int]) -> None:
        """Records what proves jobs that have turned out to be completed."""
        if not job_ids:
            return
        with self._database.reading() as session:
            for job_id in list_proofs.unproven(session, job_ids):
                proof = list_proofs.list_proof(partial(list_proofs.arrived_after, session, job_id))
                if proof is not None:
                    with self._database.writing() as change:
                        list_proofs.record_later(change, job_id, proof)
