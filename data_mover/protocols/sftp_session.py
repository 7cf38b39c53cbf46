"""The operations of SFTP on one host, one request each, and what its refusals mean."""

import struct
from collections.abc import Iterator
from contextlib import contextmanager

from data_mover.errors import ConnectionLost, MoveFailure, NoSuchFile, PermissionRefused
from data_mover.protocols.base import BLOCK_BYTES
from data_mover.protocols.sftp_messages import Answer, Attributes, Reply, Request, Status, string, strings, text
from data_mover.protocols.sftp_requests import SftpRequests
from data_mover.protocols.ssh import SshConnection

#: how many requests are in flight on the channel: the host's window of 2 MiB is never short of work
IN_FLIGHT = 64

#: what every server takes in one request; OpenSSH says more by `limits@openssh.com`
_SAFE_BYTES = 32 * 1024
_LIMITS, _STATVFS = b"limits@openssh.com", b"statvfs@openssh.com"
_FSYNC, _POSIX_RENAME = b"fsync@openssh.com", b"posix-rename@openssh.com"


_FAILURES: dict[int, type[MoveFailure]] = {
    Status.NO_SUCH_FILE: NoSuchFile,
    Status.PERMISSION_DENIED: PermissionRefused,
}


class Refused(Exception):
    """The host answered a request with a status that is not OK."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"SFTP status {status}")


class SftpSession:
    """Paths are those of the host, not ours. Raises Refused, and what `SftpRequests` raises; `told` translates both."""

    def __init__(self, connection: SshConnection) -> None:
        self.host = connection.host
        self._connection = connection
        with connection.told():
            self.requests = SftpRequests(connection.open_subsystem("sftp"), IN_FLIGHT)
            self.read_bytes, self.write_bytes = self._limits()

    @property
    def replaces(self) -> bool:
        """Whether the host says that it can rename onto an existing file."""
        return _POSIX_RENAME in self.requests.extensions

    @property
    def syncs(self) -> bool:
        return _FSYNC in self.requests.extensions

    def real_path(self, path: str) -> str:
        """The path with its links followed. OpenSSH lets the last name be missing."""
        content = self._answer(Request.REALPATH, text(path), Answer.NAME)
        (length,) = struct.unpack_from(">I", content, 4)
        return bytes(content[8 : 8 + length]).decode(errors="surrogateescape").rstrip("/") or "/"

    def attributes(self, path: str) -> Attributes:
        return Attributes.read(self._answer(Request.STAT, text(path), Answer.ATTRS))

    def link_attributes(self, path: str) -> Attributes:
        """The attributes of a link itself."""
        return Attributes.read(self._answer(Request.LSTAT, text(path), Answer.ATTRS))

    def open(self, path: str, flags: int, attributes: Attributes | None = None) -> bytes:
        """The handle."""
        head = text(path) + struct.pack(">I", flags) + (attributes or Attributes()).packed()
        return string(strings(self._answer(Request.OPEN, head, Answer.HANDLE))[0])

    def close(self, handle: bytes) -> None:
        self._done(Request.CLOSE, handle)

    def make_directory(self, path: str, mode: int) -> None:
        """With exactly this mode, whatever the host's umask is."""
        self._done(Request.MKDIR, text(path) + Attributes(mode=mode).packed())
        self.set_attributes(path, Attributes(mode=mode))

    def set_attributes(self, path: str, attributes: Attributes) -> None:
        self._done(Request.SETSTAT, text(path) + attributes.packed())

    def remove(self, path: str) -> None:
        self._done(Request.REMOVE, text(path))

    def rename(self, path: str, free_path: str) -> None:
        """To a path where nothing stands; version 3 of the protocol refuses anything else."""
        self._done(Request.RENAME, text(path) + text(free_path))

    def replace(self, path: str, final_path: str) -> None:
        """Atomically in the place of what is there."""
        self._done(Request.EXTENDED, string(_POSIX_RENAME) + text(path) + text(final_path))

    def sync_request(self, handle: bytes) -> bytes:
        """What an EXTENDED request carries to bring the file of a handle to disk."""
        return string(_FSYNC) + handle

    def free_bytes(self, directory: str) -> int | None:
        reply = self._extended(_STATVFS, text(directory))
        if reply is None:
            return None
        _, fragment_bytes, _, _, available = struct.unpack_from(">5Q", reply.content)
        return int(fragment_bytes * available)

    def is_full(self, directory: str, needed_bytes: int = 1) -> bool:
        """Whether the host tells that so much does not fit: it says no better to a full disk than to anything else."""
        free = self.free_bytes(directory)
        return free is not None and free < needed_bytes

    @contextmanager
    def told(self, path: str, otherwise: type[MoveFailure] = PermissionRefused) -> Iterator[None]:
        """What goes wrong becomes a failure that names the host and our `path`; a plain refusal becomes `otherwise`."""
        name = f"{self.host}:{path}"
        with self._connection.told(path):
            try:
                yield
            except Refused as refused:
                raise _FAILURES.get(refused.status, otherwise)(name) from refused
            except struct.error as error:
                raise ConnectionLost(f"{self.host} does not speak SFTP") from error

    def _limits(self) -> tuple[int, int]:
        """How many bytes the host takes in one READ and one WRITE."""
        reply = self._extended(_LIMITS, b"")
        if reply is None:
            return _SAFE_BYTES, _SAFE_BYTES
        _, read, write = struct.unpack_from(">3Q", reply.content)
        return min(read or _SAFE_BYTES, BLOCK_BYTES), min(write or _SAFE_BYTES, BLOCK_BYTES)

    def _extended(self, name: bytes, arguments: bytes) -> Reply | None:
        """The answer to an extended request, or None where the host has none."""
        if name not in self.requests.extensions:
            return None
        reply = self.requests.call(Request.EXTENDED, string(name) + arguments)
        return reply if reply.kind == Answer.EXTENDED_REPLY else None

    def _done(self, kind: Request, head: bytes) -> None:
        status = self.requests.call(kind, head).status
        if status != Status.OK:
            raise Refused(status)

    def _answer(self, kind: Request, head: bytes, wanted: Answer) -> memoryview:
        reply = self.requests.call(kind, head)
        if reply.kind != wanted:
            raise Refused(reply.status or Status.FAILURE)
        return reply.content
