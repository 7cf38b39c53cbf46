"""Hosts that are reached by the scp protocol, with a POSIX shell for what it cannot do."""

import stat
from collections.abc import Iterator
from contextlib import suppress
from posixpath import basename, dirname
from shlex import quote
from typing import Self

from paramiko import Channel
from paramiko.ssh_exception import SSHException

from data_mover.errors import (
    ConnectionLost,
    IsADirectory,
    MoveFailure,
    NoSpace,
    NoSuchFile,
    NotAllowed,
    NotARegularFile,
    PermissionRefused,
    SourceChanged,
    VerifyFailed,
)
from data_mover.protocols.base import BLOCK_BYTES, Block, Facts, Files, Kind, NewFile, Reader, Writer
from data_mover.protocols.options import HostOptions, SshOptions
from data_mover.protocols.ssh import Output, SshConnection

_MAX_LINE_BYTES = 8192
_LATEST_TIME = 2**31 - 1

#: exit statuses of our own commands
_IS_A_DIRECTORY, _NOT_PERMITTED, _MISSING, _EXISTS = 81, 82, 83, 84
_FAILURES: dict[int, type[MoveFailure]] = {
    _IS_A_DIRECTORY: IsADirectory,
    _NOT_PERMITTED: PermissionRefused,
    _MISSING: NoSuchFile,
    _EXISTS: PermissionRefused,
}


class ScpFiles(Files):
    """The files of a host, over one connection; each command and each file has a channel of its own."""

    def __init__(self, host: str, options: SshOptions, connection: SshConnection) -> None:
        self.host = host
        self.options = options
        self.connection = connection
        self._real_directories: dict[str, str] = {}
        self._root = self._real_root()

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
        answer = self._look(path)
        if answer is None:
            return None
        facts, real = answer
        self._require_inside(path, real)
        return facts

    def open(self, path: str) -> Reader:
        facts = self.facts(path)
        if facts is None:
            raise NoSuchFile(self.name(path))
        if facts.kind is not Kind.FILE:
            raise (IsADirectory if facts.kind is Kind.DIRECTORY else NotARegularFile)(self.name(path))
        return _ScpReader(self, path, self._beside(path), facts)

    def create(self, path: str, new_file: NewFile) -> Writer:
        """The shell creates the file, exclusively; scp itself would write to whatever is there, through a link too."""
        real = self._beside(path)
        name, directory = quote(real), quote(dirname(real))
        self._shell(
            f"umask 077; if [ -e {name} ] || [ -L {name} ]; then exit {_EXISTS}; fi; "
            f"[ -w {directory} ] || exit {_NOT_PERMITTED}; set -C; : > {name}",
            path,
        )
        return _ScpWriter(self, path, real, new_file)

    def make_directories(self, path: str) -> None:
        facts = self.facts(path)
        if facts is not None and facts.kind is Kind.DIRECTORY:
            return
        if facts is not None or path == "/":
            raise NoSuchFile(f"{self.name(path)} is no directory")
        self.make_directories(dirname(path))
        name = quote(self._beside(path))
        mode = f"{self.options.directory_mode:04o}"
        self._shell(f"mkdir -m {mode} -- {name} || [ -d {name} ] || exit {_NOT_PERMITTED}", path)

    def replace(self, path: str, final_path: str) -> None:
        """`mv` within a directory is rename(2), which replaces atomically."""
        real, final = self._beside(path), self._beside(final_path)
        directory = quote(dirname(final))
        self._shell(
            f"[ -d {quote(final)} ] && exit {_IS_A_DIRECTORY}; [ -w {directory} ] || exit {_NOT_PERMITTED}; "
            f"[ -e {quote(real)} ] || exit {_MISSING}; mv -f -- {quote(real)} {quote(final)}",
            final_path,
        )

    def rename(self, path: str, free_path: str) -> None:
        self.replace(path, free_path)

    def remove(self, path: str) -> None:
        facts = self._look(dirname(path))
        if facts is not None:
            self._shell(f"rm -f -- {quote(self._beside(path))} || exit {_NOT_PERMITTED}", path)

    def sha256(self, path: str) -> str | None:
        return self.connection.sha256(self._beside(path))

    def free_bytes(self, path: str) -> int | None:
        output = self._run(f"df -Pk -- {quote(self._beside(path))} | tail -n 1")
        columns = output.text.split()
        return int(columns[3]) * 1024 if output.status == 0 and len(columns) > 3 and columns[3].isdigit() else None

    def abort(self) -> None:
        self.connection.abort()

    def close(self) -> None:
        self.connection.close()

    def _look(self, path: str) -> tuple[Facts, str] | None:
        """What stands at the path, and its real path. A link that leads nowhere is something, and is its own path."""
        name = quote(f"{self._root.rstrip('/')}{path}")
        output = self._run(
            f"if [ -e {name} ]; then stat -L -c '%f %s %Y' -- {name} && readlink -f -- {name}; "
            f"elif [ -L {name} ]; then echo 0 0 0; cd -P -- {quote(dirname(self._root.rstrip('/') + path))} && pwd -P; "
            f"else echo none; fi"
        )
        first, _, rest = output.text.partition(b"\n")
        if output.status != 0:
            raise PermissionRefused(self.name(path))
        if first == b"none":
            return None
        return _facts(first, self.host), rest.removesuffix(b"\n").decode(errors="surrogateescape")

    def _real_root(self) -> str:
        output = self._run(f"cd -P -- {quote(self.options.root)} && pwd -P")
        if output.status != 0:
            raise NoSuchFile(f"{self.host}: the root directory of the registry")
        return output.text.decode(errors="surrogateescape").removesuffix("\n").rstrip("/") or "/"

    def _beside(self, path: str) -> str:
        """The real path of the directory, asked once, and the name itself, not followed if it is a link."""
        directory = dirname(path)
        if directory not in self._real_directories:
            answer = self._look(directory)
            if answer is None:
                raise NoSuchFile(self.name(directory))
            self._require_inside(directory, answer[1])
            self._real_directories[directory] = answer[1]
        return f"{self._real_directories[directory].rstrip('/')}/{basename(path)}".rstrip("/") or "/"

    def _require_inside(self, path: str, real: str) -> None:
        if self._root != "/" and real != self._root and not real.startswith(f"{self._root}/"):
            raise NotAllowed(self.name(path))

    def _shell(self, command: str, path: str) -> None:
        status = self._run(command).status
        if status != 0:
            raise _FAILURES.get(status, VerifyFailed)(self.name(path))

    def _run(self, command: str) -> Output:
        return self.connection.run(f"LC_ALL=C; {command}")

    def name(self, path: str) -> str:
        return f"{self.host}:{path}"


