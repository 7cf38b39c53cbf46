"""The scp protocol: one file in, one file out, each by a command on the host.

The two sides speak in lines and single bytes: `T` and `C` lines announce times, mode, size and name; NUL agrees, 1 and
2 refuse, with a sentence.
"""

import time
from collections.abc import Iterator
from shlex import quote
from typing import cast

from paramiko import Channel

from data_mover.backends.api import BLOCK_BYTES, Block, Files, FileStat, NewFile, Reader, Writer
from data_mover.backends.scp.fsync import ScpSyncs
from data_mover.backends.ssh.connection import SshConnection
from data_mover.domain.errors import (
    ConnectionLost,
    HostFailed,
    MoveFailure,
    NoSpace,
    NoSuchFile,
    PermissionRefused,
    SourceChanged,
    VerifyFailed,
)

_MAX_LINE_BYTES = 8192
_LATEST_TIME = 2**31 - 1


class ScpReader(Reader):
    """`scp -f`: the host sends one file, from its first byte to its last."""

    def __init__(self, files: Files, connection: SshConnection, path: str, real: str, file_stat: FileStat) -> None:
        self.stat = file_stat
        self._files = files
        self._connection = connection
        self._path = path
        self._channel = connection.start(f"LC_ALL=C scp -f {quote(real)}")
        with connection.ending_refused(self._channel), connection.mapping_errors(path):
            self._channel.sendall(b"\0")
            announced = self._announced_bytes()
            self._channel.sendall(b"\0")
        self._left_bytes = min(announced, file_stat.size_bytes or 0)
        self._to_the_end = announced <= self._left_bytes

    def blocks(self, offset_bytes: int = 0) -> Iterator[Block]:
        """The protocol begins at the first byte; what is before the offset is read and dropped."""
        skip = offset_bytes
        for block in self._all_blocks():
            if len(block) <= skip:
                skip -= len(block)
            else:
                yield block[skip:]
                skip = 0

    def close(self) -> None:
        self._connection.end(self._channel)

    def _all_blocks(self) -> Iterator[bytes]:
        while self._left_bytes:
            with self._connection.mapping_errors(self._path):
                block = self._channel.recv(min(BLOCK_BYTES, self._left_bytes))
            if not block:
                raise ConnectionLost(f"{self._files.host}:{self._path}")
            self._left_bytes -= len(block)
            if not self._left_bytes and self._to_the_end:
                self._require_good_end()
            yield block

    def _require_good_end(self) -> None:
        """The host fills a file that became shorter with zeros, and says so only behind them."""
        with self._connection.mapping_errors(self._path):
            if self._channel.recv(1) != b"\0":
                raise SourceChanged(f"{self._files.host}:{self._path}")
            self._channel.sendall(b"\0")
        self._connection.end(self._channel)

    def _announced_bytes(self) -> int:
        """The size in a line like `C0644 12 name`."""
        line = _line(self._channel)
        words = line.split(b" ", 2)
        if line.startswith(b"C") and len(words) == 3 and words[1].isdigit():
            return int(words[1])
        raise refusal(line, self._files.host, self._path)


class ScpUpload(Writer):
    """A command on the host that takes bytes until there are as many as were announced."""

    def __init__(
        self, files: Files, connection: SshConnection, path: str, real: str, new_file: NewFile, command: str
    ) -> None:
        self._files = files
        self._connection = connection
        self._path = path
        self._real = real
        self._new_file = new_file
        self._size_bytes = new_file.size_bytes or 0
        self._syncs = ScpSyncs(connection, real)
        self._channel = connection.start(command)

    def write(self, block: Block) -> None:
        """Bytes count as acknowledged when the host's window has taken them: the protocol itself tells nothing before
        the end of the file."""
        if self.acknowledged_bytes + len(block) > self._size_bytes:
            raise VerifyFailed(f"{self._name}: more than the announced {self._size_bytes} bytes")
        with self._connection.mapping_errors(self._path):
            self._channel.sendall(cast("bytes", memoryview(block)))
        self.acknowledged_bytes += len(block)
        self.synced_bytes = self._syncs.look()

    def sync(self) -> None:
        self._syncs.begin(self.acknowledged_bytes)

    def close(self) -> None:
        self._connection.end(self._channel)
        self._syncs.close()

    def _require_all(self) -> None:
        if self.acknowledged_bytes != self._size_bytes:
            raise VerifyFailed(f"{self._name}: less than the announced {self._size_bytes} bytes")

    def _exit_status(self) -> int:
        """That of the command, once its input has ended."""
        self._channel.shutdown_write()
        if not self._channel.status_event.wait(self._files.options.idle_timeout_seconds):
            raise TimeoutError
        if self._channel.exit_status == -1:  # the connection broke, or the host killed the command
            raise EOFError
        return self._channel.exit_status

    def _bring_to_disk(self) -> None:
        """Where the host's `sync` takes a file; elsewhere the host decides when the bytes are on disk."""
        self._connection.run(f"sync {quote(self._real)} 2>/dev/null", self._size_bytes)

    def _require_consent(self) -> None:
        """The host answers NUL, or 1 or 2 and a sentence."""
        answer = self._channel.recv(1)
        if answer == b"\0":
            return
        if not answer:
            raise EOFError
        raise refusal(_line(self._channel), self._files.host, self._path)

    @property
    def _modified_at(self) -> int:
        return _in_range(self._new_file.modified_at)

    @property
    def _name(self) -> str:
        return f"{self._files.host}:{self._path}"


class ScpWriter(ScpUpload):
    """`scp -t`: the host takes one file of the size that was announced; what it says comes at the end."""

    def __init__(self, files: Files, connection: SshConnection, path: str, real: str, new_file: NewFile) -> None:
        super().__init__(files, connection, path, real, new_file, f"LC_ALL=C scp -p -t {quote(real)}")
        with connection.ending_refused(self._channel), connection.mapping_errors(path):
            self._require_consent()
            self._say(f"T{self._modified_at} 0 {self._modified_at} 0\n")
            self._say(f"C{new_file.mode:04o} {self._size_bytes} file\n")

    def commit(self) -> None:
        self._require_all()
        with self._connection.mapping_errors(self._path):
            self._say("\0")
            if self._exit_status() != 0:
                raise HostFailed(f"{self._name}: scp ended with an error")
        self._bring_to_disk()

    def _say(self, line: str) -> None:
        self._channel.sendall(line.encode())
        self._require_consent()


def _line(channel: Channel) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        character = channel.recv(1)
        if not character or len(line) > _MAX_LINE_BYTES:
            raise EOFError("the host does not speak the scp protocol")
        line += character
    return bytes(line)


def touching(name: str, modified_at: float) -> str:
    """The command that gives a modification time to what has the quoted name."""
    stamp = time.strftime("%Y%m%d%H%M.%S", time.gmtime(_in_range(modified_at)))
    return f"TZ=UTC0 touch -c -m -t {stamp} -- {name}"


def _in_range(modified_at: float) -> int:
    return min(max(int(modified_at), 0), _LATEST_TIME)


def refusal(sentence: bytes, host: str, path: str) -> MoveFailure:
    """What a sentence of a program on the host means; the sentence itself is not shown."""
    if b"No space left" in sentence or b"quota exceeded" in sentence:
        return NoSpace(host)
    if any(words in sentence for words in (b"Permission denied", b"not permitted", b"Read-only")):
        return PermissionRefused(f"{host}:{path}")
    if b"No such file" in sentence:
        return NoSuchFile(f"{host}:{path}")
    return HostFailed(f"{host}:{path}")
