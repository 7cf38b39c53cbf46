"""The operations of SFTP on one host, one request each, and the failures of its refusals."""

import struct
import time
from dataclasses import dataclass
from posixpath import dirname
from types import TracebackType
from unicodedata import normalize

from paramiko.ssh_exception import SSHException

from data_mover.backends.api import BLOCK_BYTES
from data_mover.backends.futures import complete
from data_mover.backends.sftp.messages import (
    Answer,
    Attributes,
    Named,
    OpenFlags,
    Refused,
    Reply,
    Request,
    Status,
    first_string,
    names,
    string,
    text,
)
from data_mover.backends.sftp.requests import SendWindow, SftpRequests
from data_mover.backends.ssh.connection import SshConnection
from data_mover.domain.errors import (
    ConnectionLost,
    HostFailed,
    MoveFailure,
    NoSpace,
    NoSuchFile,
    NotAllowed,
    PermissionRefused,
)

#: how many requests are in flight on the channel, so that the host always has work
IN_FLIGHT = 64

#: the send window of small files: so many bytes, and what a host receives during a round trip (measured)
ROOM_BYTES, ROOM_BYTES_PER_SECOND = 256 * 1000, 40 * 10**6
#: how much of a file is requested ahead, and in memory at most: at least, more per second of round trip, and at most,
#: which is little less than the window that we give the host
FEWEST_AHEAD_BYTES, AHEAD_BYTES_PER_SECOND, MOST_AHEAD_BYTES = 4 * 2**20, 400 * 10**6, 15 * 2**20
#: how many files may be in flight: at least, more per second of round trip, at most
FEWEST_FILES, FILES_PER_SECOND, MOST_FILES = 256, 20_000, 512

#: what every server accepts in one request; OpenSSH reports more by `limits@openssh.com`
_SAFE_BYTES = 32 * 1024
_LIMITS, _STATVFS = b"limits@openssh.com", b"statvfs@openssh.com"
_FSYNC, _POSIX_RENAME = b"fsync@openssh.com", b"posix-rename@openssh.com"


#: any other refusal is permanent: an unsupported request, or a name that the host does not accept
_FAILURES: dict[int, type[MoveFailure]] = {
    Status.NO_SUCH_FILE: NoSuchFile,
    Status.FAILURE: HostFailed,
}

#: of statvfs' flags
_READ_ONLY = 0x1


@dataclass(frozen=True)
class FileSystem:
    """What a host reports of the file system of a directory."""

    free_bytes: int
    #: whether one more file can be created
    takes_files: bool
    read_only: bool


class Moved(Exception):
    """A realpath leads elsewhere now: a directory, or the file, has been exchanged for a link."""


