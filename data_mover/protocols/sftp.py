"""Hosts that are reached by SFTP, version 3, with OpenSSH's extensions where the host has them."""

import errno
import stat
import struct
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from posixpath import basename, dirname
from typing import Self

import paramiko
from paramiko.sftp import (
    CMD_CLOSE,
    CMD_EXTENDED,
    CMD_EXTENDED_REPLY,
    CMD_FSETSTAT,
    CMD_FSTAT,
    CMD_HANDLE,
    CMD_OPEN,
    CMD_READ,
    CMD_SETSTAT,
    CMD_WRITE,
)
from paramiko.ssh_exception import SSHException

from data_mover.errors import (
    CannotReplace,
    ConnectionLost,
    InternalError,
    IsADirectory,
    MoveFailure,
    NoSpace,
    NoSuchFile,
    NotAllowed,
    NotARegularFile,
    PermissionRefused,
    VerifyFailed,
)
from data_mover.protocols.base import BLOCK_BYTES, Block, Facts, Files, Kind, NewFile, Reader, Writer
from data_mover.protocols.options import HostOptions, SshOptions
from data_mover.protocols.sftp_requests import (
    STATUS_EOF,
    STATUS_FAILURE,
    STATUS_NO_SUCH_FILE,
    STATUS_OK,
    STATUS_PERMISSION_DENIED,
    STATUS_UNSUPPORTED,
    Reply,
    SftpRequests,
    data,
    text,
)
from data_mover.protocols.ssh import SshConnection

#: how many requests are in flight on a channel: enough to fill its window of 2 MiB many times over
IN_FLIGHT = 64
#: what every server takes in one request; OpenSSH says more by `limits@openssh.com`
SAFE_BYTES = 32 * 1024

_READ, _WRITE, _CREATE, _EXCLUSIVE = 0x01, 0x02, 0x08, 0x20
_HAS_SIZE, _HAS_MODE, _HAS_TIMES = 0x01, 0x04, 0x08
_LATEST_TIME = 2**32 - 1

_FAILURES: dict[int, type[MoveFailure]] = {
    STATUS_NO_SUCH_FILE: NoSuchFile,
    STATUS_PERMISSION_DENIED: PermissionRefused,
}
_STATUSES = {errno.ENOENT: STATUS_NO_SUCH_FILE, errno.EACCES: STATUS_PERMISSION_DENIED}


