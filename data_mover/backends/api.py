"""The contract of a protocol: the operations of a host that transfers use.

Paths are POSIX text, absolute as seen below the host's `root`: `/maps/12.tif` is `<root>/maps/12.tif` on the host.
Sizes are bytes, modification times are seconds since the epoch. Every error is raised as a `MoveFailure` whose detail
names host and path; no exception of a library leaves a backend. No call blocks for longer than the time-outs of the
host's options.

A backend is used by one thread, except for `abort`, which any thread may call.

Methods that a move needs for each file have an asynchronous variant, whose name begins with `a`: a coroutine that does
the same. If the backend can have many requests in flight (`lines`), other files continue meanwhile; else it blocks.
"""

import stat
from abc import abstractmethod
from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from posixpath import basename
from types import TracebackType
from typing import ClassVar, Self

from data_mover.backends.futures import Line
from data_mover.backends.options import HostOptions
from data_mover.domain.errors import NoSuchFile
from data_mover.domain.locations import Endpoint
from data_mover.domain.states import FileKind

#: Readers yield blocks of about this size. OpenSSH accepts SFTP writes of up to 261 120 bytes (`limits@openssh.com`).
BLOCK_BYTES = 255 * 1024

Block = bytes | memoryview


@dataclass(frozen=True)
class FileStat:
    """The stat of a path, links followed. A file whose stat stays equal did not change."""

    kind: FileKind
    #: None if the host does not report it before the file ends; only hosts that are no destinations do so
    size_bytes: int | None
    #: None if the host does not report it; only hosts that are no destinations do so
    modified_at: float | None
    #: the host's identifier of this version of the file, if it has one
    version: str | None = None
    #: the permission bits, None if the host reports none; they may change without the file
    mode: int | None = field(default=None, compare=False)


_KINDS = {stat.S_IFREG: FileKind.FILE, stat.S_IFDIR: FileKind.DIRECTORY, stat.S_IFLNK: FileKind.LINK}


@dataclass(frozen=True)
class Entry:
    """An entry of a directory; a link is not followed.

    A name that is not UTF-8 has surrogates for its invalid bytes. What no path can name counts as OTHER: an object
    store may have the names `.`, `..` and the empty one, and a malicious host may send any.
    """

    name: str
    kind: FileKind
    #: the size of a file; None for anything else, and if the host does not report it
    size_bytes: int | None
    #: as in `FileStat`; None if the host leaves it out of a listing
    modified_at: float | None
    #: the permission bits, None if the host reports none
    mode: int | None

    @classmethod
    def of(cls, name: str, mode: int, size_bytes: int | None, modified_at: float | None) -> Self:
        """Return an entry with kind and permission bits from a POSIX mode."""
        kind = _KINDS.get(stat.S_IFMT(mode), FileKind.OTHER) if is_segment(name) else FileKind.OTHER
        return cls(name, kind, size_bytes if kind is FileKind.FILE else None, modified_at, mode & 0o777)


def is_segment(name: str) -> bool:
    """Whether the name can be a segment of a path."""
    return name not in ("", ".", "..") and "/" not in name


@dataclass(frozen=True)
class NewFile:
    """The attributes that a file gets when it is written."""

    #: None if the source does not report it: then as many bytes as are written
    size_bytes: int | None
    mode: int
    modified_at: float


