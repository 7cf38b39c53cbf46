"""A rough world: the service has its own Redis, database and hosts, which may be struck, behind proxies."""

import signal
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from http.client import HTTPException
from pathlib import Path
from xml.parsers.expat import ExpatError
from xmlrpc.client import Error

from redis import Redis

from tests.crash.supervisor import Supervisor
from tests.crash.world import World, crash_world
from tests.servers.openssh import SshServer
from tests.servers.postgresql import is_ready, postgresql_command, postgresql_url
from tests.servers.processes import eventually, free_port, running
from tests.servers.proxy import Fault, Proxy, proxy
from tests.servers.redis import redis_command

#: what a caller meets whose way or whose service fails; an answer that is cut off may be no XML
UNANSWERED = (OSError, HTTPException, Error, ExpatError)

#: without TLS nothing but TCP's own checksum would notice these
UNNOTICED = {("database", Fault.FLIP), ("web", Fault.FLIP)}

#: PostgreSQL writes everything to its disk before it ends, and the machine may be busy
STOPPED_SECONDS = 90


@dataclass
class RoughWorld:
    """A world, the servers below it, and the ways to `host`, `redis`, `web` and, where it is a server, `database`."""

    world: World
    servers: Supervisor
    ways: dict[str, Proxy]
    redis_port: int

    def stop_server(self, name: str, number: int = signal.SIGKILL) -> None:
        """Ends `redis` or `database` and lets it stay away."""
        self.servers.pause(name)
        process = self.servers.process(name)
        process.send_signal(number)
        process.wait(timeout=STOPPED_SECONDS)

    def start_server(self, name: str) -> None:
        self.servers.resume(name)

    def obstruct(self, way: str, fault: Fault, seconds: float) -> None:
        """The way is bad for so long. Of cuts and resets there are ten a second, one bit at most is flipped."""
        until = time.monotonic() + seconds
        self.ways[way].strike(fault)
        while time.monotonic() < until:
            time.sleep(0.1)
            if fault in (Fault.CUT, Fault.RESET):
                self.ways[way].strike(fault)
        self.ways[way].heal()

    def empty_redis(self) -> None:
        connection = Redis(port=self.redis_port)
        connection.flushall()
        connection.close()


@contextmanager
def rough_world(
    directory: Path, ssh: SshServer, database: str, workers: int = 2, **settings: str
) -> Iterator[RoughWorld]:
    """`database` is `sqlite` or `postgresql`; callers ask through a proxy too."""
    redis_port, database_port = free_port(), free_port()
    with ExitStack() as processes, ExitStack() as stack:

        def start(name, command, **options):
            return processes.enter_context(running(command, directory / f"{name}.log", **options))

        (directory / "redis").mkdir(parents=True)
        starts = {"redis": lambda: start("redis", redis_command(directory / "redis", redis_port))}
        ports = {"host": ssh.port, "redis": redis_port}
        if database == "postgresql":
            command, as_user = postgresql_command(directory / "postgresql", database_port)
            starts["database"] = lambda: start("postgresql", command, stop_signal=signal.SIGQUIT, **as_user)
            ports["database"] = database_port
        ways = {name: stack.enter_context(proxy(port)) for name, port in ports.items()}
        servers = stack.enter_context(Supervisor(starts))
        urls = {}
        if database == "postgresql":
            eventually(lambda: is_ready(postgresql_url(database_port)), "PostgreSQL takes queries")
            urls = {
                "database_url": postgresql_url(ways["database"].port),
                "direct_database_url": postgresql_url(database_port),
            }
        world = stack.enter_context(
            crash_world(
                directory,
                f"redis://127.0.0.1:{ways['redis'].port}/0",
                replace(ssh, port=ways["host"].port),
                workers=workers,
                **urls,
                **settings,
            )
        )
        ways["web"] = stack.enter_context(proxy(world.service.port))
        world.port = ways["web"].port
        yield RoughWorld(world, servers, ways, redis_port)
