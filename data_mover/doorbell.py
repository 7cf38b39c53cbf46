"""The doorbell: one RQ queue that wakes workers. It names no job; a woken worker claims what the database has.

A program that can write to Redis can wake workers, and do nothing else: of the data in Redis, one string is read, and
compared (docs/decisions/0023-nothing-in-redis-is-believed.md).
"""

import json
import logging
import time
import zlib
from collections.abc import Iterable, Mapping
from contextlib import suppress
from typing import Any, cast

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import ConnectionError as RedisAway
from redis.exceptions import RedisError, ResponseError
from redis.retry import Retry
from rq import Queue
from rq.exceptions import DequeueTimeout
from rq.job import Job, JobStatus
from rq.serializers import JSONSerializer
from rq.worker_registration import REDIS_WORKER_KEYS, WORKERS_BY_QUEUE_KEY

from data_mover.domain.fault_points import reach

log = logging.getLogger(__name__)

QUEUE = "moves"
#: the function that RQ calls for the doorbell; a worker calls nothing else for Redis
ANSWER = "data_mover.worker.answer_doorbell"
#: the class of the workers that listen
WORKER_CLASS = "data_mover.worker.Worker"

#: the content of the doorbell job in Redis: the function, no object, no arguments
PAYLOAD = json.dumps([ANSWER, None, [], {}]).encode()
#: more than its compressed form ever needs
PAYLOAD_BYTES = 2 * len(PAYLOAD)

#: the keys that all workers share, and their types in Redis
SHARED_KEYS = {
    Queue.redis_queue_namespace_prefix + QUEUE: b"list",
    Queue.redis_queues_keys: b"set",
    REDIS_WORKER_KEYS: b"set",
    WORKERS_BY_QUEUE_KEY % QUEUE: b"set",
}
#: the most listeners that are believed
LISTENERS = 256

#: Redis answers within this time, or counts as away
TIMEOUT_SECONDS = 0.3
#: how long Redis is not tried again after a failure
QUIET_SECONDS = 5.0
#: how long one look at the queue takes at most: a stop is noticed that late
LISTEN_SECONDS = 0.1
#: how long Redis keeps a doorbell job that no worker takes
TTL_SECONDS = 86_400


class DoorbellJob(Job):
    """The job that RQ's worker runs for the doorbell: made here, and never read from Redis."""

    def get_status(self, refresh: bool = True) -> JobStatus:
        """Return STARTED: it runs as long as its work-horse, whatever Redis says."""
        return JobStatus.STARTED


class DoorbellQueue(Queue):
    """The queue, and the set of its listeners."""

    job_class = DoorbellJob

    @classmethod
    def dequeue_any(
        cls, queues: Iterable[Queue], timeout: float | None, connection: Redis, *_: Any, **__: Any
    ) -> tuple[Job, Queue] | None:
        """Wait `timeout` seconds for a doorbell job; without a time-out return at once. A forged entry wakes the worker
        too, and the whole queue is deleted: nobody fills the queue faster than workers empty it.

        Raises rq.exceptions.DequeueTimeout, and RedisAway if Redis cannot be used.
        """
        queue = doorbell_queue(connection)
        try:
            popped = cls.lpop([queue.key], cast("int", timeout), connection=connection)  # RQ says whole seconds
            if popped is None:
                return None
            if not queue._is_doorbell(popped[1]):
                log.warning("doorbell-forged %.80r in Redis is not the doorbell's: dropped, with the queue", popped[1])
                connection.delete(queue.key)
        except ResponseError as error:
            drop_misshapen_keys(connection, SHARED_KEYS)
            raise RedisAway(str(error)) from error
        return queue.create_job(ANSWER, timeout=-1), queue

    def count_missing(self) -> int:
        """Return how many doorbell jobs are missing to twice as many as there are workers."""
        with self._redis.pipeline(transaction=False) as pipeline:
            listeners, waiting = pipeline.scard(WORKERS_BY_QUEUE_KEY % self.name).llen(self.key).execute()
        return 2 * max(1, min(int(listeners), LISTENERS)) - int(waiting)

    def forget_dead_listeners(self) -> None:
        """Forget workers whose own key has expired."""
        listeners = self._redis.srandmember(WORKERS_BY_QUEUE_KEY % self.name, LISTENERS)
        if dead := [key for key in listeners if not self._redis.exists(key)]:
            self._redis.srem(WORKERS_BY_QUEUE_KEY % self.name, *dead)
            self._redis.srem(REDIS_WORKER_KEYS, *dead)

    def _is_doorbell(self, job_id: bytes) -> bool:
        """Whether the job of that id is the doorbell's. Removes it in any case."""
        key = Job.redis_job_namespace_prefix.encode() + job_id
        try:
            if self._redis.hstrlen(key, "data") > PAYLOAD_BYTES:
                return False
            return _inflated(self._redis.hget(key, "data") or b"") == PAYLOAD
        except ResponseError:
            return False
        finally:
            self._redis.delete(key)

    @property
    def _redis(self) -> Any:
        """The connection; its types allow for asyncio, which this is not."""
        return self.connection


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, PAYLOAD_BYTES)
    except zlib.error:
        return b""


