"""The worker loop: it runs jobs until none is left, and answers plan requests meanwhile."""

import logging
import time

from data_mover.config.registry_file import RegistryFile
from data_mover.config.settings import Settings
from data_mover.domain.backoff import Backoff
from data_mover.domain.errors import ServiceUnavailable
from data_mover.domain.fault_points import reach
from data_mover.doorbell import Doorbell
from data_mover.execution.attempt import Attempt
from data_mover.execution.connector import Connector
from data_mover.execution.heartbeat import Heartbeat
from data_mover.execution.plan_requests import answer_plan_request, is_plan_requested
from data_mover.store import queue
from data_mover.store.claims import Claim
from data_mover.store.database import Database
from data_mover.worker.maintenance import clear_temporary_files, probe
from data_mover.worker.plan_thread import PlanThread

log = logging.getLogger(__name__)

#: how often candidates are read again if other workers have claimed all of them
ROUNDS = 10
#: the share of a busy worker's time for maintenance, and the shortest interval between two runs of it
SHARE, SHARE_SECONDS = 0.1, 1.0
#: how often a worker that only answers a plan looks for jobs
PLAN_SECONDS = 0.5
#: how long a stopping worker waits for its plan to be handed back
STOP_PLAN_SECONDS = 10.0


class WorkerLoop:
    """Claims and runs jobs, one after the other, on connections of its own process."""

    def __init__(
        self, settings: Settings, database: Database, registry: RegistryFile, doorbell: Doorbell, heartbeat: Heartbeat
    ) -> None:
        self._settings = settings
        self._database = database
        self._registry = registry
        self._doorbell = doorbell
        self._heartbeat = heartbeat
        backoff = Backoff(settings.retry_first_seconds, settings.probe_longest_seconds)
        self._share_from = 0.0
        self._connector = Connector(database, backoff, doorbell)
        self._plans = PlanThread(lambda: is_plan_requested(database), self._answer_plan)

    def work(self) -> None:
        """Return when no job can be claimed. Returns after `claim_on_seconds` or a requested stop too, once the running
        job has ended, and wakes another worker. Returns if the database does not answer: the sweeper wakes workers
        later."""
        until = time.monotonic() + self._settings.claim_on_seconds
        try:
            while self._claim_on(until):
                if not probe(self._database, self._registry.current(), self._connector, self._heartbeat):
                    return clear_temporary_files(
                        self._database, self._registry.current(), self._connector, self._heartbeat
                    )
            self._doorbell.notify_workers()
        except ServiceUnavailable as error:
            log.error("loop-ended %s; the sweeper wakes workers when it does", error)

    def _claim_on(self, until: float) -> bool:
        """Return whether no job was left; else the time was up, or a stop was requested."""
        claim = None
        while not self._heartbeat.stop.is_asked():
            has_plan = self._plans.look()
            claim = self._claim(last=claim)
            if claim is not None:
                self._attempt(claim).run()
                self._maintain()
            elif has_plan:
                self._plans.wait(PLAN_SECONDS)
            else:
                return True
            if time.monotonic() > until and not has_plan:
                break
        self._plans.wait(STOP_PLAN_SECONDS)
        return False

    def _answer_plan(self) -> None:
        most_files = self._settings.max_files
        answer_plan_request(self._database, self._registry.current(), self._connector, self._heartbeat, most_files)

    def _maintain(self) -> None:
        """Run maintenance between two jobs, at most SHARE of the time: there may always be a next job."""
        began = time.monotonic()
        if began < self._share_from:
            return
        registry = self._registry.current()
        if not probe(self._database, registry, self._connector, self._heartbeat):
            clear_temporary_files(self._database, registry, self._connector, self._heartbeat)
        ended = time.monotonic()
        self._share_from = ended + max(SHARE_SECONDS, (ended - began) / SHARE)

    def _attempt(self, claim: Claim) -> Attempt:
        registry = self._registry.current()
        return Attempt(self._settings, self._database, registry, self._connector, self._heartbeat, claim)

    def _claim(self, last: Claim | None) -> Claim | None:
        slots = self._registry.current().slots
        for _ in range(ROUNDS):
            with self._database.reading() as session:
                candidates = queue.candidates(session, self._heartbeat.worker, slots, last)
            for candidate in candidates:
                with self._database.writing() as session:
                    claim = queue.take(
                        session, candidate, self._heartbeat.worker, slots, self._heartbeat.terms.lease_ms
                    )
                if claim is not None:
                    reach("claimed")
                    return claim
            if not candidates:
                return None
        return None
