"""The RQ worker: it listens for the doorbell on one queue, runs nothing else, and outlives an absence of Redis.

It obeys nobody through Redis, and believes nothing that is there: RQ's commands, suspension, scheduler and registers of
jobs are out of use (docs/decisions/0023-nothing-in-redis-is-believed.md).
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
from sqlalchemy.orm import Session, configure_mappers

from data_mover.backends import load_backends
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
from data_mover.store import migrations, workers
from data_mover.store.database import Database
from data_mover.store.workers import WorkerProcess
from data_mover.worker.loop import WorkerLoop

log = logging.getLogger(__name__)

#: an idle worker looks up from its queue after `ttl - 15` seconds; so long may a swallowed connection go unnoticed
WORKER_TTL_SECONDS = 60

#: so many new objects are looked through for garbage at a time: files under way are many, and no garbage
GARBAGE_OBJECTS = 20_000

#: what asks a worker to stop; its work-horse is asked with the first of them
STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)

_PR_SET_PDEATHSIG = 1


class Deployment(NamedTuple):
    settings: Settings
    registry: RegistryFile


@cache
def deployment() -> Deployment:
    """What $DATA_MOVER_INI says, read once by the worker and inherited by the processes that it forks."""
    settings = Settings.from_ini(os.environ["DATA_MOVER_INI"])
    return Deployment(settings, RegistryFile(settings.registry, settings.open_web, settings.open_web_denied))


def _require_deployment() -> None:
    """Raises ConfigurationError if there is no deployment to work for."""
    settings = deployment().settings
    settings.make_state_dir()
    if settings.fault_points:
        open_to_orders()
    with _database() as database:
        migrations.require_newest(database.engine)


@cache
def worker_row() -> WorkerProcess:
    """The row of this worker, made once and inherited by the processes that it forks. Raises ServiceUnavailable."""
    with _database() as database, database.writing() as session:
        return workers.register(session, socket.gethostname(), os.getpid(), version("data_mover"))


def answer_doorbell() -> None:
    """What the doorbell calls, in a process of its own with connections of its own: runs what can be claimed, and
    listens for more until `claim_on_seconds` have passed."""
    reach("heard")
    gc.freeze()  # else every collection looks again at all that was imported before the fork
    gc.set_threshold(GARBAGE_OBJECTS)
    settings, registry = deployment()
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
            loop = WorkerLoop(settings, database, registry, doorbell, heartbeat)
            loop.work()
            while _hears_more(doorbell, stop, until):
                loop.work()


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
    """The database on connections of this process, which end with the block."""
    database = Database(deployment().settings.database_url())
    try:
        yield database
    finally:
        database.close()


@cache
def _own_database() -> Database:
    """The database of the worker itself, which has no connection while it forks."""
    return Database(deployment().settings.database_url())


def _record(change: Callable[[Session], object]) -> None:
    """Changes the worker's row, if the database answers. A stop that is asked for meanwhile waits: RQ raises it in the
    main thread wherever that is, and a transaction of SQLAlchemy may swallow it."""
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
        super().__init__([self._queue], name, connection=connection, **options)

    def execute_job(self, job: Job, queue: Queue) -> None:
        reach("popped")
        deployment().registry.current()
        super().execute_job(job, queue)

    def prepare_execution(self, job: Job) -> Execution:
        """Known to this process alone."""
        self.execution = Execution(job.id, job.id, self.connection, self.name)
        self.set_state(WorkerStatus.BUSY)
        return self.execution

    def perform_job(self, job: Job, queue: Queue, execution: Execution) -> bool:
        """Answers the doorbell, and does nothing else, whatever the job says."""
        try:
            answer_doorbell()
        except Exception:
            log.exception("doorbell-unanswered")
            return False
        return True

    def handle_job_failure(self, *args: Any, **kwargs: Any) -> None:
        """What a work-horse leaves behind when it dies is a lease in the database, and nothing in Redis."""

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """A stop that is asked for meanwhile waits until the worker knows its work-horse, and that one can hear it."""
        signal.pthread_sigmask(signal.SIG_BLOCK, STOP_SIGNALS)
        super().fork_work_horse(job, queue)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, STOP_SIGNALS)

    def handle_warm_shutdown_request(self) -> None:
        """The work-horse begins nothing further, and hands its job back if that does not end in time."""
        log.info("stop-requested")
        if self.horse_pid:
            with suppress(ProcessLookupError):
                os.kill(self.horse_pid, signal.SIGTERM)

    def set_shutdown_requested_date(self) -> None:
        """Nobody reads that date in Redis, and a Redis that is away must not come between a stop and its end."""

    def register_birth(self) -> None:
        """Whatever stands under its name: that is no proof that anybody else lives."""
        self.birth_date = now()
        self.heartbeat()

    def register_death(self) -> None:
        """On a connection of its own: a signal may have come between a request and its answer on the old one."""
        register_death: Callable[[], None] = super().register_death
        self.connection.connection_pool.disconnect()
        with self._redis_may_be_away("its registration runs out by itself"):
            register_death()
        _record(lambda session: workers.forget(session, worker_row()))

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """The forked process ends with its worker: without one nobody would hear of what it does."""
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != self.pid:
            os._exit(1)
        if self._stop_requested:
            os.kill(os.getpid(), signal.SIGTERM)
        super().main_work_horse(job, queue)

    def maintain_heartbeats(self, job: Job, execution: Execution) -> None:
        self.heartbeat()

    def heartbeat(self, *args: Any, **kwargs: Any) -> None:
        """Registers again what a Redis that was emptied has forgotten. While a work-horse runs, it beats for the row in
        the database."""
        with self._redis_may_be_away("the worker continues"), self.connection.pipeline() as pipeline:
            self.last_heartbeat = now()
            pipeline.hset(self.key, mapping=self.serialize())
            pipeline.expire(self.key, self.worker_ttl + 60)
            register(self, pipeline)
            pipeline.execute()
        if not self.horse_pid:
            _record(lambda session: workers.beat(session, worker_row(), ()))

    def set_state(self, state: str, pipeline: Pipeline | None = None) -> None:
        with self._redis_may_be_away("the worker continues"):
            super().set_state(state, pipeline)

    def run_maintenance_tasks(self) -> None:
        """Jobs leave nothing in Redis that would have to be looked after."""
        self.last_cleaned_at = now()
        with self._redis_may_be_away("the worker continues"):
            self._queue.forget_dead_listeners()

    def subscribe(self) -> None:
        """To nothing: a command through Redis is nobody's."""

    def check_for_suspension(self, burst: bool) -> None:
        """Nobody suspends a worker through Redis."""

    def _start_scheduler(self, *args: Any, **kwargs: Any) -> None:
        """Nothing is scheduled in Redis."""

    @contextmanager
    def _redis_may_be_away(self, meanwhile: str) -> Iterator[None]:
        try:
            yield
        except RedisError as error:
            log.warning("redis-away %s (%s)", meanwhile, error)
            if isinstance(error, ResponseError):
                drop_misshapen_keys(self.connection, SHARED_KEYS | {self.key: b"hash"})