def drop_misshapen_keys(connection: Redis, shapes: Mapping[str, bytes]) -> None:
    """Remove keys of a wrong type; their users write them again. Never raises."""
    with suppress(RedisError):
        for key, shape in shapes.items():
            if (found := connection.type(key)) not in (shape, b"none"):
                log.warning("redis-forged %s was a %r instead of a %r: dropped", key, found, shape)
                connection.delete(key)


def redis_connection(url: str, password: str | None) -> Redis:
    """Return a connection that fails at once instead of waiting for an unavailable Redis."""
    return Redis.from_url(
        url,
        password=password,
        socket_connect_timeout=TIMEOUT_SECONDS,
        socket_timeout=TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


def doorbell_queue(connection: Redis) -> DoorbellQueue:
    return DoorbellQueue(QUEUE, connection=connection, job_class=DoorbellJob, serializer=JSONSerializer)


class Doorbell:
    """Wakes the workers, and lets one of them listen."""

    def __init__(self, connection: Redis) -> None:
        self._queue = doorbell_queue(connection)
        self._quiet_until = 0.0
        self._is_away = False
        self._look_again_at = 0.0

    def answers(self) -> bool:
        """Whether Redis answers."""
        try:
            self._is_away = not self._queue.connection.ping()
        except RedisError:
            self._is_away = True
        self._look_again_at = time.monotonic() + QUIET_SECONDS
        return not self._is_away

    def is_away(self) -> bool:
        """Whether Redis does not answer, as far as was found out in the last seconds: many may ask."""
        if time.monotonic() >= self._look_again_at:
            self.answers()
        return self._is_away

    def wait(self) -> bool:
        """Return whether a doorbell job comes within LISTEN_SECONDS. Raises RedisError where Redis is of no use."""
        try:
            return DoorbellQueue.dequeue_any([self._queue], LISTEN_SECONDS, self._queue.connection) is not None
        except DequeueTimeout:
            return False

    def notify_workers(self) -> None:
        """Wake a worker. Call it after the commit. Never raises: if Redis is unavailable, the sweeper wakes workers
        later."""
        self._notify(1)

    def notify_all_workers(self) -> None:
        """Wake every worker, if there may be work for all of them. Never raises."""
        self._notify(None)

    def _notify(self, times: int | None) -> None:
        """Add doorbell jobs, up to twice as many as there are workers."""
        if time.monotonic() < self._quiet_until:
            return
        try:
            reach("notifying")
            missing = self._queue.count_missing()
            for _ in range(missing if times is None else min(times, missing)):
                self._queue.enqueue(ANSWER, ttl=TTL_SECONDS)
        except RedisError as error:
            if isinstance(error, ResponseError):
                drop_misshapen_keys(self._queue.connection, SHARED_KEYS)
            self._quiet_until = time.monotonic() + QUIET_SECONDS
            log.warning("doorbell-failed Redis does not answer (%s); the jobs are safe and run when it is back", error)
