"""A real OpenSSH server for the user who runs the tests, with keys of its own."""

import getpass
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.processes import free_port, program, running, started


@dataclass(frozen=True)
class SshServer:
    """Where the server is and what opens it."""

    port: int
    username: str
    key_file: Path
    host_key: str
    #: the server's own process
    pid: int

    def options(self, root: Path, **changes: object) -> dict[str, object]:
        """What a registry says of it."""
        return {
            "protocol": "sftp",
            "address": "127.0.0.1",
            "port": self.port,
            "username": self.username,
            "key_file": str(self.key_file),
            "host_key": self.host_key,
            "root": str(root),
            "roles": ["source", "destination"],
            **changes,
        }


@contextmanager
def openssh_server(directory: Path, *, port: int | None = None, extra: str = "") -> Iterator[SshServer]:
    """A server that lets in who has the key in the directory; `extra` are lines of sshd_config."""
    sshd = program("sshd")
    _make_keys(directory)
    port = port or free_port()
    config, log = directory / "sshd_config", directory / "sshd.log"
    config.write_text(_CONFIG.format(directory=directory, port=port, extra=extra))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with running([sshd, "-D", "-e", "-f", str(config)], log) as process:
        started(process, port, log)
        host_key = " ".join((directory / "host_key.pub").read_text().split()[:2])
        yield SshServer(port, getpass.getuser(), directory / "user_key", host_key, process.pid)


def _make_keys(directory: Path) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    for name in ("host_key", "user_key"):
        if not (directory / name).exists():
            command = [program("ssh-keygen"), "-q", "-t", "ed25519", "-N", "", "-f", str(directory / name)]
            subprocess.run(command, check=True)
    (directory / "authorized_keys").write_text((directory / "user_key.pub").read_text())


_CONFIG = """
Port {port}
ListenAddress 127.0.0.1
HostKey {directory}/host_key
AuthorizedKeysFile {directory}/authorized_keys
PidFile {directory}/sshd.pid
StrictModes no
UsePAM no
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
MaxStartups 200
MaxSessions 200
LogLevel ERROR
SetEnv HOME={directory}
Subsystem sftp internal-sftp
{extra}
"""
