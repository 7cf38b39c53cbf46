"""The worker loop: it runs jobs until none is left. Beside them it answers plan requests and does maintenance."""

import logging
import time

from data_mover.config.callers import Callers
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
from data_mover.store.queue import Limits
from data_mover.worker.maintenance import is_maintenance_due, maintain
from data_mover.worker.side_thread import SideThread

log = logging.getLogger(__name__)

#: how often candidates are read again if other workers have claimed all of them
ROUNDS = 10
#: how often a worker that only has a plan or maintenance to do looks for jobs, and one that has jobs looks for plans
LOOK_SECONDS = 0.5
#: how often a worker looks beside a job whether maintenance is due
MAINTENANCE_SECONDS = 1.0
#: how long a stopping worker waits for its plan to be handed back, and for maintenance
STOP_SECONDS = 10.0


class WorkerLoop:
    """Claims and runs jobs, one after the other, on connections of its own process."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        registry: RegistryFile,
        callers: Callers,
        doorbell: Doorbell,
        heartbeat: Heartbeat,
    ) -> None:
        self._settings = settings
        self._database = database
        self._registry = registry
        self._callers = callers
        self._doorbell = doorbell
        self._heartbeat = heartbeat
        backoff = Backoff(settings.retry_first_seconds, settings.probe_longest_seconds)
        self._connector = Connector(database, backoff, doorbell)
        self._look_from = self._look_for_plans_from = 0.0
        #: which caller had a job claimed last, by ascending numbers
        self._served = dict[str, int]()
        self._plans = SideThread("plan", lambda: is_plan_requested(database), self._answer_plan)
        self._maintenance = SideThread("maintenance", lambda: is_maintenance_due(database), self._maintain)

    def work(self) -> None:
        """Return when no job can be claimed. Returns after `claim_on_seconds` or a requested stop too, once the running
        job has ended, and wakes another worker. Returns if the database does not answer: the sweeper wakes workers
        later."""
        until = time.monotonic() + self._settings.claim_on_seconds
        try:
            with self._heartbeat.watching(self._look_for_maintenance):
                was_anything_left = self._claim_on(until)
            ends_at = time.monotonic() + STOP_SECONDS
            for beside in (self._plans, self._maintenance):
                beside.wait(max(0.0, ends_at - time.monotonic()))
            if was_anything_left:
                self._doorbell.notify_workers()
        except ServiceUnavailable as error:
            log.error("loop-ended %s; the sweeper wakes workers when it does", error)
        finally:
            self._connector.give_up()

    def _claim_on(self, until: float) -> bool:
        """Return whether the time was up, or a stop was requested; else no job was left."""
        claim = None
        while not self._heartbeat.stop.is_asked():
            maintains = self._maintenance.is_busy
            claim = self._claim(last=claim)
            self._connector.give_up(*(claim.host_names if claim else ()))
            has_plan = self._look_for_plans(has_job=claim is not None)
            if claim is not None:
                self._attempt(claim).run()
            elif has_plan:
                self._plans.wait(LOOK_SECONDS)
            elif maintains or self._maintenance.look():
                self._maintenance.wait(LOOK_SECONDS)
            else:
                return False
            if time.monotonic() > until and not has_plan:
                break
        return True

    def _look_for_plans(self, has_job: bool) -> bool:
        """Return whether a plan is being answered. Beside jobs, which may be many and small, looks now and then."""
        now = time.monotonic()
        if has_job and now < self._look_for_plans_from:
            return self._plans.is_busy
        self._look_for_plans_from = now + LOOK_SECONDS
        return self._plans.look()

    def _look_for_maintenance(self) -> None:
        """Called by the heartbeat: a job may take hours."""
        now = time.monotonic()
        if now >= self._look_from and not self._heartbeat.stop.is_asked():
            self._look_from = now + MAINTENANCE_SECONDS
            self._maintenance.look()

    def _maintain(self) -> None:
        maintain(self._database, self._registry.current(), self._connector, self._heartbeat)

    def _answer_plan(self) -> None:
        most_files, registry = self._settings.max_files, self._registry.current()
        answer_plan_request(self._database, registry, self._callers, self._connector, self._heartbeat, most_files)

    def _attempt(self, claim: Claim) -> Attempt:
        registry = self._registry.current()
        return Attempt(self._settings, self._database, registry, self._callers, self._connector, self._heartbeat, claim)

    def _claim(self, last: Claim | None) -> Claim | None:
        limits = Limits(self._registry.current().slots, self._callers.running_limit())
        for _ in range(ROUNDS):
            with self._database.reading() as session:
                candidates = queue.candidates(session, self._heartbeat.worker, limits, last, self._served)
            for candidate in candidates:
                with self._database.writing() as session:
                    claim = queue.take(
                        session, candidate, self._heartbeat.worker, limits, self._heartbeat.terms.lease_seconds
                    )
                if claim is not None:
                    reach("claimed")
                    self._served[claim.caller] = max(self._served.values(), default=0) + 1
                    return claim
            if not candidates:
                return None
        return None