class Reader(AbstractContextManager["Reader"]):
    """An open source file."""

    #: as the host reported when the file was opened
    stat: FileStat
    #: the host's name for the file, if that is not the last segment of its path
    name: str | None = None

    @abstractmethod
    def blocks(self, offset_bytes: int = 0) -> Iterator[Block]:
        """Yield the bytes from the offset to the size in `stat`, in order and without a gap. May be called once.

        A file that has become shorter ends early; one that has more than `stat` says ends there, with SourceChanged if
        the host shows it.
        """

    async def ablocks(self, offset_bytes: int = 0) -> AsyncGenerator[Block, None]:
        for block in self.blocks(offset_bytes):
            yield block

    @abstractmethod
    def close(self) -> None:
        """Close the handle. Raises nothing: the reader has checked the bytes."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Writer(AbstractContextManager["Writer"]):
    """A file that is being written, in order: a new one, or one that is resumed."""

    #: how many bytes the host has acknowledged, including those that were there before
    acknowledged_bytes: int = 0
    #: how many bytes, from the first one on, are on the host's disk as far as `sync` has requested it
    synced_bytes: int = 0

    @abstractmethod
    def write(self, block: Block) -> None:
        """Send the next bytes. May return before the host has them, and raise the failure of an earlier call."""

    async def awrite(self, block: Block) -> None:
        self.write(block)

    @abstractmethod
    def sync(self) -> None:
        """Request a sync of what was written so far; `synced_bytes` shows later that it is on disk.

        Must not be called again before that. On a host that cannot sync, acknowledged bytes count; on one that does not
        report what it has, none ever do.
        """

    def wait_for_sync(self) -> None:
        """Block until what `sync` has requested is on disk, at most as long as the host may take. Used if the copy
        could run far ahead. Does not wait again for a host that did not answer."""

    @abstractmethod
    def commit(self) -> None:
        """Return once the host has acknowledged every byte, has them on disk if it offers fsync, reports the announced
        size, has set mode and modification time, and has closed the file without an error. Else raises.
        """

    async def acommit(self) -> None:
        self.commit()

    @abstractmethod
    def close(self) -> None:
        """Release all resources, after `commit` or instead of it. Raises nothing; the file stays."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Source(AbstractContextManager["Source"]):
    """A connection to a host from which files can be read."""

    #: the host's name in the registry
    host: str
    options: HostOptions
    #: whether the host has directories
    has_directories: ClassVar[bool] = True

    @property
    def lines(self) -> Sequence[Line]:
        """The lines for the requests of many files in flight, if the backend has any; more may come."""
        return ()

    @property
    def most_files(self) -> int | None:
        """How many files may be in flight, None for no limit."""
        return 16

    def settling_seconds(self, file_stat: FileStat) -> float:
        """Return how long after a write, by our clock, another one may leave the same stat: most hosts report whole
        seconds, and their clocks may be a second off. A version may be made of the size and that time, as by nginx."""
        return 2.0

    @classmethod
    @abstractmethod
    def connect(cls, host: str, options: HostOptions) -> Self:
        """Connect and log in. Raises HostUnreachable, HostKeyMismatch, CertificateRefused or LoginRefused."""

    def named(self, path: str) -> str:
        """Return host and path, as failures show them."""
        return str(Endpoint(self.host, path))

    def name(self, path: str) -> str:
        """Return the base name of the file or directory, which it keeps in a destination directory."""
        return basename(path.rstrip("/"))

    @abstractmethod
    def stat(self, path: str) -> FileStat | None:
        """Return the stat of the path, or None if nothing exists there.

        Links are followed. Raises NotAllowed if one of them, at the end or on the way, leads out of the root.
        """

    async def astat(self, path: str) -> FileStat | None:
        return self.stat(path)

    @abstractmethod
    def open(self, path: str) -> Reader:
        """Open a regular file. Raises NoSuchFile, IsADirectory, NotARegularFile, PermissionRefused or NotAllowed."""

    async def aopen(self, path: str) -> Reader:
        return self.open(path)

    def list(self, path: str) -> Generator[Entry, None, None]:
        """Yield the entries of the directory, in any order, without `.` and `..`; only a part of them is in memory.

        Requests are made as the entries are consumed, and raise then: NoSuchFile if there is no directory, always so on
        a host without directories; NotAllowed or PermissionRefused. Between two entries the connection may be used for
        anything else. Entries that are created or removed meanwhile may be listed or not. A caller that stops early
        closes the generator.
        """
        raise NoSuchFile(f"{self.named(path)} is no directory")

    def realpath(self, path: str) -> str:
        """Return the path with its links followed, as seen below the root: two paths with the same realpath are the
        same directory. Raises NotAllowed if it leads out of the root. On a host without links it is the path itself.
        """
        return path

    def serves_again(self) -> bool:
        """Return whether another job may use this connection, and forget what was cached for the last one. One that
        costs little to make is not used again."""
        return False

    @abstractmethod
    def abort(self) -> None:
        """Make calls that block in other threads end with ConnectionLost, soon. Any thread may call it at any time."""

    @abstractmethod
    def close(self) -> None:
        """Close the connection and release all resources. Raises nothing; may be called twice."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Files(Source):
    """A connection to a host where files can be read and written."""

    #: whether a file can be created only if its size is known, else with SizeUnknown
    needs_size: ClassVar[bool] = False
    #: whether a directory can be renamed with its content, else with NotAtomic
    renames_directories: ClassVar[bool] = True

    @property
    def replaces(self) -> bool:
        """Whether a file can replace another one; if this is False, `replace` raises CannotReplace."""
        return True

    @abstractmethod
    def create(self, path: str, new_file: NewFile) -> Writer:
        """Create a file that must not exist, without following links. Its directory must exist."""

    async def acreate(self, path: str, new_file: NewFile) -> Writer:
        return self.create(path, new_file)

    async def areopen(self, path: str, size_bytes: int) -> Reader:
        """Open a file that was created and committed with this size, to read it back."""
        return self.open(path)

    @abstractmethod
    def resume(self, path: str, new_file: NewFile, offset_bytes: int) -> Writer:
        """Open a file that `create` has made, to write from the offset on. Raises NoSuchFile or NotARegularFile.

        Overwrites and never truncates: an older writer may still write the same bytes.
        """

    @abstractmethod
    def make_directories(self, path: str) -> None:
        """Create the directory and the missing ones above it, with `directory_mode`; one that exists is fine.

        Does not create the root: raises NoRoot if it is missing. May cache which directories exist, until the host
        refuses an operation in one.
        """

    @abstractmethod
    def set_attributes(self, path: str, mode: int | None, modified_at: float | None) -> None:
        """Set the permission bits and the modification time of a directory, each unless it is None, if the host can.

        Creating, renaming or removing an entry afterwards changes the time again. NotAllowed if the path itself is a
        link, which is not followed.
        """

    @abstractmethod
    def remove_directory(self, path: str) -> None:
        """Remove an empty directory; a missing one is fine. Raises a failure if it is not empty.

        Never removes the root. On an object store this does nothing: a directory ends with its last object.
        """

    @abstractmethod
    def lock_name(self, path: str) -> str:
        """Return the name of the file for every registered host and root that reaches it: address, port and realpath.

        Its directory must exist; a link at the path itself is not followed, since a rename replaces it.
        """

    @abstractmethod
    def replace(self, path: str, final_path: str) -> None:
        """Rename the file to `final_path`, atomically replacing another file.

        Raises CannotReplace if the host cannot; IsADirectory if a directory is there.
        """

    async def areplace(self, path: str, final_path: str) -> None:
        self.replace(path, final_path)

    @abstractmethod
    def rename(self, path: str, free_path: str) -> None:
        """Rename a file, or a directory with its content, to a free path; never overwrites if the host can prevent it.

        Raises NoSuchFile if it is missing, also if another attempt has renamed it; NotAtomic for a directory if the
        host can only rename files.
        """

    async def arename(self, path: str, free_path: str) -> None:
        self.rename(path, free_path)

    @abstractmethod
    def remove(self, path: str) -> None:
        """Remove a file or a link; a missing one is fine."""

    async def aremove(self, path: str) -> None:
        self.remove(path)

    def sha256(self, path: str, first_bytes: int | None = None) -> str | None:
        """Return the SHA-256 of the file or of its first bytes, in hexadecimal, computed on the host; None if the host
        does not compute it.

        It can only confirm: in a chroot the command may read another file, so that a difference proves nothing.
        """
        return None

    def may_write(self, path: str) -> bool | None:
        """Return whether this user may create files in the directory, without creating one; None if the host does not
        show it. A hint: in a chroot a command may see another directory."""
        return None

    def free_bytes(self, path: str) -> int | None:
        """Return how many bytes this user may still write in the directory, or None if the host does not report it."""
        return None
