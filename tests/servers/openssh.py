"""A real OpenSSH server for the user who runs the tests, with keys of its own."""

import getpass
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.servers.processes import LOOPBACK, free_port, program, running, started


@dataclass(frozen=True)
class SshServer:
    """The server's address and login."""

    port: int
    username: str
    key_file: Path
    host_key: str
    #: the server's own process
    pid: int
    address: str = LOOPBACK

    def options(self, root: Path, **changes: object) -> dict[str, object]:
        """Return its entry in a registry."""
        return {
            "protocol": "sftp",
            "address": self.address,
            "port": self.port,
            "username": self.username,
            "key_file": str(self.key_file),
            "host_key": self.host_key,
            "root": str(root),
            "roles": ["source", "destination"],
            **changes,
        }


@contextmanager
def openssh_server(
    directory: Path, *, port: int | None = None, address: str = LOOPBACK, host_key: str = "ed25519", extra: str = ""
) -> Iterator[SshServer]:
    """A server that lets in who has the key in the directory; its own key has the type `host_key`, and `extra` are
    lines of sshd_config."""
    sshd = program("sshd")
    own_key = make_keys(directory, host_key)
    port = port or free_port(address)
    config, log = directory / "sshd_config", directory / "sshd.log"
    config.write_text(_CONFIG.format(directory=directory, port=port, address=address, extra=extra))
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with running([sshd, "-D", "-e", "-f", str(config)], log) as process:
        started(process, port, log, address)
        yield SshServer(port, getpass.getuser(), directory / "user_key", own_key, process.pid, address)


def make_keys(directory: Path, host_key: str = "ed25519") -> str:
    """Makes what is missing of `host_key`, `user_key` and `authorized_keys` in the directory; returns the public half
    of the host's key as a registry has it."""
    directory.mkdir(parents=True, exist_ok=True)
    for name, kind in (("host_key", host_key), ("user_key", "ed25519")):
        if not (directory / name).exists():
            command = [program("ssh-keygen"), "-q", "-t", kind, "-m", "PEM", "-N", "", "-f", str(directory / name)]
            subprocess.run(command, check=True)
    (directory / "authorized_keys").write_text((directory / "user_key.pub").read_text())
    return " ".join((directory / "host_key.pub").read_text().split()[:2])


_CONFIG = """
Port {port}
ListenAddress {address}
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
