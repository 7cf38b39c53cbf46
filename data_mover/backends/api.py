"""The contract of a protocol: what the transfer asks of a host, whatever carries the bytes.

Paths are POSIX text, absolute as seen below the host's `root`: `/maps/12.tif` is `<root>/maps/12.tif` on the host.
Sizes are bytes, modification times are seconds since the epoch. Whatever goes wrong is raised as a `MoveFailure` whose
detail names host and path; no exception of a library leaves a backend. No call blocks for longer than the time-outs of
the host's options.

A backend is used by one thread, except for `abort`, which any thread may call.

Verbs that a move needs for each file have an asynchronous side, whose name begins with `a`: a coroutine does the same,
and where the backend can have many requests in flight (`line`) other files go on meanwhile. Elsewhere it blocks.
"""

import stat
from abc import abstractmethod
from collections.abc import AsyncGenerator, Generator, Iterator
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

#: Readers yield blocks of about this size. OpenSSH takes SFTP writes of up to 261 120 bytes (`limits@openssh.com`).
BLOCK_BYTES = 255 * 1024

Block = bytes | memoryview


@dataclass(frozen=True)
class FileStat:
    """What a host says about a path, links followed. A file whose stat stays equal did not change."""

    kind: FileKind
    #: None where the host does not tell it of a file before it ends; only sources do so that are no destinations
    size_bytes: int | None
    #: None where the host does not tell it; only such sources do so
    modified_at: float | None
    #: what the host calls this version of the file, where it has a name for it
    version: str | None = None
    #: the permission bits, None where the host tells none; they may change without the file
    mode: int | None = field(default=None, compare=False)


_KINDS = {stat.S_IFREG: FileKind.FILE, stat.S_IFDIR: FileKind.DIRECTORY, stat.S_IFLNK: FileKind.LINK}


@dataclass(frozen=True)
class Entry:
    """What a directory holds under one name; a link is not followed.

    A name that is not UTF-8 has surrogates for the bytes that are none. What no path can name counts as OTHER: an
    object store may hold the names `.`, `..` and none at all, and a host that lies may tell any.
    """

    name: str
    kind: FileKind
    #: of a file; None of anything else, and where the host does not tell it
    size_bytes: int | None
    #: as in `FileStat`; None where the host leaves it out of a listing
    modified_at: float | None
    #: the permission bits, None where the host tells none
    mode: int | None

    @classmethod
    def of(cls, name: str, mode: int, size_bytes: int | None, modified_at: float | None) -> Self:
        """From what POSIX calls a mode: the kind and the permission bits."""
        kind = _KINDS.get(stat.S_IFMT(mode), FileKind.OTHER) if is_segment(name) else FileKind.OTHER
        return cls(name, kind, size_bytes if kind is FileKind.FILE else None, modified_at, mode & 0o777)


def is_segment(name: str) -> bool:
    """Whether a path can lead to the name."""
    return name not in ("", ".", "..") and "/" not in name


@dataclass(frozen=True)
class NewFile:
    """What a file is to be like once it is written."""

    #: None if the source does not tell it: then as many bytes as are written
    size_bytes: int | None
    mode: int
    modified_at: float