class SftpFiles(Files):
    """The files of a host, over one channel of one connection."""

    def __init__(self, host: str, options: SshOptions, connection: SshConnection) -> None:
        self.host = host
        self.options = options
        self._connection = connection
        self._sftp, channel = connection.open_sftp()
        self.requests = SftpRequests(channel, IN_FLIGHT)
        self._unsupported: set[bytes] = set()
        self._real_directories: dict[str, str] = {}
        self._root = self._real_root()
        self.read_bytes, self.write_bytes = self._limits()

    @classmethod
    def connect(cls, host: str, options: HostOptions) -> Self:
        if not isinstance(options, SshOptions):
            raise TypeError(f"{host} has no SSH options")
        connection = SshConnection.open(host, options)
        try:
            return cls(host, options, connection)
        except BaseException:
            connection.close()
            raise

    def facts(self, path: str) -> Facts | None:
        try:
            with self.told(path):
                return _facts(self._sftp.stat(self._inside(path)))
        except NoSuchFile:
            return self._dangling(path)

    def open(self, path: str) -> Reader:
        facts = self.facts(path)
        if facts is None:
            raise NoSuchFile(self._name(path))
        if facts.kind is not Kind.FILE:
            raise (IsADirectory if facts.kind is Kind.DIRECTORY else NotARegularFile)(self._name(path))
        with self.told(path):
            handle = self._open(self._inside(path), path, _READ)
        return _SftpReader(self, path, handle, facts)

    def create(self, path: str, new_file: NewFile) -> Writer:
        with self.told(path):
            real = self._beside(path)
            handle = self._open(real, path, _WRITE | _CREATE | _EXCLUSIVE)
        return _SftpWriter(self, path, real, handle, new_file)

    def make_directories(self, path: str) -> None:
        facts = self.facts(path)
        if facts is not None and facts.kind is Kind.DIRECTORY:
            return
        if facts is not None or path == "/":
            raise NoSuchFile(f"{self._name(path)} is no directory")
        self.make_directories(dirname(path))
        with self.told(path):
            self._make_directory(path)

    def replace(self, path: str, final_path: str) -> None:
        with self.told(final_path):
            try:
                self._sftp.posix_rename(self._beside(path), self._beside(final_path))
            except OSError as error:
                self._rename_plainly(path, final_path, error)

    def rename(self, path: str, free_path: str) -> None:
        with self.told(free_path):
            self._sftp.rename(self._beside(path), self._beside(free_path))

    def remove(self, path: str) -> None:
        with self.told(path), suppress(FileNotFoundError):
            self._sftp.remove(self._beside(path))

    def sha256(self, path: str) -> str | None:
        with self.told(path):
            real = self._inside(path)
        return self._connection.sha256(real)

    def free_bytes(self, path: str) -> int | None:
        with self.told(path):
            reply = self.extended(b"statvfs@openssh.com", text(self._inside(path)))
        if reply is None or reply.kind != CMD_EXTENDED_REPLY:
            return None
        _, fragment_bytes, _, _, available = struct.unpack_from(">5Q", reply.content)
        return int(fragment_bytes * available)

    def abort(self) -> None:
        self._connection.abort()

    def close(self) -> None:
        self._connection.close()

    # for the reader and the writer

    def extended(self, name: bytes, arguments: bytes) -> Reply | None:
        """The reply to an extended request, or None where the host does not know it."""
        if name in self._unsupported:
            return None
        reply = self.requests.call(CMD_EXTENDED, data(name) + arguments)
        if reply.status == STATUS_UNSUPPORTED:
            self._unsupported.add(name)
            return None
        return reply

    def failure(self, status: int, path: str, otherwise: type[MoveFailure]) -> MoveFailure:
        """The failure that a status means; SFTP says plainly "failure" for most, a full disk among them."""
        known = _FAILURES.get(status)
        if known is not None:
            return known(self._name(path))
        if self.free_bytes(dirname(path)) == 0:
            return NoSpace(self.host)
        return otherwise(self._name(path))

    @contextmanager
    def told(self, path: str) -> Iterator[None]:
        """What paramiko raises becomes a failure that names host and path."""
        with self._connection.told(path):
            try:
                yield
            except OSError as error:
                status = _status(error)
                if status is None:
                    raise
                raise self.failure(status, path, PermissionRefused) from error
            except (ValueError, struct.error) as error:
                raise ConnectionLost(f"{self.host} does not speak SFTP") from error

    def _open(self, real: str, path: str, flags: int) -> bytes:
        attributes = struct.pack(">II", _HAS_MODE, 0o600) if flags & _CREATE else struct.pack(">I", 0)
        reply = self.requests.call(CMD_OPEN, text(real) + struct.pack(">I", flags) + attributes)
        if reply.kind != CMD_HANDLE:
            raise self.failure(reply.status, path, PermissionRefused)
        return bytes(reply.content)

    def _rename_plainly(self, path: str, final_path: str, error: OSError) -> None:
        """Where nothing stands, an ordinary rename is as atomic, and every host has it."""
        facts = self.facts(final_path)
        if facts is not None and facts.kind is Kind.DIRECTORY:
            raise IsADirectory(self._name(final_path)) from error
        if error.errno is not None:
            raise error
        if facts is not None:
            raise CannotReplace(self.host) from error
        self._sftp.rename(self._beside(path), self._beside(final_path))

    def _make_directory(self, path: str) -> None:
        real = self._beside(path)
        try:
            self._sftp.mkdir(real, self.options.directory_mode)
        except OSError:
            facts = self.facts(path)
            if facts is None or facts.kind is not Kind.DIRECTORY:
                raise
        else:
            self._sftp.chmod(real, self.options.directory_mode)

    def _limits(self) -> tuple[int, int]:
        """How many bytes the host takes in one READ and one WRITE."""
        with self.told("/"):
            reply = self.extended(b"limits@openssh.com", b"")
        if reply is None or reply.kind != CMD_EXTENDED_REPLY:
            return SAFE_BYTES, SAFE_BYTES
        _, read, write = struct.unpack_from(">3Q", reply.content)
        return min(read or SAFE_BYTES, BLOCK_BYTES), min(write or SAFE_BYTES, BLOCK_BYTES)

    def _real_root(self) -> str:
        with self.told("/"):
            return self._real(self.options.root)

    def _real(self, path: str) -> str:
        real = self._sftp.normalize(path)
        return real.rstrip("/") or "/"

    def _inside(self, path: str) -> str:
        """The real path, links followed. NotAllowed where it leads out of the root."""
        real = self._real(f"{self._root.rstrip('/')}{path}")
        if self._root != "/" and real != self._root and not real.startswith(f"{self._root}/"):
            raise NotAllowed(self._name(path))
        return real

    def _beside(self, path: str) -> str:
        """The real path of the directory, asked once, and the name itself, not followed if it is a link."""
        directory = dirname(path)
        if directory not in self._real_directories:
            self._real_directories[directory] = self._inside(directory)
        return f"{self._real_directories[directory].rstrip('/')}/{basename(path)}"

    def _dangling(self, path: str) -> Facts | None:
        """A link that leads nowhere is something; where the directory is missing too, there is nothing."""
        try:
            with self.told(path):
                attributes = self._sftp.lstat(self._beside(path))
        except NoSuchFile:
            return None
        return _facts(attributes)

    def _name(self, path: str) -> str:
        return f"{self.host}:{path}"