class _ScpReader(Reader):
    """`scp -f`: the host sends one file, from its first byte to its last."""

    def __init__(self, files: ScpFiles, path: str, real: str, facts: Facts) -> None:
        self.facts = facts
        self._files = files
        self._path = path
        self._channel = files.connection.start(f"LC_ALL=C scp -f {quote(real)}")
        with files.connection.told(path):
            self._channel.sendall(b"\0")
            announced = self._announced_bytes()
            self._channel.sendall(b"\0")
        self._left_bytes = min(announced, facts.size_bytes)
        self._to_the_end = announced <= facts.size_bytes

    def blocks(self, offset_bytes: int = 0) -> Iterator[Block]:
        """The protocol begins at the first byte; what is before the offset is read and dropped."""
        skip = offset_bytes
        for block in self._all_blocks():
            if len(block) <= skip:
                skip -= len(block)
            else:
                yield block[skip:]
                skip = 0

    def facts_now(self) -> Facts:
        facts = self._files.facts(self._path)
        if facts is None:
            raise NoSuchFile(f"{self._files.host}:{self._path}")
        return facts

    def close(self) -> None:
        with suppress(OSError, EOFError, SSHException):
            self._channel.close()

    def _all_blocks(self) -> Iterator[bytes]:
        while self._left_bytes:
            with self._files.connection.told(self._path):
                block = self._channel.recv(min(BLOCK_BYTES, self._left_bytes))
            if not block:
                raise ConnectionLost(self._files.name(self._path))
            self._left_bytes -= len(block)
            if not self._left_bytes and self._to_the_end:
                self._require_good_end()
            yield block

    def _require_good_end(self) -> None:
        """The host fills a file that became shorter with zeros, and says so only behind them."""
        with self._files.connection.told(self._path):
            if self._channel.recv(1) != b"\0":
                raise SourceChanged(self._files.name(self._path))

    def _announced_bytes(self) -> int:
        """The size in a line like `C0644 12 name`."""
        line = _line(self._channel)
        words = line.split(b" ", 2)
        if line.startswith(b"C") and len(words) == 3 and words[1].isdigit():
            return int(words[1])
        raise _refusal(line, self._files.host, self._path)


