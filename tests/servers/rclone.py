"""`rclone serve sftp`: an SFTP server in Go that shows what a cloud's storage could do, not what a disk can."""

import getpass
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.servers.openssh import SshServer, make_keys
from tests.servers.processes import LOOPBACK, free_port, program, running, started


@contextmanager
def rclone_server(directory: Path) -> Iterator[SshServer]:
    """A server that lets in who has the key in the directory, and shows the whole disk, as it is at the moment."""
    host_key, port, log = make_keys(directory), free_port(), directory / "rclone.log"
    command = [program("rclone"), "serve", "sftp", "/", "--addr", f"{LOOPBACK}:{port}", "--config", ""]
    command += ["--key", str(directory / "host_key"), "--authorized-keys", str(directory / "authorized_keys")]
    command += ["--dir-cache-time", "0"]
    with running(command, log) as process:
        started(process, port, log)
        yield SshServer(port, getpass.getuser(), directory / "user_key", host_key, process.pid)