class SftpSession:
    """Paths are those of the host. Raises Refused, and what `SftpRequests` raises; `mapping_errors` maps both to
    failures."""

    def __init__(self, connection: SshConnection) -> None:
        self.host = connection.host
        self.options = connection.options
        self._connection = connection
        with connection.mapping_errors():
            self.requests = SftpRequests(connection.open_subsystem("sftp"), IN_FLIGHT)
            asked_at = time.monotonic()
            if _LIMITS not in self.requests.extensions:
                self.requests.call(Request.REALPATH, text("."))
            self.read_bytes, self.write_bytes = self._limits()
            #: an upper bound of the host's round trip time
            self.round_trip_seconds = time.monotonic() - asked_at
        self.window = SendWindow(self.requests, ROOM_BYTES + int(ROOM_BYTES_PER_SECOND * self.round_trip_seconds))

    @property
    def most_files(self) -> int:
        return min(FEWEST_FILES + int(FILES_PER_SECOND * self.round_trip_seconds), MOST_FILES)

    @property
    def read_ahead_bytes(self) -> int:
        """How much of a file to request ahead."""
        far_bytes = int(AHEAD_BYTES_PER_SECOND * self.round_trip_seconds)
        return min(max(FEWEST_AHEAD_BYTES, far_bytes), MOST_AHEAD_BYTES)

    @property
    def replaces(self) -> bool:
        """Whether the host announces that it can rename onto an existing file."""
        return _POSIX_RENAME in self.requests.extensions

    @property
    def syncs(self) -> bool:
        return _FSYNC in self.requests.extensions

    def realpath(self, path: str) -> str:
        """Return the path with its links followed. OpenSSH allows a missing last name."""
        return _realpath_in(self.requests.call(Request.REALPATH, text(path)))

    def attributes(self, path: str) -> Attributes:
        return Attributes.read(self._answer(Request.STAT, text(path), Answer.ATTRS))

    def link_attributes(self, path: str) -> Attributes:
        """Return the attributes of a link itself."""
        return Attributes.read(self._answer(Request.LSTAT, text(path), Answer.ATTRS))

    async def located(self, path: str) -> tuple[str, Reply]:
        """Return the path with its links followed, and the answer to STAT. Raises Moved if the links change
        meanwhile."""
        flight = self.requests.flight()
        realpath = flight.ask(Request.REALPATH, text(path))
        found = flight.ask(Request.STAT, text(path))
        still = flight.ask(Request.REALPATH, text(path))
        await flight
        if still.answer.kind == Answer.NAME and _realpath_in(still.answer) != _realpath_in(realpath.answer):
            raise Moved(path)
        return _realpath_in(realpath.answer), found.answer

    async def aopen(self, path: str, flags: int, attributes: Attributes | None = None) -> bytes:
        """Return the handle."""
        head = text(path) + struct.pack(">I", flags) + (attributes or Attributes()).packed()
        reply = await self.acall(Request.OPEN, head)
        return string(bytes(first_string(reply.answer(Answer.HANDLE))))

    async def acreate(self, path: str, attributes: Attributes) -> bytes:
        """Create a file in a directory whose realpath is known; return the handle. Raises Moved."""
        flight = self.requests.flight()
        flags = OpenFlags.WRITE | OpenFlags.CREATE | OpenFlags.EXCLUSIVE
        opened = flight.ask(Request.OPEN, text(path) + struct.pack(">I", flags) + attributes.packed())
        realpath = flight.ask(Request.REALPATH, text(dirname(path)))
        await flight
        handle = string(bytes(first_string(opened.answer.answer(Answer.HANDLE))))
        if not _resolves_to(realpath.answer, dirname(path)):
            self.let_go(handle)
            await self.remove(path)
            raise Moved(path)
        return handle

    def open_lane(self, path: str) -> tuple[SftpRequests, bytes]:
        """Open another channel, and in it the file at this realpath for writing; return its handle, too. Raises Moved.
        Any thread may call it."""
        with self._connection.mapping_errors():
            requests = SftpRequests(self._connection.open_subsystem("sftp"), IN_FLIGHT)
        try:
            opened = requests.ask(Request.OPEN, text(path) + struct.pack(">I", OpenFlags.WRITE) + Attributes().packed())
            realpath = requests.call(Request.REALPATH, text(path))
            handle = string(bytes(first_string(requests.wait(opened).answer(Answer.HANDLE))))
            if not _resolves_to(realpath, path):
                raise Moved(path)
        except BaseException:
            requests.close()
            raise
        return requests, handle

    def reopen(self, path: str, looked_up: Attributes) -> bytes:
        """Open an existing file for writing; return the handle. Raises Moved if what was opened is something else."""
        handle = complete(self.aopen(path, OpenFlags.WRITE))
        reply = self.requests.call(Request.FSTAT, handle)
        if not reply.is_unsupported and not Attributes.read(reply.answer(Answer.ATTRS)).may_be(looked_up):
            self.let_go(handle)
            raise Moved(path)
        return handle

    async def acall(self, kind: Request, head: bytes) -> Reply:
        """Send a request and return its reply."""
        flight = self.requests.flight()
        pending = flight.ask(kind, head)
        await flight
        return pending.answer

    def let_go(self, handle: bytes) -> None:
        """Close a handle, and ignore the reply."""
        self.requests.put(Request.CLOSE, handle, lambda reply: None)

    def open_directory(self, path: str) -> bytes:
        """Open a directory whose realpath is known; return the handle. Raises Moved."""
        opened = self.requests.ask(Request.OPENDIR, text(path))
        realpath = self.requests.call(Request.REALPATH, text(path))
        handle = string(bytes(first_string(opened.answer.answer(Answer.HANDLE))))
        if not _resolves_to(realpath, path):
            self.let_go(handle)
            raise Moved(path)
        return handle

    def next_names(self, handle: bytes) -> list[Named]:
        """Return the next names of a directory, `.` and `..` included; none at the end."""
        reply = self.requests.call(Request.READDIR, handle)
        if reply.kind == Answer.STATUS and reply.status == Status.EOF:
            return []
        return names(reply.answer(Answer.NAME))

    def close(self, handle: bytes) -> None:
        self._done(Request.CLOSE, handle)

    def make_directory(self, path: str, mode: int) -> None:
        """Make a directory with exactly this mode, whatever the host's umask is, if the host can set one. Raises Moved
        if what is above it has been exchanged for a link."""
        self._done(Request.MKDIR, text(path) + Attributes(mode=mode).packed())
        try:
            self.set_attributes(path, Attributes(mode=mode))
        except Moved:
            self.remove_directory(path)
            raise

    def set_attributes(self, path: str, attributes: Attributes) -> None:
        """Set the attributes of this realpath, unless the host supports none. Raises Moved."""
        if not is_same(self.realpath(path), path):
            raise Moved(path)
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
        """Rename to a free path; version 3 of the protocol refuses anything else."""
        await self._renamed(path, Request.RENAME, text(path) + text(free_path))

    async def replace(self, path: str, final_path: str) -> None:
        """Rename, atomically replacing what is there."""
        await self._renamed(path, Request.EXTENDED, string(_POSIX_RENAME) + text(path) + text(final_path))

    def sync_request(self, handle: bytes) -> bytes:
        """Return the body of the EXTENDED request that syncs the file of a handle."""
        return string(_FSYNC) + handle

    def file_system(self, directory: str) -> FileSystem | None:
        reply = self._extended(_STATVFS, text(directory))
        if reply is None:
            return None
        _, fragment_bytes, _, _, available, names, _, free_names, _, flags = struct.unpack_from(">10Q", reply.content)
        return FileSystem(fragment_bytes * available, not names or free_names > 0, bool(flags & _READ_ONLY))

    def mapping_errors(self, path: str) -> "ErrorMapping":
        """Map errors to failures that name the host and our `path`."""
        return ErrorMapping(self._connection, path)

    def mapping_write_errors(self, path: str, realpath: str, needed_bytes: int = 1) -> "WriteErrorMapping":
        """Map the errors of a block that writes so many bytes at the realpath."""
        return WriteErrorMapping(self._connection, path, self, realpath, needed_bytes)

    def explanation(self, realpath: str, needed_bytes: int) -> type[MoveFailure]:
        """Return the failure that a plain refusal to write at the realpath stands for."""
        system = self.file_system(dirname(realpath))
        if system is None:
            return HostFailed
        if system.read_only:
            return PermissionRefused
        return HostFailed if system.takes_files and system.free_bytes >= needed_bytes else NoSpace

    def _limits(self) -> tuple[int, int]:
        """Return how many bytes the host accepts in one READ and one WRITE."""
        reply = self._extended(_LIMITS, b"")
        if reply is None:
            return _SAFE_BYTES, _SAFE_BYTES
        _, read, write = struct.unpack_from(">3Q", reply.content)
        return min(read or _SAFE_BYTES, BLOCK_BYTES), min(write or _SAFE_BYTES, BLOCK_BYTES)

    def _extended(self, name: bytes, arguments: bytes) -> Reply | None:
        """Return the answer to an extended request, or None if the host does not support it."""
        if name not in self.requests.extensions:
            return None
        reply = self.requests.call(Request.EXTENDED, string(name) + arguments)
        return reply if reply.kind == Answer.EXTENDED_REPLY else None

    def _done(self, kind: Request, head: bytes) -> None:
        self.requests.call(kind, head).require_ok()

    async def _renamed(self, path: str, kind: Request, head: bytes) -> None:
        """Rename, and ask at once whether the file still has its old name: some hosts only pretend."""
        flight = self.requests.flight()
        renamed = flight.ask(kind, head)
        stayed = flight.ask(Request.LSTAT, text(path))
        await flight
        renamed.answer.require_ok()
        if stayed.answer.kind == Answer.ATTRS:
            raise Refused(Status.FAILURE)

    def _answer(self, kind: Request, head: bytes, expected: Answer) -> memoryview:
        return self.requests.call(kind, head).answer(expected)


