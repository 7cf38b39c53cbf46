"""A real PostgreSQL."""

import glob
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg

from tests.servers.processes import eventually, free_port, program, running, started

_DEBIAN = sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)


@contextmanager
def postgresql_server(
    directory: Path, port: int | None = None, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    """The URL of a database, empty at first; its superuser logs in without a password, over loopback only.

    What is in the directory is kept, so that the server can be started again.
    """
    port = port or free_port()
    log = directory / "postgresql.log"
    command, as_user = postgresql_command(directory, port)
    environment = {**os.environ, **(environment or {})}
    with running(command, log, stop_signal=signal.SIGINT, env=environment, **as_user) as process:
        started(process, port, log)
        url = postgresql_url(port)
        eventually(lambda: is_ready(url), "PostgreSQL takes queries")
        yield url


def postgresql_command(directory: Path, port: int) -> tuple[list[str], dict[str, Any]]:
    """Prepare the directory; return the command that starts a PostgreSQL in it, and the arguments for `Popen`."""
    initdb, postgres = program("initdb", *_DEBIAN), program("postgres", *_DEBIAN)
    as_user = _hand_over(directory)
    data = directory / "data"
    if not data.exists():
        make = [initdb, "-D", str(data), "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(make, check=True, capture_output=True, **as_user)
    return [postgres, "-D", str(data), "-p", str(port), "-k", "", "-c", "listen_addresses=127.0.0.1", "-F"], as_user


def postgresql_url(port: int) -> str:
    return f"postgresql://tester@127.0.0.1:{port}/postgres"


def is_ready(url: str) -> bool:
    """Wait until PostgreSQL answers queries: it accepts connections earlier."""
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def _hand_over(directory: Path) -> dict[str, Any]:
    """PostgreSQL refuses to run as root, so that root lets `nobody` run it, in a directory that `nobody` can reach."""
    directory.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        return {}
    subprocess.run(["chown", "nobody", directory], check=True)
    for parent in directory.parents:
        if parent.owner() == "root" and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    return {"user": "nobody"}
