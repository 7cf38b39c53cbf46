"""A whole Data Mover: web, workers and sweeper as processes, as an operator starts them."""

import functools
import os
import subprocess
import sys
import tempfile
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

OWN_DATABASE = "sqlite:///%(here)s/jobs.db"

#: the beat, the sweeps and the end of a service that tests do not have to wait for
QUICK_PACE = """
data_mover.beat_seconds = 0.1
data_mover.sweep_seconds = 0.5
data_mover.stop_seconds = 0
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
    processes: list[subprocess.Popen[bytes]] = field(default_factory=list)
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
        process = self.stack.enter_context(running(program, self.directory / f"{name}.log", env=environment))
        self.processes.append(process)
        return process

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
    """A service whose schema exists and of which nothing runs yet; what `extra` sets goes before the pace."""
    directory.mkdir(parents=True, exist_ok=True)
    port = free_port()
    pace = "\n".join(line for line in pace.splitlines() if line.partition(" ")[0] not in extra)
    database_url = database_url or OWN_DATABASE
    (directory / "service.ini").write_text(
        INI.format(database_url=database_url, redis_url=redis_url, port=port, extra=extra, pace=pace)
    )
    (directory / "registry.toml").write_text(registry)
    with ExitStack() as stack:
        service = Deployment(directory, port, stack)
        database = directory / "jobs.db"
        if database_url == OWN_DATABASE and not database.exists():
            database.touch(0o600)
            database.write_bytes(_new_database())
            (directory / "state").mkdir(0o700, exist_ok=True)
        else:
            initialise(service)
        try:
            yield service
        finally:
            end(*service.processes)


def initialise(service: Deployment) -> None:
    initialised = service.start("initialize", "initialize_data_mover_db", str(service.ini))
    assert initialised.wait(timeout=60) == 0, service.log("initialize")


@functools.cache
def _new_database() -> bytes:
    """What `initialize_data_mover_db` makes where there is nothing, of SQLite."""
    ini = INI.format(database_url=OWN_DATABASE, redis_url="redis://127.0.0.1:1/0", port=1, extra="", pace="")
    with tempfile.TemporaryDirectory() as directory, ExitStack() as stack:
        service = Deployment(Path(directory), 1, stack)
        service.ini.write_text(ini)
        initialise(service)
        return (service.directory / "jobs.db").read_bytes()


def host_table(name: str, options: Mapping[str, Any]) -> str:
    """A `[hosts.name]` table of a registry."""
    return f"[hosts.{name}]\n" + "".join(f"{key} = {_toml(value)}\n" for key, value in options.items()) + "\n"


def nobody_there() -> dict[str, Any]:
    """The options of an SFTP host of which no server listens."""
    return {
        "protocol": "sftp",
        "address": "127.0.0.1",
        "port": free_port(),
        "username": "nobody",
        "password": "env:NOTHING",
        "host_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJl3dIeudNqd0DPMRD6OIh65tjkxFNOtwGcWB2gCgPhk",
        "root": "/",
        "roles": ["destination"],
    }


def _toml(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, str | Path):
        return '"' + str(value).replace("\\", "\\\\").replace('"', '\\"') + '"'
    return str(value).lower() if isinstance(value, bool) else str(value)
