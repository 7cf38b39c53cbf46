"""The messages of SFTP version 3: numbers and layout."""

import struct
from dataclasses import astuple, dataclass
from enum import IntEnum
from typing import NamedTuple


class Request(IntEnum):
    INIT = 1
    OPEN = 3
    CLOSE = 4
    READ = 5
    WRITE = 6
    LSTAT = 7
    FSTAT = 8
    SETSTAT = 9
    FSETSTAT = 10
    OPENDIR = 11
    READDIR = 12
    REMOVE = 13
    MKDIR = 14
    RMDIR = 15
    REALPATH = 16
    STAT = 17
    RENAME = 18
    EXTENDED = 200


class Answer(IntEnum):
    VERSION = 2
    STATUS = 101
    HANDLE = 102
    DATA = 103
    NAME = 104
    ATTRS = 105
    EXTENDED_REPLY = 201


class Status(IntEnum):
    """The codes that every host knows. FAILURE is unspecific: a full disk, a quota, an existing name."""

    OK = 0
    EOF = 1
    NO_SUCH_FILE = 2
    PERMISSION_DENIED = 3
    FAILURE = 4
    UNSUPPORTED = 8


class OpenFlags(IntEnum):
    READ = 0x01
    WRITE = 0x02
    CREATE = 0x08
    EXCLUSIVE = 0x20


VERSION = 3
#: a longer one is not SFTP: `Welcome` as a length is 1.5 GB
MAX_PACKET_BYTES = 2**20

_SIZE, _OWNER, _MODE, _TIMES, _EXTENDED = 0x01, 0x02, 0x04, 0x08, 0x80000000
_LATEST_TIME = 2**32 - 1


class Refused(Exception):
    """The host answered a request with a status that is not OK, or with another type of reply."""

    def __init__(self, status: int) -> None:
        self.status = status
        super().__init__(f"SFTP status {status}")


class Reply(NamedTuple):
    """A reply: its type, and what follows the request number."""

    kind: int
    content: memoryview

    @property
    def status(self) -> int:
        """The status code. Raises struct.error for a reply that carries something else."""
        if self.kind != Answer.STATUS:
            raise struct.error("an answer where a status was expected")
        (code,) = struct.unpack_from(">I", self.content)
        return int(code)

    def answer(self, expected: Answer) -> memoryview:
        """Return the content of a reply of this type. Raises Refused if it is a status instead, else struct.error."""
        if self.kind == expected:
            return self.content
        raise Refused(self.status or Status.FAILURE)

    @property
    def is_unsupported(self) -> bool:
        """Whether the host does not know the request, whatever it has announced."""
        return self.kind == Answer.STATUS and self.status == Status.UNSUPPORTED

    def require_ok(self) -> None:
        """Raise Refused if the status is another, struct.error if the reply is no status."""
        if self.status != Status.OK:
            raise Refused(self.status)


@dataclass(frozen=True)
class Attributes:
    """The attributes of a file; None for those that the host does not report."""

    size_bytes: int | None = None
    mode: int | None = None
    modified_at: int | None = None
    owner: tuple[int, int] | None = None

    @classmethod
    def read(cls, content: memoryview) -> "Attributes":
        (flags,) = struct.unpack_from(">I", content)
        fields = iter(struct.unpack_from(">" + "".join(_layout(flags)), content, 4))
        size = next(fields) if flags & _SIZE else None
        owner = (next(fields), next(fields)) if flags & _OWNER else None
        mode = next(fields) if flags & _MODE else None
        modified = (next(fields), next(fields))[1] if flags & _TIMES else None
        return cls(size, mode, modified, owner)

    def may_be(self, other: "Attributes") -> bool:
        """Whether both can belong to one file: an attribute that only one of them has is no difference."""
        pairs = zip(astuple(self), astuple(other), strict=True)
        return all(None in (one, another) or one == another for one, another in pairs)

    def packed(self) -> bytes:
        """Return mode and time, packed; the access time becomes the modification time, since SFTP cannot set one
        alone."""
        flags, fields = 0, b""
        if self.mode is not None:
            flags, fields = flags | _MODE, fields + struct.pack(">I", self.mode)
        if self.modified_at is not None:
            modified = min(max(self.modified_at, 0), _LATEST_TIME)
            flags, fields = flags | _TIMES, fields + struct.pack(">II", modified, modified)
        return struct.pack(">I", flags) + fields


class Named(NamedTuple):
    """An entry of a directory, as the host returns it: some hosts do not return all attributes."""

    name: bytes
    attributes: Attributes


def names(content: memoryview) -> list[Named]:
    """Return the names in a reply of the type NAME. Raises struct.error if it is something else."""
    (count,) = struct.unpack_from(">I", content)
    found, rest = [], content[4:]
    for _ in range(count):
        name = first_string(rest)
        rest = rest[4 + len(name) :]
        rest = rest[4 + len(first_string(rest)) :]
        found.append(Named(bytes(name), Attributes.read(rest)))
        rest = rest[_attributes_bytes(rest) :]
    return found


def _attributes_bytes(content: memoryview) -> int:
    """Return the length of the attributes that `content` begins with."""
    (flags,) = struct.unpack_from(">I", content)
    length = 4 + struct.calcsize(">" + "".join(_layout(flags)))
    if flags & _EXTENDED:
        (pairs,) = struct.unpack_from(">I", content, length)
        length += 4
        for _ in range(2 * pairs):
            length += 4 + len(first_string(content[length:]))
    return length


def _layout(flags: int) -> list[str]:
    return [layout for flag, layout in ((_SIZE, "Q"), (_OWNER, "II"), (_MODE, "I"), (_TIMES, "II")) if flags & flag]


def text(value: str) -> bytes:
    """Return a name as SFTP encodes it: its bytes in UTF-8 behind their length."""
    return string(value.encode(errors="surrogateescape"))


def string(value: bytes) -> bytes:
    """Return the bytes behind their length."""
    return struct.pack(">I", len(value)) + value


def first_string(content: memoryview) -> memoryview:
    """Return the string that `content` begins with. Raises struct.error if there is none."""
    (length,) = struct.unpack_from(">I", content)
    if 4 + length > len(content):
        raise struct.error("a string is longer than its packet")
    return content[4 : 4 + length]


def strings(content: memoryview) -> list[bytes]:
    """Return all the strings that `content` consists of. Raises struct.error if it does not."""
    found, rest = [], content
    while rest:
        found.append(bytes(first_string(rest)))
        rest = rest[4 + len(found[-1]) :]
    return found
