"""The RQ worker: it listens for the doorbell on one queue, runs nothing else, and survives an outage of Redis.

It takes no commands from Redis and trusts nothing in it: RQ's commands, suspension, scheduler and job registries are
disabled (docs/decisions/0023-nothing-in-redis-is-believed.md).
"""

import ctypes
import gc
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import replace
from functools import cache
from importlib.metadata import version
from typing import Any, NamedTuple

from redis import Redis
from redis.client import Pipeline
from redis.exceptions import RedisError, ResponseError
from rq import Queue
from rq.executions import Execution
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.utils import now
from rq.worker import Worker as ForkingWorker
from rq.worker import WorkerStatus
from rq.worker_registration import register
from sqlalchemy import select
from sqlalchemy.orm import Session, configure_mappers

from data_mover.backends import load_backends
from data_mover.config.callers import Callers, callers_of
from data_mover.config.registry_file import RegistryFile
from data_mover.config.settings import Settings
from data_mover.domain.errors import ServiceUnavailable
from data_mover.domain.fault_points import open_to_orders, reach
from data_mover.domain.problems import ending_the_process
from data_mover.doorbell import (
    SHARED_KEYS,
    Doorbell,
    DoorbellJob,
    DoorbellQueue,
    doorbell_queue,
    drop_misshapen_keys,
    redis_connection,
)
from data_mover.execution.heartbeat import Heartbeat, LeaseTerms
from data_mover.execution.stop import Stop
from data_mover.store import migrations, sweeps, workers
from data_mover.store.database import Database
from data_mover.store.workers import WorkerProcess
from data_mover.worker.loop import WorkerLoop

log = logging.getLogger(__name__)

#: an idle worker returns from its queue after `ttl - 15` seconds, which bounds how long a dead connection goes
#: unnoticed
WORKER_TTL_SECONDS = 60

#: threshold of the garbage collector: the objects of many files in flight are no garbage
GARBAGE_OBJECTS = 20_000

#: of glibc's mallopt: from which size on memory is mapped anew each time, and how much that is free stays ours. Blocks
#: of files are freed as fast as they come, and each new page costs a fault
_MALLOC_OPTIONS = {-3: 4 * 2**20, -1: 32 * 2**20}

#: the signals that stop a worker; it passes the first of them on to its work-horse
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_PR_SET_PDEATHSIG = 1


class Deployment(NamedTuple):
    settings: Settings
    registry: RegistryFile
    callers: Callers


@cache
def deployment() -> Deployment:
    """Return what $DATA_MOVER_INI says, read once by the worker and inherited by the processes that it forks."""
    settings = Settings.from_ini(os.environ["DATA_MOVER_INI"])
    registry = RegistryFile(settings.registry, settings.open_web, settings.open_web_denied)
    return Deployment(settings, registry, callers_of(settings.callers))


def _require_deployment() -> None:
    """Raise ConfigurationError unless the deployment can be used."""
    settings = deployment().settings
    settings.make_state_dir()
    if settings.fault_points:
        open_to_orders()
    with _database() as database:
        migrations.require_newest(database.engine)


@cache
def worker_row() -> WorkerProcess:
    """Return the row of this worker, made once and inherited by the processes that it forks. Raises
    ServiceUnavailable."""
    with _database() as database, database.writing() as session:
        return workers.register(session, socket.gethostname(), os.getpid(), version("data_mover"))


def answer_doorbell() -> None:
    """Run the worker loop, in a process of its own with connections of its own, and listen for more doorbell jobs until
    `claim_on_seconds` have passed. RQ calls this for a doorbell job."""
    reach("heard")
    gc.freeze()  # else every collection scans all that was imported before the fork
    gc.set_threshold(GARBAGE_OBJECTS)
    _keep_freed_memory()
    settings, registry, callers = deployment()
    stop = Stop(settings.stop_seconds)
    signal.signal(signal.SIGTERM, lambda *_: stop.ask())
    signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)
    doorbell = Doorbell(redis_connection(settings.redis_url, settings.redis_secret()))
    terms = LeaseTerms(settings.lease_seconds, settings.beat_seconds)
    with _database() as database:
        try:
            worker = replace(worker_row(), pid=os.getpid())
        except ServiceUnavailable as error:
            log.error("loop-ended %s; the sweeper wakes workers when it does", error)
            return
        until = time.monotonic() + settings.claim_on_seconds
        with Heartbeat(database, worker, terms, stop) as heartbeat:
            loop = WorkerLoop(settings, database, registry, callers, doorbell, heartbeat)
            loop.work()
            while _hears_more(doorbell, stop, until):
                loop.work()


def _keep_freed_memory() -> None:
    with suppress(AttributeError):  # musl has no such options
        for option, value in _MALLOC_OPTIONS.items():
            ctypes.CDLL(None).mallopt(option, value)


def _hears_more(doorbell: Doorbell, stop: Stop, until: float) -> bool:
    """Listen for the doorbell instead of the worker: this process has loaded and compiled all that the next job needs.
    Return False once it is to end."""
    try:
        while not stop.is_asked() and time.monotonic() < until:
            if doorbell.wait():
                reach("popped")
                reach("heard")
                return True
    except RedisError as error:
        log.warning("redis-away the worker listens again (%s)", error)
    return False


@contextmanager
def _database() -> Iterator[Database]:
    """Yield the database on connections of this process, which are closed with the block."""
    database = Database(deployment().settings.database_url())
    try:
        yield database
    finally:
        database.close()


@cache
def _own_database() -> Database:
    """Return the database of the worker itself, which has no connection while it forks."""
    return Database(deployment().settings.database_url())


