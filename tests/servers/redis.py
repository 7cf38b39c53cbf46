"""A real Redis."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.processes import free_port, program, running, started


@contextmanager
def redis_server(directory: Path, port: int | None = None) -> Iterator[str]:
    """The URL of a Redis that keeps its data in the directory, so that it can be started again."""
    directory.mkdir(parents=True, exist_ok=True)
    port = port or free_port()
    log = directory / "redis.log"
    with running(redis_command(directory, port), log) as process:
        started(process, port, log)
        yield f"redis://127.0.0.1:{port}/0"


def redis_command(directory: Path, port: int) -> list[str]:
    """Return the command of a Redis that writes each change to disk before it answers."""
    place = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(directory)]
    return [program("redis-server"), *place, "--appendonly", "yes", "--appendfsync", "always", "--save", ""]
