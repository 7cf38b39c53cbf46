"""Directories that the worker sees as its own."""

import errno
import os
import stat
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager, suppress
from posixpath import basename, dirname
from types import TracebackType
from typing import Self

from data_mover.backends.api import BLOCK_BYTES, Block, Entry, Files, FileStat, NewFile, Reader, Writer
from data_mover.backends.futures import Line, complete
from data_mover.backends.local.root import LeadsOut, Root, named, rename_to_free
from data_mover.backends.local.syncs import Syncs
from data_mover.backends.options import HostOptions
from data_mover.domain.errors import (
    HostFailed,
    IsADirectory,
    MoveFailure,
    NoRoot,
    NoSpace,
    NoSuchFile,
    NotAllowed,
    NotARegularFile,
    PermissionRefused,
    SourceChanged,
    VerifyFailed,
)
from data_mover.domain.states import FileKind

_FAILURES: dict[int, type[MoveFailure]] = {
    errno.ENOENT: NoSuchFile,
    errno.ENOTDIR: NoSuchFile,
    errno.EISDIR: IsADirectory,
    errno.ELOOP: NotARegularFile,
    errno.EACCES: PermissionRefused,
    errno.EPERM: PermissionRefused,
    errno.EROFS: PermissionRefused,
    errno.EEXIST: PermissionRefused,
    errno.ENAMETOOLONG: PermissionRefused,
    errno.ENOSPC: NoSpace,
    errno.EDQUOT: NoSpace,
}