def _record(change: Callable[[Session], object]) -> None:
    """Change the worker's row, if the database answers. Delays a stop meanwhile: RQ raises it anywhere in the main
    thread, and a transaction of SQLAlchemy may swallow it."""
    signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
    try:
        with suppress(ServiceUnavailable), _own_database().writing() as session:
            change(session)
        _own_database().close()
    finally:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)


class Worker(ForkingWorker):
    """Listens to one queue with the safe serializer and job class, whatever the command line says."""

    job_class = DoorbellJob
    max_connection_wait_time = 2.0
    last_cleaned_at: Any

    def __init__(self, queues: Any, name: str | None = None, *, connection: Redis, **options: Any) -> None:
        options |= {
            "job_class": DoorbellJob,
            "queue_class": DoorbellQueue,
            "serializer": JSONSerializer,
            "worker_ttl": WORKER_TTL_SECONDS,
            "default_worker_ttl": None,
        }
        load_backends()
        configure_mappers()
        with ending_the_process():
            _require_deployment()
        self._queue = doorbell_queue(connection)
        self._had_sweeper = True
        super().__init__([self._queue], name, connection=connection, **options)
        connection.connection_pool.reset()  # what RQ's command has connected gives up sooner than RQ now waits

    def execute_job(self, job: Job, queue: Queue) -> None:
        reach("popped")
        deployment().registry.current()
        super().execute_job(job, queue)

    def prepare_execution(self, job: Job) -> Execution:
        """Return the execution. RQ would record it in Redis, this keeps it in the process."""
        self.execution = Execution(job.id, job.id, self.connection, self.name)
        self.set_state(WorkerStatus.BUSY)
        return self.execution

    def perform_job(self, job: Job, queue: Queue, execution: Execution) -> bool:
        """Answer the doorbell, and ignore what the job says."""
        try:
            answer_doorbell()
        except Exception:
            log.exception("doorbell-unanswered")
            return False
        return True

    def handle_job_failure(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: a work-horse that dies leaves a lease in the database, and nothing in Redis."""

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """Fork. A stop is delayed until the worker knows its work-horse, and the work-horse handles the signal."""
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        super().fork_work_horse(job, queue)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def handle_warm_shutdown_request(self) -> None:
        """Stop the work-horse: it claims no further job, and hands its job back if that does not end in time."""
        log.info("stop-requested")
        if self.horse_pid:
            with suppress(ProcessLookupError):
                os.kill(self.horse_pid, signal.SIGTERM)

    def set_shutdown_requested_date(self) -> None:
        """Do nothing: no program reads that date, and an unavailable Redis must not delay a stop."""

    def register_birth(self) -> None:
        """Register, also if Redis has a worker of this name: that does not prove that one is alive."""
        self.birth_date = now()
        self.heartbeat()

    def register_death(self) -> None:
        """Deregister, on a new connection: a signal may have interrupted the old one between a request and its
        answer."""
        register_death: Callable[[], None] = super().register_death
        self.connection.connection_pool.disconnect()
        with self._redis_may_be_away("its registration runs out by itself"):
            register_death()
        _record(lambda session: workers.forget(session, worker_row()))

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """Run the job. The kernel kills this process if its worker dies."""
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self.pid:
            os._exit(1)
        if self._stop_requested:
            os.kill(os.getpid(), signal.SIGTERM)
        super().main_work_horse(job, queue)

    def maintain_heartbeats(self, job: Job, execution: Execution) -> None:
        self.heartbeat()

    def heartbeat(self, *args: Any, **kwargs: Any) -> None:
        """Renew the registration in Redis, which may have been emptied, and the row in the database; while a work-horse
        runs, that one renews the row. Look for the sweeper."""
        with self._redis_may_be_away("the worker continues"), self.connection.pipeline() as pipeline:
            self.last_heartbeat = now()
            pipeline.hset(self.key, mapping=self.serialize())
            pipeline.expire(self.key, self.worker_ttl + 60)
            register(self, pipeline)
            pipeline.execute()
        if not self.horse_pid:
            _record(lambda session: workers.beat(session, worker_row(), ()))
        _record(self._require_sweeper)

    def _require_sweeper(self, session: Session) -> None:
        """Logs it once, until there is a sweeper again."""
        has_sweeper = session.scalars(select(sweeps.is_fresh())).one()
        if not has_sweeper and self._had_sweeper:
            log.error("no-sweeper no sweep was made in the last minute; start one with `data_mover sweep`")
        self._had_sweeper = has_sweeper

    def set_state(self, state: str, pipeline: Pipeline | None = None) -> None:
        with self._redis_may_be_away("the worker continues"):
            super().set_state(state, pipeline)

    def run_maintenance_tasks(self) -> None:
        """Forget dead listeners. Jobs leave nothing in Redis to maintain."""
        self.last_cleaned_at = now()
        with self._redis_may_be_away("the worker continues"):
            self._queue.forget_dead_listeners()

    def subscribe(self) -> None:
        """Do nothing: no commands are taken from Redis."""

    def check_for_suspension(self, burst: bool) -> None:
        """Do nothing: a worker cannot be suspended through Redis."""

    def _start_scheduler(self, *args: Any, **kwargs: Any) -> None:
        """Do nothing: no jobs are scheduled in Redis."""

    @contextmanager
    def _redis_may_be_away(self, meanwhile: str) -> Iterator[None]:
        try:
            yield
        except RedisError as error:
            log.warning("redis-away %s (%s)", meanwhile, error)
            if isinstance(error, ResponseError):
                drop_misshapen_keys(self.connection, SHARED_KEYS | {self.key: b"hash"})
