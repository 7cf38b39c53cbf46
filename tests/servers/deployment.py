"""A whole Data Mover: web, workers and sweeper as processes, as an operator starts them."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from xmlrpc.client import ServerProxy

from tests.servers.processes import end, eventually, free_port, running, started


class XmlRpc(ServerProxy):
    """An XML-RPC client without types."""

    def __getattr__(self, name: str) -> Any:
        return super().__getattr__(name)


TERMINAL = ("COMPLETED", "FAILED", "CANCELLED")

#: the beat and the sweeps of a service that tests do not have to wait for
QUICK_PACE = """
data_mover.beat_seconds = 0.1
data_mover.sweep_seconds = 0.5
"""

INI = """
[app:main]
use = egg:data_mover
sqlalchemy.url = {database_url}
redis.url = {redis_url}
data_mover.registry = %(here)s/registry.toml
data_mover.callers = none
data_mover.default_destination = visualizer:/
data_mover.state_dir = %(here)s/state
{pace}
{extra}

[server:main]
use = egg:data_mover#server
listen = 127.0.0.1:{port}

[loggers]
keys = root
[handlers]
keys = console
[formatters]
keys = line
[logger_root]
level = INFO
handlers = console
[handler_console]
class = StreamHandler
args = (sys.stderr,)
formatter = line
[formatter_line]
format = %(asctime)s %(levelname)s %(process)d %(name)s %(message)s
"""


@dataclass
class Deployment:
    """A running service, and what operators do to it."""

    directory: Path
    port: int
    stack: ExitStack = field(repr=False)
    workers: list[subprocess.Popen[bytes]] = field(default_factory=list)
    #: its web process, once it was started
    web: Any = None
    #: further environment variables of its processes
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def ini(self) -> Path:
        return self.directory / "service.ini"

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/data_mover"

    @property
    def proxy(self) -> XmlRpc:
        """A client of its own for each use: one must not be shared by threads."""
        return XmlRpc(self.url)

    def start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Starts a program of the package beside the Python that runs the tests."""
        environment = {**os.environ, "DATA_MOVER_INI": str(self.ini), "PYTHONUNBUFFERED": "1", **self.environment}
        program = [str(Path(sys.executable).parent / command[0]), *command[1:]]
        return self.stack.enter_context(running(program, self.directory / f"{name}.log", env=environment))

    def start_web(self) -> subprocess.Popen[bytes]:
        process = self.start("web", "pserve", str(self.ini))
        started(process, self.port, self.directory / "web.log")
        return process

    def start_worker(self) -> subprocess.Popen[bytes]:
        process = self.start("worker", "rq", "worker", "-c", "data_mover.rq_settings")
        self.workers.append(process)
        return process

    def start_sweeper(self) -> subprocess.Popen[bytes]:
        return self.start("sweeper", "data_mover", "-c", str(self.ini), "sweep")

    def stop(self, process: subprocess.Popen[bytes]) -> None:
        end(process)

    def ended(self, job_id: Any, timeout_seconds: float = 60) -> dict[str, Any]:
        """The job, once it has ended; fails with what `check` says if it does not."""
        proxy, reported = self.proxy, {}

        def look() -> bool:
            reported.update(proxy.check(job_id))
            return reported["status"] in TERMINAL

        with proxy:
            eventually(look, f"job {job_id} has ended, {reported}", timeout_seconds)
            return proxy.check(job_id)

    def log(self, name: str) -> str:
        return (self.directory / f"{name}.log").read_text(errors="replace")


@contextmanager
def deployment(
    directory: Path, redis_url: str, registry: str, *, database_url: str = "", extra: str = "", pace: str = QUICK_PACE
) -> Iterator[Deployment]:
    """A service whose schema exists and of which nothing runs yet."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    database_url = database_url or "sqlite:///%(here)s/jobs.db"
    (directory / "service.ini").write_text(
        INI.format(database_url=database_url, redis_url=redis_url, port=port, extra=extra, pace=pace)
    )
    (directory / "registry.toml").write_text(registry)
    with ExitStack() as stack:
        service = Deployment(directory, port, stack)
        initialised = service.start("initialize", "initialize_data_mover_db", str(service.ini))
        assert initialised.wait(timeout=60) == 0, service.log("initialize")
        yield service


def host_table(name: str, options: Mapping[str, Any]) -> str:
    """A `[hosts.name]` table of a registry."""
    return f"[hosts.{name}]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in options.items()) + "\n"


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, str | Path):
        return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value).lower() if isinstance(value, bool) else str(value)