class LocalFiles(Files):
    """The files below a directory of this machine. It has no `sha256`: files are read back."""

    def __init__(self, host: str, options: HostOptions) -> None:
        self.host = host
        self.options = options
        self._root = Root(options.root)
        self._syncs = Syncs()

    @classmethod
    def connect(cls, host: str, options: HostOptions) -> Self:
        return cls(host, options)

    def settling_seconds(self, file_stat: FileStat) -> float:
        """Return a tick of the kernel's clock with a margin, unless the disk may report whole seconds."""
        return 2.0 if file_stat.modified_at == int(file_stat.modified_at or 0) else 0.02

    @property
    def lines(self) -> Sequence[Line]:
        return (self._syncs,)

    @property
    def most_files(self) -> None:
        """No limit: local files are fast."""

    def stat(self, path: str) -> FileStat | None:
        try:
            with self._mapping_errors(path), self._opened(path, os.O_PATH) as descriptor:
                return _stat(os.fstat(descriptor))
        except NoSuchFile:
            return self._dangling(path)

    def open(self, path: str) -> Reader:
        with self._mapping_errors(path):
            descriptor = self._root.open(path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                return _LocalReader(self, path, descriptor)
            except BaseException:
                os.close(descriptor)
                raise

    def list(self, path: str) -> Generator[Entry, None, None]:
        with self._mapping_errors(path), self._opened_directory(path) as descriptor, os.scandir(descriptor) as found:
            yield from filter(None, map(_entry, found))

    def realpath(self, path: str) -> str:
        with self._mapping_errors(path):
            return self._root.realpath(path).removeprefix(self._root.path.rstrip("/")) or "/"

    def create(self, path: str, new_file: NewFile) -> Writer:
        with self._mapping_errors(path), self._root.above(path) as (directory, name):
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            return _LocalWriter(self, path, new_file, os.open(name, flags, 0o600, dir_fd=directory))

    def resume(self, path: str, new_file: NewFile, offset_bytes: int) -> Writer:
        with self._mapping_errors(path), self._root.above(path) as (directory, name):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_CLOEXEC
            descriptor = os.open(name, flags, dir_fd=directory)
            try:
                _require_file(_stat(os.fstat(descriptor)), f"{self.host}:{path}")
                os.lseek(descriptor, offset_bytes, os.SEEK_SET)
                return _LocalWriter(self, path, new_file, descriptor, offset_bytes)
            except BaseException:
                os.close(descriptor)
                raise

    def make_directories(self, path: str) -> None:
        """Create the missing directories. Looks upwards: most of those above exist."""
        root = self.stat("/")
        if root is None or root.kind is not FileKind.DIRECTORY:
            raise NoRoot(self.host)
        missing = []
        while path != "/" and not self._is_directory(path):
            missing.append(path)
            path = dirname(path)
        for each in reversed(missing):
            self._make_directory(each)

    def set_attributes(self, path: str, mode: int | None, modified_at: float | None) -> None:
        with self._mapping_errors(path), self._root.directory_itself(path) as descriptor:
            if mode is not None:
                os.chmod(named(descriptor), mode)
            if modified_at is not None:
                os.utime(named(descriptor), (modified_at, modified_at))

    def remove_directory(self, path: str) -> None:
        if path == "/":
            raise PermissionRefused(f"{self.host}:{path}")
        with self._mapping_errors(path), suppress(FileNotFoundError), self._root.above(path) as (directory, name):
            os.rmdir(name, dir_fd=directory)

    def lock_name(self, path: str) -> str:
        with self._mapping_errors(path):
            return f"local:{self._root.realpath(dirname(path)).rstrip('/')}/{basename(path)}"

    def replace(self, path: str, final_path: str) -> None:
        complete(self.areplace(path, final_path))

    async def areplace(self, path: str, final_path: str) -> None:
        with (
            self._mapping_errors(final_path),
            self._root.above(path) as (source, name),
            self._root.above(final_path) as (target, final_name),
        ):
            os.replace(name, final_name, src_dir_fd=source, dst_dir_fd=target)
            synced = self._syncs.directory(target)
        await synced

    def rename(self, path: str, free_path: str) -> None:
        complete(self.arename(path, free_path))

    async def arename(self, path: str, free_path: str) -> None:
        with (
            self._mapping_errors(free_path),
            self._root.above(path) as (source, name),
            self._root.above(free_path) as (target, free_name),
        ):
            rename_to_free(source, name, target, free_name)
            synced = self._syncs.directory(target)
        await synced

    def remove(self, path: str) -> None:
        with self._mapping_errors(path), suppress(FileNotFoundError), self._root.above(path) as (directory, name):
            os.unlink(name, dir_fd=directory)

    def may_write(self, path: str) -> bool | None:
        with self._mapping_errors(path), self._opened(path, os.O_PATH) as descriptor:
            return os.access(named(descriptor), os.W_OK | os.X_OK, effective_ids=True)

    def free_bytes(self, path: str) -> int | None:
        with self._mapping_errors(path), self._opened(path, os.O_PATH) as descriptor:
            status = os.statvfs(named(descriptor))
        return status.f_bavail * status.f_frsize

    def abort(self) -> None:
        """Do nothing: a system call that hangs on a dead disk cannot be ended; the lease expires instead."""

    def close(self) -> None:
        """Do nothing: no resources are kept between calls."""

    def _make_directory(self, path: str) -> None:
        with self._mapping_errors(path), self._root.above(path) as (directory, name), suppress(FileExistsError):
            os.mkdir(name, self.options.directory_mode, dir_fd=directory)
            made = os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            try:
                os.chmod(named(made), self.options.directory_mode)
            finally:
                os.close(made)
        if not self._is_directory(path):
            raise NoSuchFile(f"{self.host}:{path} is no directory")

    def _is_directory(self, path: str) -> bool:
        with self._mapping_errors(path), suppress(FileNotFoundError, NotADirectoryError), self._root.directory(path):
            return True
        return False

    @contextmanager
    def _opened(self, path: str, flags: int) -> Iterator[int]:
        descriptor = self._root.open(path, flags)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def _opened_directory(self, path: str) -> Iterator[int]:
        """Yield a descriptor. Raises NoSuchFile if there is no directory."""
        try:
            with self._opened(path, os.O_RDONLY | os.O_DIRECTORY) as descriptor:
                yield descriptor
        except NotADirectoryError as error:
            raise NoSuchFile(f"{self.host}:{path} is no directory") from error

    def _dangling(self, path: str) -> FileStat | None:
        """Return the stat of a link that leads nowhere."""
        gone = suppress(FileNotFoundError, NotADirectoryError)
        with self._mapping_errors(path), gone, self._root.above(path) as (directory, name):
            return _stat(os.stat(name, dir_fd=directory, follow_symlinks=False))
        return None

    def _mapping_errors(self, path: str) -> "_ErrorMapping":
        return _ErrorMapping(self.host, path)


class _ErrorMapping:
    """Maps OSError to a failure that names host and path. It is used for every call: a class costs a third of a
    generator."""

    __slots__ = ("_host", "_path")

    def __init__(self, host: str, path: str) -> None:
        self._host = host
        self._path = path

    def __enter__(self) -> None:
        """Do nothing."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, LeadsOut):
            raise NotAllowed(f"{self._host}:{self._path}") from error
        if isinstance(error, OSError):
            failure = _FAILURES.get(error.errno or 0, HostFailed)
            raise failure(f"{self._host}:{self._path}") from error


class _LocalReader(Reader):
    def __init__(self, files: LocalFiles, path: str, descriptor: int) -> None:
        self.stat = _stat(os.fstat(descriptor))
        _require_file(self.stat, f"{files.host}:{path}")
        self._size_bytes = self.stat.size_bytes or 0
        self._files = files
        self._path = path
        self._descriptor = descriptor

    def blocks(self, offset_bytes: int = 0) -> Iterator[Block]:
        offset = offset_bytes
        while offset < self._size_bytes:
            with self._files._mapping_errors(self._path):
                block = os.pread(self._descriptor, min(BLOCK_BYTES, self._size_bytes - offset), offset)
            if not block:
                return
            yield block
            offset += len(block)
        self._require_end()

    def close(self) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _require_end(self) -> None:
        """Raise SourceChanged if there are more bytes: files in `/proc` report that they are empty."""
        with self._files._mapping_errors(self._path):
            more = os.pread(self._descriptor, 1, self._size_bytes)
        if more:
            raise SourceChanged(f"{self._files.host}:{self._path}")


class _LocalWriter(Writer):
    def __init__(self, files: LocalFiles, path: str, new_file: NewFile, descriptor: int, offset_bytes: int = 0) -> None:
        self.acknowledged_bytes = offset_bytes
        self._files = files
        self._path = path
        self._new_file = new_file
        self._descriptor = descriptor

    def write(self, block: Block) -> None:
        rest = memoryview(block)
        with self._files._mapping_errors(self._path):
            while rest:
                count = os.write(self._descriptor, rest)
                rest = rest[count:]
                self.acknowledged_bytes += count

    def sync(self) -> None:
        with self._files._mapping_errors(self._path):
            os.fsync(self._descriptor)
        self.synced_bytes = self.acknowledged_bytes

    def commit(self) -> None:
        complete(self.acommit())

    async def acommit(self) -> None:
        with self._files._mapping_errors(self._path):
            os.fchmod(self._descriptor, self._new_file.mode)
            os.utime(self._descriptor, (self._new_file.modified_at, self._new_file.modified_at))
            self._require_size(os.fstat(self._descriptor).st_size)
            await self._files._syncs.file(self._descriptor)
            descriptor, self._descriptor = self._descriptor, -1
            os.close(descriptor)

    def close(self) -> None:
        if self._descriptor >= 0:
            with suppress(OSError):
                os.close(self._descriptor)
            self._descriptor = -1

    def _require_size(self, found_bytes: int) -> None:
        expected = self.acknowledged_bytes if self._new_file.size_bytes is None else self._new_file.size_bytes
        if found_bytes != expected:
            raise VerifyFailed(
                f"{self._files.host}:{self._path}: {expected} bytes were expected, {found_bytes} are there"
            )


def _stat(status: os.stat_result) -> FileStat:
    kinds = {stat.S_IFREG: FileKind.FILE, stat.S_IFDIR: FileKind.DIRECTORY}
    kind = kinds.get(stat.S_IFMT(status.st_mode), FileKind.OTHER)
    return FileStat(kind, status.st_size, status.st_mtime, mode=status.st_mode & 0o777)


def _entry(found: os.DirEntry[str]) -> Entry | None:
    """Return the entry, None if it no longer exists."""
    with suppress(FileNotFoundError):
        status = found.stat(follow_symlinks=False)
        return Entry.of(found.name, status.st_mode, status.st_size, status.st_mtime)
    return None


def _require_file(file_stat: FileStat, name: str) -> None:
    if file_stat.kind is FileKind.DIRECTORY:
        raise IsADirectory(name)
    if file_stat.kind is not FileKind.FILE:
        raise NotARegularFile(name)
