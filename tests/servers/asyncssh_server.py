"""Another SFTP server than OpenSSH's, in a process of its own; it fails at one point when it is asked to.

Run as `python -m tests.servers.asyncssh_server PORT DIRECTORY [OPERATION NUMBER]`.
"""

import asyncio
import getpass
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import asyncssh

from tests.servers.openssh import SshServer
from tests.servers.processes import free_port, running, started

PASSWORD = "correct horse"


class PasswordServer(asyncssh.SSHServer):
    """Lets in whoever knows the password."""

    def password_auth_supported(self) -> bool:
        return True

    def validate_password(self, username: str, password: str) -> bool:
        return password == PASSWORD


class FaultySftpServer(asyncssh.SFTPServer):
    """Answers the Nth request of one kind with a plain failure, and does not do what it asks for."""

    def __init__(self, channel: asyncssh.SSHServerChannel, operation: str, number: int) -> None:
        super().__init__(channel)
        self._left = number
        setattr(self, operation, self._failing(getattr(self, operation)))

    def _failing(self, really):
        def operate(*arguments):
            self._left -= 1
            if self._left == 0:
                raise asyncssh.SFTPFailure("as ordered")
            return really(*arguments)

        return operate


class FoldingSftpServer(asyncssh.SFTPServer):
    """Folds case below a directory `folds`, as some file systems do."""

    def map_path(self, path: bytes) -> bytes:
        above, folds, below = super().map_path(path).partition(b"/folds/")
        return above + folds + below.lower()


class SwappingSftpServer(asyncssh.SFTPServer):
    """If `NAME.link` exists, rename it to `NAME` just before something is opened there or below."""

    def open(self, path: bytes, pflags: int, attrs: asyncssh.SFTPAttrs) -> object:
        real = self.map_path(path)
        for each in (real, os.path.dirname(real)):
            if os.path.lexists(each + b".link"):
                os.rename(each, each + b".aside")
                os.rename(each + b".link", each)
        return super().open(path, pflags, attrs)


class SlowSyncSftpServer(asyncssh.SFTPServer):
    """Takes half a second to sync a file, and continues to write meanwhile."""

    async def fsync(self, file_obj: object) -> None:
        await asyncio.sleep(0.5)


#: kinds of servers that do not fail
_HABITS = {"folds": FoldingSftpServer, "swaps": SwappingSftpServer, "syncs slowly": SlowSyncSftpServer}


@contextmanager
def asyncssh_server(directory: Path, *fault: object) -> Iterator[SshServer]:
    """A server that lets in who has the key in the directory or PASSWORD, and shows what this user may see.

    `fault` is the name of an operation of `asyncssh.SFTPServer` and which call of it is to fail, or a habit.
    """
    directory.mkdir(parents=True, exist_ok=True)
    host_key, _ = [_make_key(directory / name) for name in ("host_key", "user_key")]
    port, log = free_port(), directory / "server.log"
    command = [sys.executable, "-m", __spec__.name, str(port), str(directory), *map(str, fault)]
    with running(command, log) as process:
        started(process, port, log)
        yield SshServer(port, getpass.getuser(), directory / "user_key", host_key, process.pid)


def _make_key(path: Path) -> str:
    """Writes a key pair; returns the public half as a registry has it."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    key.write_private_key(str(path))
    path.chmod(0o600)
    key.write_public_key(f"{path}.pub")
    return key.export_public_key().decode().strip()


async def _serve(port: int, directory: Path, *fault: str) -> None:
    server = await asyncssh.listen(
        "127.0.0.1",
        port,
        server_factory=PasswordServer,
        server_host_keys=[str(directory / "host_key")],
        authorized_client_keys=str(directory / "user_key.pub"),
        sftp_factory=lambda channel: _sftp(channel, *fault),
    )
    await server.wait_closed()


def _sftp(channel: asyncssh.SSHServerChannel, operation: str = "", number: str = "0") -> asyncssh.SFTPServer:
    if operation in _HABITS:
        return _HABITS[operation](channel)
    return FaultySftpServer(channel, operation, int(number)) if operation else asyncssh.SFTPServer(channel)


if __name__ == "__main__":
    asyncio.run(_serve(int(sys.argv[1]), Path(sys.argv[2]), *sys.argv[3:]))
