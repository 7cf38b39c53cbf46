"""Paths below a root, opened so that no link can lead out of it, not even one that is swapped in meanwhile."""

import ctypes
import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from posixpath import basename, dirname

_SYS_OPENAT2 = 437
_RESOLVE_NO_MAGICLINKS, _RESOLVE_NO_SYMLINKS, _RESOLVE_BENEATH = 0x02, 0x04, 0x08
_RENAME_NOREPLACE = 1
#: how often an open that a concurrent rename has disturbed is tried again
_TRIALS = 10
#: a kernel or a sandbox that does not have the call
_NO_CALL = (errno.ENOSYS, errno.EPERM)
#: a file system that cannot refuse to replace
_NO_FLAG = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)

_libc = ctypes.CDLL(None, use_errno=True)


class LeadsOut(OSError):
    """A path leads out of the root."""


class _How(ctypes.Structure):
    """`struct open_how` of openat2(2)."""

    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


class Root:
    """A directory that all paths are below; `/` is the directory itself. Links are followed as long as they stay below.

    All methods raise OSError as the system does, and LeadsOut.
    """

    def __init__(self, path: str) -> None:
        self.path = os.path.realpath(path)

    def open(self, path: str, flags: int) -> int:
        """Return a descriptor of what the path leads to."""
        root = os.open(self.path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            return _open_beneath(root, _relative(path), flags, _RESOLVE_NO_MAGICLINKS)
        except OSError as error:
            if error.errno != errno.EXDEV and error.errno not in _NO_CALL:
                raise
            return self._open_resolved(root, path, flags)
        finally:
            os.close(root)

    @contextmanager
    def directory(self, path: str) -> Iterator[int]:
        """Yield a descriptor of a directory, for use as `dir_fd`."""
        descriptor = self.open(path, os.O_PATH | os.O_DIRECTORY)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def directory_itself(self, path: str) -> Iterator[int]:
        """Yield a descriptor of a directory as `directory` does. Raises LeadsOut if the last name is a link."""
        with self.above(path) as (above, name):
            descriptor = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=above)
        try:
            mode = os.fstat(descriptor).st_mode
            if stat.S_ISLNK(mode):
                raise LeadsOut(errno.ELOOP, "is a link to another directory", path)
            if not stat.S_ISDIR(mode):
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
            yield descriptor
        finally:
            os.close(descriptor)

    @contextmanager
    def above(self, path: str) -> Iterator[tuple[int, str]]:
        """Yield a descriptor of the path's directory, and the path's last name, which is not followed.

        For `/` that is the directory itself, as `.`.
        """
        with self.directory(dirname(path)) as descriptor:
            yield descriptor, basename(path) or "."

    def realpath(self, path: str) -> str:
        """Return the absolute path without links; of what does not exist, that of the directory above it and the
        name."""
        try:
            descriptor = self.open(path, os.O_PATH)
        except FileNotFoundError:
            if path == "/":
                raise
            return f"{self.realpath(dirname(path)).rstrip('/')}/{basename(path)}"
        try:
            return os.readlink(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)

    def _open_resolved(self, root: int, path: str, flags: int) -> int:
        """Open what a link with an absolute target leads to, or any path where the kernel has no openat2: resolve the
        links by name, and let none be followed afterwards."""
        realpath = os.path.realpath(f"{self.path}/{path}")
        if realpath != self.path and not realpath.startswith(f"{self.path.rstrip('/')}/"):
            raise LeadsOut(errno.EXDEV, "leads out of the root")
        relative = os.path.relpath(realpath, self.path)
        try:
            return _open_beneath(root, relative, flags, _RESOLVE_NO_SYMLINKS)
        except OSError as error:
            if error.errno not in _NO_CALL:
                raise
        return _open_step_by_step(root, relative, flags)


def named(descriptor: int) -> str:
    """Return a path of what the descriptor is of, for calls that take no descriptor opened with O_PATH."""
    return f"/proc/self/fd/{descriptor}"


def rename_to_free(source: int, name: str, target: int, free_name: str) -> None:
    """Rename in one step, between two directories. Raises FileExistsError if the new name exists.

    If the file system cannot refuse to replace, this makes a hard link, which fails then, and removes the old name; for
    a directory, or without hard links, the check and the rename are not atomic.
    """
    if _libc.renameat2(source, os.fsencode(name), target, os.fsencode(free_name), _RENAME_NOREPLACE) == 0:
        return
    number = ctypes.get_errno()
    if number not in _NO_FLAG:
        raise OSError(number, os.strerror(number), free_name)
    try:
        os.link(name, free_name, src_dir_fd=source, dst_dir_fd=target, follow_symlinks=False)
    except FileExistsError:
        raise
    except OSError:
        if os.path.lexists(f"{named(target)}/{free_name}"):
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), free_name) from None
        os.rename(name, free_name, src_dir_fd=source, dst_dir_fd=target)
    else:
        os.unlink(name, dir_fd=source)


def _relative(path: str) -> str:
    return path.strip("/") or "."


def _open_beneath(root: int, relative: str, flags: int, resolve: int) -> int:
    if "\0" in relative:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), relative)
    how = _How(flags | os.O_CLOEXEC, 0, resolve | _RESOLVE_BENEATH)
    for _ in range(_TRIALS):
        name = ctypes.c_char_p(os.fsencode(relative))
        descriptor: int = _libc.syscall(_SYS_OPENAT2, root, name, ctypes.byref(how), ctypes.sizeof(how))
        if descriptor >= 0:
            return descriptor
        number = ctypes.get_errno()
        if number != errno.EAGAIN:
            break
    raise OSError(number, os.strerror(number), relative)


def _open_step_by_step(root: int, relative: str, flags: int) -> int:
    """Follow no link, not even one that is swapped in after its path was resolved."""
    *above, name = relative.split("/")
    directory = os.dup(root)
    try:
        for each in above:
            deeper = os.open(each, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
            os.close(directory)
            directory = deeper
        descriptor = os.open(name, flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=directory)
    finally:
        os.close(directory)
    if stat.S_ISLNK(os.fstat(descriptor).st_mode):  # with O_PATH a link itself is opened
        os.close(descriptor)
        raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), relative)
    return descriptor