class Reader(AbstractContextManager["Reader"]):
    """An open source file."""

    #: as the host reported when the file was opened
    stat: FileStat
    #: what the host calls the file, where that is not the last segment of its path
    name: str | None = None

    @abstractmethod
    def blocks(self, offset_bytes: int = 0) -> Iterator[Block]:
        """The bytes from the offset to the size in `stat`, in order and without a gap. May be called once.

        A file that has become shorter ends early; one that has more than `stat` says ends there, with SourceChanged
        where the host can tell.
        """

    async def ablocks(self, offset_bytes: int = 0) -> AsyncGenerator[Block, None]:
        for block in self.blocks(offset_bytes):
            yield block

    @abstractmethod
    def close(self) -> None:
        """Gives the handle back. Raises nothing: whoever reads has checked the bytes."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Writer(AbstractContextManager["Writer"]):
    """A file that is being written, in order: a new one, or one that is resumed."""

    #: how many bytes the host has acknowledged, those among them that were there before
    acknowledged_bytes: int = 0
    #: how many bytes from the first one on the host has brought to disk since it was asked by `sync`
    synced_bytes: int = 0

    @abstractmethod
    def write(self, block: Block) -> None:
        """Sends the next bytes. May return before the host has them, and raise the failure of an earlier one."""

    async def awrite(self, block: Block) -> None:
        self.write(block)

    @abstractmethod
    def sync(self) -> None:
        """Asks for what was written so far to be brought to disk; `synced_bytes` tells later that it is there.

        While it is not, `sync` is not asked again. A host that has no way to bring a file to disk counts what it has
        acknowledged; one that does not even tell what it has never counts anything.
        """

    def wait_for_sync(self) -> None:
        """Blocks until what `sync` was asked for is on disk, where the copy could run far ahead of that; not longer
        than the host may take. A host that does not answer is not waited for again."""

    @abstractmethod
    def commit(self) -> None:
        """Returns once the host has acknowledged every byte, has them on disk where it offers fsync, tells the size
        that was announced, has set mode and modification time, and has closed the file without complaint. Else raises.
        """

    async def acommit(self) -> None:
        self.commit()

    @abstractmethod
    def close(self) -> None:
        """Gives everything back, after `commit` or instead of it. Raises nothing; the file stays where it is."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Source(AbstractContextManager["Source"]):
    """A connection to a host from which files can be read."""

    #: the host's name in the registry
    host: str
    options: HostOptions
    #: whether there is anything but files
    has_directories: ClassVar[bool] = True
    #: for so long after a write, by our clock, another one may leave the same modification time: most hosts tell whole
    #: seconds, and their clocks may be a second off
    settling_seconds: ClassVar[float] = 2.0

    @property
    def line(self) -> Line | None:
        """Where requests of many files are in flight, if the backend can have them."""
        return None

    @property
    def most_files(self) -> int | None:
        """How many files may be under way at a time, or None if that makes no difference to this end."""
        return 16

    @classmethod
    @abstractmethod
    def connect(cls, host: str, options: HostOptions) -> Self:
        """Connects and logs in. HostUnreachable, HostKeyMismatch, CertificateRefused, LoginRefused."""

    def named(self, path: str) -> str:
        """Host and path, as failures tell them to everybody."""
        return str(Endpoint(self.host, path))

    def name(self, path: str) -> str:
        """What the file or directory is called, wherever it goes."""
        return basename(path.rstrip("/"))

    @abstractmethod
    def stat(self, path: str) -> FileStat | None:
        """What stands at the path, or None where there is nothing.

        Links are followed; a path that leads out of the root by one, as a whole or on the way, is NotAllowed.
        """

    async def astat(self, path: str) -> FileStat | None:
        return self.stat(path)

    @abstractmethod
    def open(self, path: str) -> Reader:
        """Opens a regular file. NoSuchFile, IsADirectory, NotARegularFile, PermissionRefused, NotAllowed."""

    async def aopen(self, path: str) -> Reader:
        return self.open(path)

    def list(self, path: str) -> Generator[Entry, None, None]:
        """What the directory holds, in any order, without `.` and `..`; never more than a part of it is in memory.

        The host is asked as the entries are taken, and fails then: NoSuchFile if there is nothing or no directory, as
        ever on a host that shows none; NotAllowed, PermissionRefused. Between two entries the connection may be used
        for anything else. What comes or goes meanwhile may be listed or not. A caller that stops early closes it.
        """
        raise NoSuchFile(f"{self.named(path)} is no directory")

    def realpath(self, path: str) -> str:
        """The path of what is there with its links followed, as seen below the root: two paths of which it is the same
        are the same directory. NotAllowed where it leads out. A host without links has one path for each.
        """
        return path

    @abstractmethod
    def abort(self) -> None:
        """Makes calls that block in other threads end with ConnectionLost, soon; any thread may call it at any time."""

    @abstractmethod
    def close(self) -> None:
        """Ends the connection and gives everything back. Raises nothing; may be called twice."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class Files(Source):
    """A connection to a host where files can be read and written."""

    #: whether a file can be created only if its size is known; SizeUnknown if it is not
    needs_size: ClassVar[bool] = False
    #: whether a directory can be renamed with all that is in it; NotAtomic if it cannot
    renames_directories: ClassVar[bool] = True

    @property
    def replaces(self) -> bool:
        """Whether a file can replace another one; where this is False, `replace` raises CannotReplace."""
        return True

    @abstractmethod
    def create(self, path: str, new_file: NewFile) -> Writer:
        """Creates a file that must not exist, without following links. Its directory must exist."""

    async def acreate(self, path: str, new_file: NewFile) -> Writer:
        return self.create(path, new_file)

    async def areopen(self, path: str, size_bytes: int) -> Reader:
        """Opens a file that `create` has made and that has been committed with this size, to be read back."""
        return self.open(path)

    @abstractmethod
    def resume(self, path: str, new_file: NewFile, offset_bytes: int) -> Writer:
        """Opens a file that `create` has made, to be written from the offset on. NoSuchFile, NotARegularFile.

        What is there is overwritten and never cut off: an older writer may still write the same bytes.
        """

    @abstractmethod
    def make_directories(self, path: str) -> None:
        """Creates the directory and the missing ones above it, with `directory_mode`; one that exists is fine.

        The root itself is not created: where it is missing, NoRoot. What was found or made once may be believed to
        be there, until the host refuses something in it.
        """

    @abstractmethod
    def set_attributes(self, path: str, mode: int | None, modified_at: float | None) -> None:
        """Gives a directory its permission bits and its modification time, each unless it is None, where the host can.

        Whatever is made, renamed or removed in it afterwards changes the time again.
        """

    @abstractmethod
    def remove_directory(self, path: str) -> None:
        """Removes an empty directory; one that is not there is fine. One that holds something is a failure, and stays.

        The root is never removed. An object store has nothing to remove: its directories end with what they hold.
        """

    @abstractmethod
    def lock_name(self, path: str) -> str:
        """What the file is called by whichever registered host and root it is reached: address, port and real path.

        Its directory must exist; a link at the path itself is not followed, for renaming replaces it.
        """

    @abstractmethod
    def replace(self, path: str, final_path: str) -> None:
        """Puts the file at `final_path`, atomically, and replaces what is there.

        CannotReplace where the host has no way to; IsADirectory where a directory stands there.
        """

    async def areplace(self, path: str, final_path: str) -> None:
        self.replace(path, final_path)

    @abstractmethod
    def rename(self, path: str, free_path: str) -> None:
        """Renames a file or a directory, with all that it holds, to a path where nothing stands; never overwrites where
        the host can help it.

        NoSuchFile where there is none, also if somebody else renamed it meanwhile. NotAtomic for a directory where only
        files can be renamed.
        """

    async def arename(self, path: str, free_path: str) -> None:
        self.rename(path, free_path)

    @abstractmethod
    def remove(self, path: str) -> None:
        """Removes a file or a link; one that is not there is fine."""

    async def aremove(self, path: str) -> None:
        self.remove(path)

    def sha256(self, path: str, first_bytes: int | None = None) -> str | None:
        """The SHA-256 of the file or of its first bytes, in hexadecimal, computed on the host, or None where the host
        does not compute it.

        A hint that can confirm: a chroot may show the command another file, so that a difference proves nothing.
        """
        return None

    def may_write(self, path: str) -> bool | None:
        """Whether this user may make files in the directory, found out without making one; None where the host does not
        tell. A hint: a chroot may show a command another directory."""
        return None

    def free_bytes(self, path: str) -> int | None:
        """How much this user may still write in the directory, or None where the host does not tell."""
        return None