class _SftpReader(Reader):
    def __init__(self, files: SftpFiles, path: str, handle: bytes, facts: Facts) -> None:
        self.facts = facts
        self._files = files
        self._path = path
        self._handle: bytes | None = handle

    def blocks(self, offset_bytes: int = 0) -> Iterator[Block]:
        asked: deque[_Range] = deque()
        offset = offset_bytes
        while asked or offset < self.facts.size_bytes:
            with self._files.told(self._path):
                while offset < self.facts.size_bytes and len(asked) < IN_FLIGHT:
                    count = min(self._files.read_bytes, self.facts.size_bytes - offset)
                    asked.append(self._ask(offset, count))
                    offset += count
                block = self._received(asked.popleft())
            if not block:
                return
            yield block

    def facts_now(self) -> Facts:
        facts = self._files.facts(self._path)
        if facts is None:
            raise NoSuchFile(f"{self._files.host}:{self._path}")
        return facts

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            with suppress(OSError, EOFError, SSHException):
                self._files.requests.drain()
                self._files.requests.call(CMD_CLOSE, handle)

    def _ask(self, offset: int, count: int) -> "_Range":
        if self._handle is None:
            raise InternalError("a closed file was read")
        wanted = _Range(offset, count)
        self._files.requests.send(CMD_READ, self._handle + struct.pack(">QI", offset, count), wanted.take)
        return wanted

    def _received(self, wanted: "_Range") -> bytes | memoryview:
        """The bytes of a range, in one piece; a host may send less than was asked for. Nothing at the file's end."""
        block: bytes | memoryview = self._answer(wanted)
        while block and len(block) < wanted.count:
            rest = self._answer(self._ask(wanted.offset + len(block), wanted.count - len(block)))
            if not rest:
                break
            block = bytes(block) + rest
        return block

    def _answer(self, wanted: "_Range") -> memoryview:
        while wanted.reply is None:
            self._files.requests.receive()
        status = wanted.reply.status
        if status == STATUS_EOF:
            return memoryview(b"")
        if status != STATUS_OK:
            raise self._files.failure(status, self._path, PermissionRefused)
        return wanted.reply.content[4:]


