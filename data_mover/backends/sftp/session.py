"""The operations of SFTP on one host, one request each, and what its refusals mean."""

import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from data_mover.backends.api import BLOCK_BYTES
from data_mover.backends.futures import complete
from data_mover.backends.sftp.messages import (
    Answer,
    Attributes,
    Named,
    Refused,
    Reply,
    Request,
    Status,
    first_string,
    names,
    string,
    text,
)
from data_mover.backends.sftp.requests import Room, SftpRequests
from data_mover.backends.ssh.connection import SshConnection
from data_mover.domain.errors import ConnectionLost, HostFailed, MoveFailure, NoSpace, NoSuchFile, PermissionRefused

#: how many requests are in flight on the channel: the host's window of 2 MiB is never short of work
IN_FLIGHT = 64

#: how many bytes of small files may be on their way: so many, and what a host takes in during a round trip (measured)
ROOM_BYTES, ROOM_BYTES_PER_SECOND = 256 * 1000, 40 * 10**6
#: how many files may be under way: so many, more the longer the way to the host is, and never more than that
FEWEST_FILES, FILES_PER_SECOND, MOST_FILES = 128, 20_000, 512

#: what every server takes in one request; OpenSSH says more by `limits@openssh.com`
_SAFE_BYTES = 32 * 1024
_LIMITS, _STATVFS = b"limits@openssh.com", b"statvfs@openssh.com"
_FSYNC, _POSIX_RENAME = b"fsync@openssh.com", b"posix-rename@openssh.com"


#: any other refusal is one for good: what a host does not support, or a name that it cannot take
_FAILURES: dict[int, type[MoveFailure]] = {
    Status.NO_SUCH_FILE: NoSuchFile,
    Status.FAILURE: HostFailed,
}

#: of statvfs' flags
_READ_ONLY = 0x1


@dataclass(frozen=True)
class FileSystem:
    """What a host tells of the file system of a directory."""

    free_bytes: int
    #: whether it can take one more file
    takes_files: bool
    read_only: bool


