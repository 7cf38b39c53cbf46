"""The doorbell: one RQ queue that wakes workers. It names no job; a woken worker claims what the database has."""

import logging
import time
from typing import Any

from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry
from rq import Queue
from rq.job import Job
from rq.serializers import JSONSerializer
from rq.worker import BaseWorker

from data_mover.domain.fault_points import reach

log = logging.getLogger(__name__)

QUEUE = "moves"
#: the function that RQ calls for the doorbell; a worker calls nothing else for Redis
ANSWER = "data_mover.worker.answer_doorbell"
#: who listens
WORKER_CLASS = "data_mover.worker.Worker"

#: Redis answers within this time, or counts as away
TIMEOUT_SECONDS = 0.3
#: after a failure nobody is kept waiting for Redis again for so long
QUIET_SECONDS = 5.0
#: how long RQ keeps a doorbell job whose worker died, in seconds
FAILURE_TTL_SECONDS = 60


class DoorbellJob(Job):
    """The only job that workers run, whatever Redis holds: who can write to Redis cannot run code."""

    success_callback = None
    failure_callback = None
    stopped_callback = None

    def _execute(self) -> Any:
        if self.func_name != ANSWER or self.instance or self.args or self.kwargs:
            raise ValueError("a job in Redis is not the doorbell's and was refused")
        return super()._execute()

    def send_webhooks(self, *args: Any, **kwargs: Any) -> None:
        """Sends nothing."""


def redis_connection(url: str, password: str | None) -> Redis:
    """A connection that fails at once instead of waiting for a Redis that is away."""
    return Redis.from_url(
        url,
        password=password,
        socket_connect_timeout=TIMEOUT_SECONDS,
        socket_timeout=TIMEOUT_SECONDS,
        retry=Retry(NoBackoff(), 0),
    )


def doorbell_queue(connection: Redis) -> Queue:
    return Queue(QUEUE, connection=connection, job_class=DoorbellJob, serializer=JSONSerializer)


class Doorbell:
    """Wakes the workers."""

    def __init__(self, connection: Redis) -> None:
        self._queue = doorbell_queue(connection)
        self._quiet_until = 0.0

    def answers(self) -> bool:
        """Whether Redis answers."""
        try:
            return bool(self._queue.connection.ping())
        except RedisError:
            return False

    def notify_workers(self) -> None:
        """Wakes a worker. To be called after the commit. Never raises: where Redis is away, the sweeper wakes
        workers later."""
        self._notify(1)

    def notify_all_workers(self) -> None:
        """Wakes every worker, where there may be work for all of them. Never raises."""
        self._notify(None)

    def _notify(self, times: int | None) -> None:
        """Adds no more jobs than workers can hear: twice as many as there are workers."""
        if time.monotonic() < self._quiet_until:
            return
        try:
            reach("notifying")
            wanted = 2 * max(1, BaseWorker.count(queue=self._queue)) - self._queue.count
            for _ in range(wanted if times is None else min(times, wanted)):
                self._queue.enqueue(ANSWER, job_timeout=-1, result_ttl=0, failure_ttl=FAILURE_TTL_SECONDS)
        except RedisError as error:
            self._quiet_until = time.monotonic() + QUIET_SECONDS
            log.warning("doorbell-failed Redis does not answer (%s); the jobs are safe and run when it is back", error)
