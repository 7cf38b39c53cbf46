"""A real PostgreSQL."""

import glob
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.processes import free_port, program, running, started

_DEBIAN = sorted(glob.glob("/usr/lib/postgresql/*/bin"), reverse=True)


@contextmanager
def postgresql_server(directory: Path) -> Iterator[str]:
    """The URL of an empty database; its superuser logs in without a password, over loopback only."""
    initdb, postgres = program("initdb", *_DEBIAN), program("postgres", *_DEBIAN)
    as_user = _hand_over(directory)
    data, log, port = directory / "data", directory / "postgresql.log", free_port()
    subprocess.run(
        [initdb, "-D", data, "-U", "tester", "-A", "trust", "-E", "UTF8", "--no-sync"],
        check=True,
        capture_output=True,
        **as_user,
    )
    command = [postgres, "-D", str(data), "-p", str(port), "-k", "", "-c", "listen_addresses=127.0.0.1", "-F"]
    with running(command, log, **as_user) as process:
        started(process, port, log)
        yield f"postgresql://tester@127.0.0.1:{port}/postgres"


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