class SftpSession:
    """Paths are those of the host, not ours. Raises Refused, and what `SftpRequests` raises; `told` translates both."""

    def __init__(self, connection: SshConnection) -> None:
        self.host = connection.host
        self.options = connection.options
        self._connection = connection
        with connection.told():
            self.requests = SftpRequests(connection.open_subsystem("sftp"), IN_FLIGHT)
            asked_at = time.monotonic()
            self.read_bytes, self.write_bytes = self._limits()
            #: how long the host takes to answer, at most
            self.round_trip_seconds = time.monotonic() - asked_at
        self.room = Room(self.requests, ROOM_BYTES + int(ROOM_BYTES_PER_SECOND * self.round_trip_seconds))

    @property
    def most_files(self) -> int:
        return min(FEWEST_FILES + int(FILES_PER_SECOND * self.round_trip_seconds), MOST_FILES)

    @property
    def replaces(self) -> bool:
        """Whether the host says that it can rename onto an existing file."""
        return _POSIX_RENAME in self.requests.extensions

    @property
    def syncs(self) -> bool:
        return _FSYNC in self.requests.extensions

    def real_path(self, path: str) -> str:
        """The path with its links followed. OpenSSH lets the last name be missing."""
        return _real(self.requests.call(Request.REALPATH, text(path)))

    def attributes(self, path: str) -> Attributes:
        return Attributes.read(self._answer(Request.STAT, text(path), Answer.ATTRS))

    def link_attributes(self, path: str) -> Attributes:
        """The attributes of a link itself."""
        return Attributes.read(self._answer(Request.LSTAT, text(path), Answer.ATTRS))

    async def located(self, path: str) -> tuple[str, Reply]:
        """The path with its links followed, and the answer to STAT."""
        flight = self.requests.flight()
        real = flight.ask(Request.REALPATH, text(path))
        found = flight.ask(Request.STAT, text(path))
        await flight
        return _real(real.answer), found.answer

    async def aopen(self, path: str, flags: int, attributes: Attributes | None = None) -> bytes:
        """The handle."""
        head = text(path) + struct.pack(">I", flags) + (attributes or Attributes()).packed()
        reply = await self.acall(Request.OPEN, head)
        return string(bytes(first_string(reply.answer(Answer.HANDLE))))

    def open(self, path: str, flags: int, attributes: Attributes | None = None) -> bytes:
        """The handle."""
        return complete(self.aopen(path, flags, attributes))

    async def acall(self, kind: Request, head: bytes) -> Reply:
        """Sends a request and returns its reply."""
        flight = self.requests.flight()
        pending = flight.ask(kind, head)
        await flight
        return pending.answer

    def let_go(self, handle: bytes) -> None:
        """Closes a handle of which nothing more is expected; what the host says to that is of no interest."""
        self.requests.put(Request.CLOSE, handle, lambda reply: None)

    def open_directory(self, path: str) -> bytes:
        """The handle."""
        return self._handle(Request.OPENDIR, text(path))

    def next_names(self, handle: bytes) -> list[Named]:
        """What the host tells next of a directory, `.` and `..` among it; nothing at the end."""
        reply = self.requests.call(Request.READDIR, handle)
        if reply.kind == Answer.STATUS and reply.status == Status.EOF:
            return []
        return names(reply.answer(Answer.NAME))

    def close(self, handle: bytes) -> None:
        self._done(Request.CLOSE, handle)

    def make_directory(self, path: str, mode: int) -> None:
        """With exactly this mode, whatever the host's umask is, if the host can set one."""
        self._done(Request.MKDIR, text(path) + Attributes(mode=mode).packed())
        self.set_attributes(path, Attributes(mode=mode))

    def set_attributes(self, path: str, attributes: Attributes) -> None:
        """A host that can set none goes without."""
        try:
            self.setstat(path, attributes)
        except Refused as refused:
            if refused.status != Status.UNSUPPORTED:
                raise

    def remove_directory(self, path: str) -> None:
        self._done(Request.RMDIR, text(path))

    def setstat(self, path: str, attributes: Attributes) -> None:
        self._done(Request.SETSTAT, text(path) + attributes.packed())

    async def remove(self, path: str) -> None:
        (await self.acall(Request.REMOVE, text(path))).require_ok()

    async def rename(self, path: str, free_path: str) -> None:
        """To a path where nothing stands; version 3 of the protocol refuses anything else."""
        await self._renamed(path, Request.RENAME, text(path) + text(free_path))

    async def replace(self, path: str, final_path: str) -> None:
        """Atomically in the place of what is there."""
        await self._renamed(path, Request.EXTENDED, string(_POSIX_RENAME) + text(path) + text(final_path))

    def sync_request(self, handle: bytes) -> bytes:
        """What an EXTENDED request carries to bring the file of a handle to disk."""
        return string(_FSYNC) + handle

    def file_system(self, directory: str) -> FileSystem | None:
        reply = self._extended(_STATVFS, text(directory))
        if reply is None:
            return None
        _, fragment_bytes, _, _, available, names, _, free_names, _, flags = struct.unpack_from(">10Q", reply.content)
        return FileSystem(fragment_bytes * available, not names or free_names > 0, bool(flags & _READ_ONLY))

    @contextmanager
    def told(self, path: str) -> Iterator[None]:
        """What goes wrong becomes a failure that names the host and our `path`."""
        name = f"{self.host}:{path}"
        with self._connection.told(path):
            try:
                yield
            except Refused as refused:
                raise _FAILURES.get(refused.status, PermissionRefused)(name) from refused
            except struct.error as error:
                raise ConnectionLost(f"{self.host} does not speak SFTP") from error

    @contextmanager
    def explaining(self, path: str, directory: str, needed_bytes: int = 1) -> Iterator[None]:
        """A plain failure to write in the host's directory is looked into: a host says no better to a full disk."""
        try:
            yield
        except Refused as refused:
            if refused.status != Status.FAILURE:
                raise
            raise self._explanation(directory, needed_bytes)(f"{self.host}:{path}") from refused

    def _explanation(self, directory: str, needed_bytes: int) -> type[MoveFailure]:
        system = self.file_system(directory)
        if system is None:
            return HostFailed
        if system.read_only:
            return PermissionRefused
        return HostFailed if system.takes_files and system.free_bytes >= needed_bytes else NoSpace

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

    def _handle(self, kind: Request, head: bytes) -> bytes:
        return string(bytes(first_string(self._answer(kind, head, Answer.HANDLE))))

    def _done(self, kind: Request, head: bytes) -> None:
        self.requests.call(kind, head).require_ok()

    async def _renamed(self, path: str, kind: Request, head: bytes) -> None:
        """Asks at once whether the file is still where it was: then the host has not done what it says."""
        flight = self.requests.flight()
        renamed = flight.ask(kind, head)
        stayed = flight.ask(Request.LSTAT, text(path))
        await flight
        renamed.answer.require_ok()
        if stayed.answer.kind == Answer.ATTRS:
            raise Refused(Status.FAILURE)

    def _answer(self, kind: Request, head: bytes, wanted: Answer) -> memoryview:
        return self.requests.call(kind, head).answer(wanted)


def _real(reply: Reply) -> str:
    """The path that a REALPATH was answered with."""
    name = first_string(reply.answer(Answer.NAME)[4:])
    return bytes(name).decode(errors="surrogateescape").rstrip("/") or "/"