class ErrorMapping:
    """Maps the errors of a block to failures that name the host and our path. It is used for every request: a class
    costs a third of a generator."""

    __slots__ = ("_connection", "_path")

    def __init__(self, connection: SshConnection, path: str) -> None:
        self._connection = connection
        self._path = path

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            return
        match error:
            case Refused():
                name = f"{self._connection.host}:{self._path}"
                raise _FAILURES.get(error.status, PermissionRefused)(name) from error
            case Moved():
                raise NotAllowed(f"{self._connection.host}:{self._path}") from error
            case struct.error():
                raise ConnectionLost(f"{self._connection.host} does not speak SFTP") from error
            case OSError() | EOFError() | SSHException():
                raise self._connection.failure(error, self._path) from error


class WriteErrorMapping(ErrorMapping):
    """Finds the reason of a plain failure, too: hosts report a full disk as one."""

    __slots__ = ("_needed_bytes", "_realpath", "_session")

    def __init__(
        self, connection: SshConnection, path: str, session: SftpSession, realpath: str, needed_bytes: int
    ) -> None:
        super().__init__(connection, path)
        self._session = session
        self._realpath = realpath
        self._needed_bytes = needed_bytes

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, Refused) and error.status == Status.FAILURE:
            with ErrorMapping(self._connection, self._path):
                failure = self._session.explanation(self._realpath, self._needed_bytes)
            raise failure(f"{self._connection.host}:{self._path}") from error
        super().__exit__(kind, error, trace)


def is_same(realpath: str, path: str) -> bool:
    """Whether a realpath is the requested path: hosts that fold case return the spelling of the existing name."""
    return realpath == path or normalize("NFC", realpath).casefold() == normalize("NFC", path).casefold()


def _resolves_to(reply: Reply, path: str) -> bool:
    """Whether the answer to REALPATH is the requested path, and no refusal."""
    return reply.kind == Answer.NAME and is_same(_realpath_in(reply), path)


def _realpath_in(reply: Reply) -> str:
    """Return the path in the answer to REALPATH."""
    name = first_string(reply.answer(Answer.NAME)[4:])
    return bytes(name).decode(errors="surrogateescape").rstrip("/") or "/"
