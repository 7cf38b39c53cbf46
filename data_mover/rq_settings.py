"""Settings for `rq worker -c data_mover.rq_settings`, read from the ini that $DATA_MOVER_INI names.

RQ chooses its classes before it reads this module, so the `worker` command is started once more, with Data Mover's own
worker class in the environment.
"""

import os
import sys
from urllib.parse import quote, urlsplit, urlunsplit

from data_mover.config.logs import set_up_logging
from data_mover.config.settings import Settings
from data_mover.domain.problems import ending_the_process
from data_mover.doorbell import QUEUE, WORKER_CLASS


def _read_settings() -> Settings:
    ini = os.environ.get("DATA_MOVER_INI")
    if not ini:
        sys.exit("DATA_MOVER_INI is not set; run: DATA_MOVER_INI=production.ini rq worker -c data_mover.rq_settings")
    settings = Settings.from_ini(ini)
    set_up_logging(ini)
    return settings


def _url_with_password(settings: Settings) -> str:
    """RQ takes nothing but a URL; it stays in this process's memory."""
    password = settings.redis_secret()
    if password is None:
        return settings.redis_url
    parts = urlsplit(settings.redis_url)
    return urlunsplit(parts._replace(netloc=f":{quote(password, safe='')}@{parts.netloc}"))


def _choose_worker_class() -> None:
    if "worker" in sys.argv[1:2] and os.environ.get("RQ_WORKER_CLASS") != WORKER_CLASS:
        os.environ["RQ_WORKER_CLASS"] = WORKER_CLASS
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # noqa: S606


_choose_worker_class()
with ending_the_process():
    REDIS_URL = _url_with_password(_read_settings())
QUEUES = [QUEUE]
