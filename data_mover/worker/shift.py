"""What one bell brings about: jobs are claimed and run until none is left or it is time to listen again."""

import logging
import os
import socket
import time

from data_mover.db import Database
from data_mover.errors import MoveFailure, ServiceUnavailable
from data_mover.job_queue import Bell
from data_mover.jobs import claims, files
from data_mover.jobs.claims import Claim
from data_mover.jobs.files import Leftover
from data_mover.protocols import connect
from data_mover.registry import RegistryFile
from data_mover.settings import Settings
from data_mover.worker.attempt import Attempt

log = logging.getLogger(__name__)

#: how many leftover files a shift clears, and how long one that could not be cleared is left alone
LEFTOVERS_AT_A_TIME = 20
LEFTOVER_WAIT_SECONDS = 300


class Shift:
    """Works through what is runnable. Everything it needs is handed in; connections are its process's own."""

    def __init__(self, settings: Settings, database: Database, registry: RegistryFile, bell: Bell) -> None:
        self._settings = settings
        self._database = database
        self._registry = registry
        self._bell = bell
        self._worker = f"{socket.gethostname()}:{os.getpid()}"

    def work(self) -> None:
        """Returns when nothing is runnable, or `claim_on_seconds` have passed and the job in hand is done; then the
        bell rings for what is left. A database that does not answer ends the shift: the sweeper rings again."""
        try:
            self._claim_on()
            self._clear_leftovers()
            self._ring_for_the_rest()
        except ServiceUnavailable as error:
            log.error("shift-ended %s; the sweeper wakes workers when it does", error)

    def _claim_on(self) -> None:
        until = time.monotonic() + self._settings.claim_on_seconds
        held = self._claim(last=None)
        while held is not None:
            Attempt(self._settings, self._database, self._registry.current(), held).run()
            held = self._claim(last=held) if time.monotonic() < until else None

    def _claim(self, last: Claim | None) -> Claim | None:
        places = {name: options.max_transfers for name, options in self._registry.current().hosts.items()}
        lease_ms = int(self._settings.lease_seconds * 1000)
        with self._database.writing() as session:
            return claims.claim(session, self._worker, places, lease_ms, last)

    def _ring_for_the_rest(self) -> None:
        with self._database.reading() as session:
            runnable = claims.runnable(session)
        if runnable:
            self._bell.ring()

    def _clear_leftovers(self) -> None:
        """Removes the temporary files of jobs that have ended, from the hosts that answer."""
        with self._database.reading() as session:
            due = files.leftovers_due(session)
        if not due:
            return
        with self._database.writing() as session:
            leftovers = files.take_leftovers(session, LEFTOVERS_AT_A_TIME, LEFTOVER_WAIT_SECONDS * 1000)
        for host in sorted({leftover.host for leftover in leftovers}):
            self._clear_host(host, [leftover for leftover in leftovers if leftover.host == host])

    def _clear_host(self, host: str, leftovers: list[Leftover]) -> None:
        options = self._registry.current().hosts.get(host)
        if options is None:
            log.warning(
                "leftovers-stay host=%s is no longer in the registry: %s", host, [left.path for left in leftovers]
            )
            return
        try:
            with connect(host, options) as connected:
                for leftover in leftovers:
                    connected.remove(leftover.path)
                    self._forget(leftover)
        except MoveFailure as failure:
            log.warning("leftovers-stay host=%s %s", host, failure.reason)

    def _forget(self, leftover: Leftover) -> None:
        with self._database.writing() as session:
            files.forget_temporary(session, leftover.host, leftover.path)
        log.info("leftover-removed job=%s host=%s path=%s", leftover.job_id, leftover.host, leftover.path)