class _ScpWriter(Writer):
    """`scp -t`: the host takes one file of the size that was announced; what it says comes at the end."""

    def __init__(self, files: ScpFiles, path: str, real: str, new_file: NewFile) -> None:
        self._files = files
        self._path = path
        self._real = real
        self._new_file = new_file
        self._channel = files.connection.start(f"LC_ALL=C scp -p -t {quote(real)}")
        modified = min(max(int(new_file.modified_at), 0), _LATEST_TIME)
        with files.connection.told(path):
            self._require_consent()
            self._say(f"T{modified} 0 {modified} 0\n")
            self._say(f"C{new_file.mode:04o} {new_file.size_bytes} file\n")

    def write(self, block: Block) -> None:
        """Bytes count as acknowledged when the host's window has taken them: the protocol itself tells nothing before
        the end of the file."""
        with self._files.connection.told(self._path):
            self._channel.sendall(bytes(block))
        self.acknowledged_bytes += len(block)

    def commit(self) -> None:
        with self._files.connection.told(self._path):
            self._channel.sendall(b"\0")
            self._require_consent()
            self._channel.shutdown_write()
            if not self._channel.status_event.wait(self._files.options.idle_timeout_seconds):
                raise TimeoutError
            if self._channel.recv_exit_status() != 0:
                raise VerifyFailed(f"{self._files.host}: scp ended with an error")
        self._sync()

    def close(self) -> None:
        with suppress(OSError, EOFError, SSHException):
            self._channel.close()

    def _sync(self) -> None:
        """Where the host's `sync` takes a file; elsewhere the host decides when the bytes are on disk."""
        self._files.connection.run(f"sync {quote(self._real)} 2>/dev/null")

    def _say(self, line: str) -> None:
        self._channel.sendall(line.encode())
        self._require_consent()

    def _require_consent(self) -> None:
        """The host answers NUL, or 1 or 2 and a sentence."""
        answer = self._channel.recv(1)
        if answer == b"\0":
            return
        if not answer:
            raise EOFError
        raise _refusal(_line(self._channel), self._files.host, self._path)


def _line(channel: Channel) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        character = channel.recv(1)
        if not character or len(line) > _MAX_LINE_BYTES:
            raise EOFError("the host does not speak the scp protocol")
        line += character
    return bytes(line)


def _refusal(sentence: bytes, host: str, path: str) -> MoveFailure:
    """What a sentence of the host's scp means; the sentence itself is not shown."""
    if b"No space left" in sentence or b"quota exceeded" in sentence:
        return NoSpace(host)
    if b"Permission denied" in sentence or b"Read-only" in sentence:
        return PermissionRefused(f"{host}:{path}")
    if b"No such file" in sentence:
        return NoSuchFile(f"{host}:{path}")
    return VerifyFailed(f"{host}: scp refused {path}")


def _facts(line: bytes, host: str) -> Facts:
    """From the mode in hexadecimal, the size and the modification time."""
    words = line.split()
    if len(words) != 3:
        raise ConnectionLost(f"{host}: stat is not understood")
    kinds = {stat.S_IFREG: Kind.FILE, stat.S_IFDIR: Kind.DIRECTORY}
    return Facts(kinds.get(stat.S_IFMT(int(words[0], 16)), Kind.OTHER), int(words[1]), float(words[2]))
