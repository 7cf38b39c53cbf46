"""Settings for `rq worker -c data_mover.rq_settings`, read from the ini that $DATA_MOVER_INI names.

RQ chooses its classes before it reads this module, so the `worker` command is started once more, with Data Mover's own
worker class in the environment.
"""

import os
import sys
from contextlib import suppress
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

from redis.exceptions import RedisError
from rq.suspension import WORKERS_SUSPENDED

from data_mover.domain.problems import ending_the_process
from data_mover.doorbell import QUEUE, WORKER_CLASS, redis_connection

if TYPE_CHECKING:
    from data_mover.config.settings import Settings


def _read_settings() -> "Settings":
    from data_mover.config.logs import set_up_logging  # the command that is started once more needs none of it
    from data_mover.config.settings import Settings

    ini = os.environ.get("DATA_MOVER_INI")
    if not ini:
        sys.exit("DATA_MOVER_INI is not set; run: DATA_MOVER_INI=production.ini rq worker -c data_mover.rq_settings")
    settings = Settings.from_ini(ini)
    set_up_logging(ini)
    return settings


def _url_with_password(settings: "Settings") -> str:
    """Return the URL with the password, since RQ takes nothing else; it stays in this process's memory."""
    password = settings.redis_secret()
    if password is None:
        return settings.redis_url
    parts = urlsplit(settings.redis_url)
    return urlunsplit(parts._replace(netloc=f":{quote(password, safe='')}@{parts.netloc}"))


def _choose_worker_class() -> None:
    if sys.argv[1:2] != ["worker"]:
        sys.exit("data_mover.rq_settings is for `rq worker` alone: other commands of RQ run any job in Redis")
    if os.environ.get("RQ_WORKER_CLASS") != WORKER_CLASS:
        os.environ["RQ_WORKER_CLASS"] = WORKER_CLASS
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606


def _lift_suspension(settings: "Settings") -> None:
    """Remove RQ's suspension before RQ reads it: no entry in Redis may prevent a worker from starting."""
    with suppress(RedisError), redis_connection(settings.redis_url, settings.redis_secret()) as connection:
        connection.delete(WORKERS_SUSPENDED)


_choose_worker_class()
with ending_the_process():
    _settings = _read_settings()
    REDIS_URL = _url_with_password(_settings)
_lift_suspension(_settings)
QUEUES = [QUEUE]
