"""A real PostgreSQL."""

import glob
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg

from tests.servers.processes import eventually, free_port, program, running, started

_DEBIAN = sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)


@contextmanager
def postgresql_server(directory: Path, port: int | None = None) -> Iterator[str]:
    """The URL of a database, empty at first; its superuser logs in without a password, over loopback only.

    What is in the directory is kept, so that the server can be started again.
    """
    initdb, postgres = program("initdb", *_DEBIAN), program("postgres", *_DEBIAN)
    as_user = _hand_over(directory)
    data, log, port = directory / "data", directory / "postgresql.log", port or free_port()
    if not data.exists():
        make = [initdb, "-D", str(data), "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync"]
        subprocess.run(make, check=True, capture_output=True, **as_user)
    command = [postgres, "-D", str(data), "-p", str(port), "-k", "", "-c", "listen_addresses=127.0.0.1", "-F"]
    url = f"postgresql://tester@127.0.0.1:{port}/postgres"
    with running(command, log, stop_signal=signal.SIGINT, **as_user) as process:
        started(process, port, log)
        eventually(lambda: _is_ready(url), "PostgreSQL takes queries")
        yield url


def _is_ready(url: str) -> bool:
    """It accepts connections before it takes queries."""
    try:
        psycopg.connect(url).close()
    except psycopg.OperationalError:
        return False
    return True


def _hand_over(directory: Path) -> dict[str, str]:
    """PostgreSQL refuses to run as root, so that root lets `nobody` run it, in a directory that `nobody` can reach."""
    directory.mkdir(parents=True, exist_ok=True)
    if os.geteuid() != 0:
        return {}
    subprocess.run(["chown", "nobody", directory], check=True)
    for parent in directory.parents:
        if parent.owner() == "root" and parent != Path("/"):
            parent.chmod(parent.stat().st_mode | 0o011)
    return {"user": "nobody"}
