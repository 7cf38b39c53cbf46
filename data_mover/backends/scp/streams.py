"""The scp protocol: a command on the host sends one file.

The two sides exchange lines and single bytes: a `C` line announces mode, size and name; NUL acknowledges, 1 and 2
refuse, with a message.
"""

from collections.abc import Iterator
from shlex import quote

from paramiko import Channel

from data_mover.backends.api import BLOCK_BYTES, Block, Files, FileStat, Reader
from data_mover.backends.ssh.connection import SshConnection
from data_mover.domain.errors import (
    ConnectionLost,
    HostFailed,
    MoveFailure,
    NoSpace,
    NoSuchFile,
    PermissionRefused,
    SourceChanged,
)

_MAX_LINE_BYTES = 8192

#: Opens the file, and sends it only if the opened file has the realpath: not a file to which a link leads that was put
#: there since the path was looked up. If the system has no name for an open file, `scp` opens it by its own.
_COMMAND = """LC_ALL=C; export LC_ALL
[ -e /proc/self/fd/0 ] || exec scp -f {name}
refuse() {{ printf '\\001%s\\n' "$1"; exit 1; }}
[ -e {name} ] || refuse 'No such file'
[ -r {name} ] || refuse 'Permission denied'
exec 3<{name}
[ "$(readlink /proc/self/fd/3)" = "$(printf %s {name})" ] || refuse '{elsewhere}'
exec scp -f /proc/self/fd/3"""
_ELSEWHERE = "its name leads elsewhere now"


class ScpReader(Reader):
    """`scp -f`: the host sends one file, from its first byte to its last."""

    def __init__(self, files: Files, connection: SshConnection, path: str, realpath: str, file_stat: FileStat) -> None:
        self.stat = file_stat
        self._files = files
        self._connection = connection
        self._path = path
        self._channel = connection.start(_COMMAND.format(name=quote(realpath), elsewhere=_ELSEWHERE))
        with connection.ending_refused(self._channel), connection.mapping_errors(path):
            self._ask_for_file()
            announced = self._announced_bytes()
            self._channel.sendall(b"\0")
        self._left_bytes = min(announced, file_stat.size_bytes or 0)
        self._to_the_end = announced <= self._left_bytes

    def blocks(self, offset_bytes: int = 0) -> Iterator[Block]:
        """Yield the bytes. The protocol begins at the first byte; those before the offset are read and dropped."""
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
        """Raise SourceChanged if the file became shorter: the host fills it with zeros, and reports that only after
        them."""
        with self._connection.mapping_errors(self._path):
            if self._channel.recv(1) != b"\0":
                raise SourceChanged(f"{self._files.host}:{self._path}")
            self._channel.sendall(b"\0")
        self._connection.end(self._channel)

    def _ask_for_file(self) -> None:
        """Begin the protocol. A command that has refused the file may have closed the channel by now: what it said is
        read next."""
        try:
            self._channel.sendall(b"\0")
        except TimeoutError:
            raise
        except OSError:
            pass

    def _announced_bytes(self) -> int:
        """Return the size in a line like `C0644 12 name`."""
        line = _line(self._channel)
        words = line.split(b" ", 2)
        if line.startswith(b"C") and len(words) == 3 and words[1].isdigit():
            return int(words[1])
        if _ELSEWHERE.encode() in line:
            raise SourceChanged(f"{self._files.host}:{self._path}")
        raise refusal(line, self._files.host, self._path)


def _line(channel: Channel) -> bytes:
    line = bytearray()
    while not line.endswith(b"\n"):
        character = channel.recv(1)
        if not character or len(line) > _MAX_LINE_BYTES:
            raise EOFError("the host does not speak the scp protocol")
        line += character
    return bytes(line)


def refusal(sentence: bytes, host: str, path: str) -> MoveFailure:
    """Return the failure of an error message of a program on the host; the message itself is not shown."""
    if b"No space left" in sentence or b"quota exceeded" in sentence:
        return NoSpace(host)
    if any(words in sentence for words in (b"Permission denied", b"not permitted", b"Read-only")):
        return PermissionRefused(f"{host}:{path}")
    if b"No such file" in sentence:
        return NoSuchFile(f"{host}:{path}")
    return HostFailed(f"{host}:{path}")