class _Range:
    """A range that was asked for, and the reply once it is there."""

    def __init__(self, offset: int, count: int) -> None:
        self.offset = offset
        self.count = count
        self.reply: Reply | None = None

    def take(self, reply: Reply) -> None:
        self.reply = reply


class _SftpWriter(Writer):
    def __init__(self, files: SftpFiles, path: str, real: str, handle: bytes, new_file: NewFile) -> None:
        self._files = files
        self._path = path
        self._real = real
        self._handle: bytes | None = handle
        self._new_file = new_file
        self._sent_bytes = 0
        self._failed_status = STATUS_OK

    def write(self, block: Block) -> None:
        rest = memoryview(block)
        with self._files.told(self._path):
            while rest:
                piece, rest = rest[: self._files.write_bytes], rest[self._files.write_bytes :]
                self._send(piece)
        self._require_no_failure()

    def commit(self) -> None:
        with self._files.told(self._path):
            self._files.requests.drain()
            self._require_no_failure()
            self._sync()
            self._require_size()
            self._set_attributes()
            handle, self._handle = self._handle, None
            self._checked(self._files.requests.call(CMD_CLOSE, handle or b""))

    def close(self) -> None:
        handle, self._handle = self._handle, None
        if handle is not None:
            with suppress(OSError, EOFError, SSHException):
                self._files.requests.drain()
                self._files.requests.call(CMD_CLOSE, handle)

    def _send(self, piece: memoryview) -> None:
        head = self._open_handle() + struct.pack(">QI", self._sent_bytes, len(piece))
        count = len(piece)

        def acknowledged(reply: Reply) -> None:
            if reply.status == STATUS_OK:
                self.acknowledged_bytes += count
            else:
                self._failed_status = self._failed_status or reply.status

        self._files.requests.send(CMD_WRITE, head, acknowledged, piece)
        self._sent_bytes += count

    def _sync(self) -> None:
        reply = self._files.extended(b"fsync@openssh.com", self._open_handle())
        if reply is not None:
            self._checked(reply)

    def _require_size(self) -> None:
        reply = self._files.requests.call(CMD_FSTAT, self._open_handle())
        self._checked(reply)
        flags, size = struct.unpack_from(">IQ", reply.content)
        if flags & _HAS_SIZE and size != self._new_file.size_bytes:
            raise VerifyFailed(f"{self._files.host}: {self._new_file.size_bytes} bytes were sent, {size} are there")

    def _set_attributes(self) -> None:
        """By the handle, or by name where the host cannot: nobody else knows the temporary name."""
        modified = min(max(int(self._new_file.modified_at), 0), _LATEST_TIME)
        attributes = struct.pack(">IIII", _HAS_MODE | _HAS_TIMES, self._new_file.mode, modified, modified)
        if self._files.requests.call(CMD_FSETSTAT, self._open_handle() + attributes).status != STATUS_OK:
            self._checked(self._files.requests.call(CMD_SETSTAT, text(self._real) + attributes))

    def _require_no_failure(self) -> None:
        if self._failed_status != STATUS_OK:
            raise self._files.failure(self._failed_status, self._path, VerifyFailed)

    def _checked(self, reply: Reply) -> None:
        if reply.status != STATUS_OK:
            raise self._files.failure(reply.status, self._path, VerifyFailed)

    def _open_handle(self) -> bytes:
        if self._handle is None:
            raise InternalError("a closed file was written")
        return self._handle


def _status(error: OSError) -> int | None:
    """The status that paramiko has made an OSError of, or None where the connection failed."""
    if error.errno is None and str(error) != "Socket is closed":
        return STATUS_FAILURE
    return _STATUSES.get(error.errno or 0)


def _facts(attributes: paramiko.SFTPAttributes) -> Facts:
    kinds = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIRECTORY}
    kind = kinds.get(stat.S_IFMT(attributes.st_mode or 0), Kind.OTHER)
    return Facts(kind, attributes.st_size or 0, float(attributes.st_mtime or 0))
