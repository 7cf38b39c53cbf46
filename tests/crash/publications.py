"""A watcher of directories, and of all that appear in them: it sees every change of a final name, and reads what stands
there at that moment."""

import ctypes
import hashlib
import itertools
import os
import select
import struct
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from data_mover.transfer.names import TEMPORARY_PREFIX
from tests.servers.processes import eventually

# <sys/inotify.h>
_MODIFY, _MOVED_FROM, _MOVED_TO, _CREATE, _DELETE, _OVERFLOW = 0x2, 0x40, 0x80, 0x100, 0x200, 0x4000
_IS_DIRECTORY = 0x40000000
_CAME = _MOVED_TO | _CREATE
_HARMED = _MODIFY | _MOVED_FROM | _DELETE
_MARK = ".seen-"
_HEAD = struct.Struct("iIII")


class Publications:
    """What has appeared under each final name since the beginning, and what else happened to those names."""

    def __init__(self, *directories: Path) -> None:
        self._came: dict[Path, list[str]] = defaultdict(list)
        #: by which inode it is known that what appeared in a new directory was seen before its event came
        self._inodes: dict[Path, int] = {}
        self._harm: list[str] = []
        self._marks: set[Path] = set()
        self._numbers = itertools.count()
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._inotify = self._libc.inotify_init1(os.O_CLOEXEC)
        self._roots = directories
        self._directories = {self._watch(directory): directory for directory in directories}
        self._ended, self._end = os.pipe()
        self._thread = threading.Thread(target=self._read_until_the_end)

    def __enter__(self) -> "Publications":
        self._thread.start()
        return self

    def __exit__(self, *error: object) -> None:
        os.write(self._end, b".")
        self._thread.join()
        for descriptor in (self._inotify, self._ended, self._end):
            os.close(descriptor)

    def catch_up(self) -> None:
        """Returns once everything that has happened until now has been seen."""
        for directory in self._roots:
            mark = directory / f"{_MARK}{next(self._numbers)}"
            mark.touch()
            eventually(lambda mark=mark: mark in self._marks, "the watcher has caught up")
            mark.unlink()

    def of(self, path: Path) -> list[str]:
        """The SHA-256 of each file that appeared at the path, in order; of a directory, what was in it by then."""
        return list(self._came[path])

    def harm(self) -> list[str]:
        """What must never happen to a final name: written to, taken away, removed."""
        return list(self._harm)

    def _watch(self, directory: Path) -> int:
        number = self._libc.inotify_add_watch(self._inotify, os.fsencode(directory), _CAME | _HARMED)
        if number < 0:
            raise OSError(ctypes.get_errno(), f"{directory} cannot be watched")
        return int(number)

    def _read_until_the_end(self) -> None:
        while self._ended not in select.select([self._inotify, self._ended], [], [])[0]:
            for directory, event, name in self._events():
                self._note(directory, event, name)

    def _events(self) -> Iterator[tuple[Path, int, str]]:
        buffer = os.read(self._inotify, 2**16)
        while buffer:
            number, event, _, length = _HEAD.unpack_from(buffer)
            name = os.fsdecode(buffer[_HEAD.size : _HEAD.size + length].rstrip(b"\0"))
            buffer = buffer[_HEAD.size + length :]
            if event & _OVERFLOW:
                self._harm.append("the watcher was too slow and has missed something")
            else:
                yield self._directories[number], event, name

    def _note(self, directory: Path, event: int, name: str) -> None:
        if name.startswith(_MARK):
            self._marks.add(directory / name)
        if name.startswith((TEMPORARY_PREFIX, _MARK)):
            return
        if event & _HARMED:
            self._harm.append(f"{directory / name} event {event:#x}")
        else:
            with suppress(FileNotFoundError):
                self._appeared(directory / name)

    def _appeared(self, path: Path) -> None:
        """What is in a directory already has appeared with it."""
        inode = path.stat().st_ino
        if self._inodes.get(path) == inode:
            return
        self._inodes[path] = inode
        if not path.is_dir():
            self._came[path].append(sha256(path))
            return
        self._directories[self._watch(path)] = path
        self._came[path].append(seen_in(path))
        for name in os.listdir(path):
            if not name.startswith(TEMPORARY_PREFIX):
                self._appeared(path / name)


def seen_in(directory: Path) -> str:
    """The names of all directories and files in it, and the SHA-256 of these, as one text."""
    seen = []
    for path in sorted(directory.rglob("*")):
        with suppress(FileNotFoundError):  # a temporary file is gone by now
            seen.append((str(path.relative_to(directory)), "" if path.is_dir() else sha256(path)))
    return hashlib.sha256(repr(seen).encode()).hexdigest()


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
