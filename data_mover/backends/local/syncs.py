"""Syncs gathered: what many files in flight wait for is written to the disk together."""

import os
import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress

from data_mover.backends.futures import Future, Line

#: a disk that needs longer than this for a sync is given several at once, which it writes together
SLOW_SECONDS = 0.0002
#: how many syncs at once
AT_ONCE = 16


class Synced(Future):
    """The sync of a file or a directory, done by the next `flush`."""

    __slots__ = ("_syncs",)

    def __init__(self, syncs: "Syncs") -> None:
        super().__init__()
        self._syncs = syncs

    def wait(self) -> None:
        self._syncs.flush()


class Syncs(Line):
    """Gathers syncs until no file can go further without one. Blocks then until the disk has all."""

    def __init__(self) -> None:
        self._files: list[tuple[int, Synced]] = []
        #: of each directory a descriptor, and who waits for it
        self._directories: dict[tuple[int, int], tuple[int, list[Synced]]] = {}

    def file(self, descriptor: int) -> Synced:
        """Sync the file. The caller keeps the descriptor open until that is done. Awaiting raises OSError."""
        synced = Synced(self)
        self._files.append((descriptor, synced))
        return synced

    def directory(self, descriptor: int) -> Synced:
        """Sync the directory of a descriptor that may be opened with O_PATH. Awaiting raises nothing: what was renamed
        in it must not look as if it were not."""
        synced, status = Synced(self), os.fstat(descriptor)
        key = status.st_dev, status.st_ino
        if key not in self._directories:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
            try:
                self._directories[key] = os.open(".", flags, dir_fd=descriptor), []
            except OSError:  # it may not be read
                synced.done()
                return synced
        self._directories[key][1].append(synced)
        return synced

    @property
    def is_expecting(self) -> bool:
        return False

    @property
    def timeout_seconds(self) -> None:
        """None: a system call that hangs cannot be ended."""

    def listen(self, heard: Callable[[], None]) -> None:
        """Do nothing: `flush` waits for the disk."""

    def flush(self) -> None:
        files, self._files = self._files, []
        errors = _sync([descriptor for descriptor, _ in files])
        for (_, synced), error in zip(files, errors, strict=True):
            synced.done(error)
        directories, self._directories = self._directories, {}
        _sync([descriptor for descriptor, _ in directories.values()])
        for descriptor, waiting in directories.values():
            with suppress(OSError):
                os.close(descriptor)
            for synced in waiting:
                synced.done()

    def take_in(self) -> None:
        """Do nothing: nothing is received."""

    def break_off(self, error: BaseException) -> None:
        """Do nothing: nothing is expected."""


def _sync(descriptors: Sequence[int]) -> list[OSError | None]:
    """Sync all: one after the other while the disk is quick, else the rest at once. Return the error of each."""
    errors = list[OSError | None]()
    for number, descriptor in enumerate(descriptors):
        began = time.monotonic()
        errors.append(_error_of_sync(descriptor))
        rest = descriptors[number + 1 :]
        if rest and time.monotonic() - began > SLOW_SECONDS:
            with ThreadPoolExecutor(min(len(rest), AT_ONCE), "sync") as pool:
                return errors + list(pool.map(_error_of_sync, rest))
    return errors


def _error_of_sync(descriptor: int) -> OSError | None:
    try:
        os.fsync(descriptor)
    except OSError as error:
        return error
    return None
