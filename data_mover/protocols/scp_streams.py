"""The scp protocol: one file in, one file out, each by a command on the host.

The two sides speak in lines and single bytes: `T` and `C` lines announce times, mode, size and name; NUL agrees, 1 and
2 refuse, with a sentence.
"""

from collections.abc import Iterator
from contextlib import suppress
from shlex import quote
from typing import cast

from paramiko import Channel
from paramiko.ssh_exception import SSHException

from data_mover.errors import (
    ConnectionLost,
    MoveFailure,
    NoSpace,
    NoSuchFile,
    PermissionRefused,
    SourceChanged,
    VerifyFailed,
)
from data_mover.protocols.base import BLOCK_BYTES, Block, Facts, Files, NewFile, Reader, Writer
from data_mover.protocols.ssh import SshConnection

_MAX_LINE_BYTES = 8192
_LATEST_TIME = 2**31 - 1


class ScpReader(Reader):
    """`scp -f`: the host sends one file, from its first byte to its last."""

    def __init__(self, files: Files, connection: SshConnection, path: str, real: str, facts: Facts) -> None:
        self.facts = facts
        self._files = files
        self._connection = connection
        self._path = path
        self._channel = connection.start(f"LC_ALL=C scp -f {quote(real)}")
        with connection.told(path):
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

    def close(self) -> None:
        with suppress(OSError, EOFError, SSHException):
            self._channel.close()

    def _all_blocks(self) -> Iterator[bytes]:
        while self._left_bytes:
            with self._connection.told(self._path):
                block = self._channel.recv(min(BLOCK_BYTES, self._left_bytes))
            if not block:
                raise ConnectionLost(f"{self._files.host}:{self._path}")
            self._left_bytes -= len(block)
            if not self._left_bytes and self._to_the_end:
                self._require_good_end()
            yield block

    def _require_good_end(self) -> None:
        """The host fills a file that became shorter with zeros, and says so only behind them."""
        with self._connection.told(self._path):
            if self._channel.recv(1) != b"\0":
                raise SourceChanged(f"{self._files.host}:{self._path}")

    def _announced_bytes(self) -> int:
        """The size in a line like `C0644 12 name`."""
        line = _line(self._channel)
        words = line.split(b" ", 2)
        if line.startswith(b"C") and len(words) == 3 and words[1].isdigit():
            return int(words[1])
        raise _refusal(line, self._files.host, self._path)


class ScpWriter(Writer):
    """`scp -t`: the host takes one file of the size that was announced; what it says comes at the end."""

    def __init__(self, files: Files, connection: SshConnection, path: str, real: str, new_file: NewFile) -> None:
        self._files = files
        self._connection = connection
        self._path = path
        self._real = real
        self._new_file = new_file
        self._channel = connection.start(f"LC_ALL=C scp -p -t {quote(real)}")
        modified = min(max(int(new_file.modified_at), 0), _LATEST_TIME)
        with connection.told(path):
            self._require_consent()
            self._say(f"T{modified} 0 {modified} 0\n")
            self._say(f"C{new_file.mode:04o} {new_file.size_bytes} file\n")

    def write(self, block: Block) -> None:
        """Bytes count as acknowledged when the host's window has taken them: the protocol itself tells nothing before
        the end of the file."""
        if self.acknowledged_bytes + len(block) > self._new_file.size_bytes:
            raise VerifyFailed(f"{self._name}: more than the announced {self._new_file.size_bytes} bytes")
        with self._connection.told(self._path):
            self._channel.sendall(cast("bytes", memoryview(block)))
        self.acknowledged_bytes += len(block)

    def commit(self) -> None:
        if self.acknowledged_bytes != self._new_file.size_bytes:
            raise VerifyFailed(f"{self._name}: less than the announced {self._new_file.size_bytes} bytes")
        with self._connection.told(self._path):
            self._channel.sendall(b"\0")
            self._require_consent()
            self._channel.shutdown_write()
            if not self._channel.status_event.wait(self._files.options.idle_timeout_seconds):
                raise TimeoutError
            if self._channel.recv_exit_status() != 0:
                raise VerifyFailed(f"{self._name}: scp ended with an error")
        self._sync()

    def close(self) -> None:
        with suppress(OSError, EOFError, SSHException):
            self._channel.close()

    def _sync(self) -> None:
        """Where the host's `sync` takes a file; elsewhere the host decides when the bytes are on disk."""
        self._connection.run(f"sync {quote(self._real)} 2>/dev/null")

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

    @property
    def _name(self) -> str:
        return f"{self._files.host}:{self._path}"


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
    return VerifyFailed(f"{host}:{path}: its scp refuses")
