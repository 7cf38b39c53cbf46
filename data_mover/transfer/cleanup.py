"""Remove temporary files, and the record of them."""

from collections.abc import Callable
from contextlib import closing, suppress
from posixpath import dirname, join

from data_mover.backends.api import Files
from data_mover.backends.futures import complete
from data_mover.domain.errors import (
    BadName,
    ConnectionLost,
    HostFailed,
    MoveFailure,
    NoSuchFile,
    PermissionRefused,
    Stalled,
)
from data_mover.domain.locations import MAX_PATH_BYTES
from data_mover.domain.states import FileKind
from data_mover.transfer.recorder import Recorder
from data_mover.transfer.tasks import TemporaryFile

#: no directory that a move has made is deeper, since each has two bytes of its path at least, and the name of a folder
#: being built is one more
DEEPEST = MAX_PATH_BYTES // 2 + 1


def clear(files: Files, temporary_file: TemporaryFile, alive: Callable[[], None]) -> None:
    """Remove the file, or the directory and all that is in it. An old file that was moved aside is renamed back, unless
    there is another one at its path. `alive` is called for each entry of a directory, and may raise to end it."""
    if temporary_file.kind is FileKind.DIRECTORY:
        _remove_folder(files, temporary_file.path, alive)
    else:
        complete(_clear_file(files, temporary_file))


async def _clear_file(files: Files, temporary_file: TemporaryFile) -> None:
    if temporary_file.restores is None or files.stat(temporary_file.restores) is not None:
        await _remove(files, temporary_file.path)
    elif files.stat(temporary_file.path) is not None:
        files.rename(temporary_file.path, temporary_file.restores)


def _remove_folder(files: Files, top: str, alive: Callable[[], None]) -> None:
    """Remove the directory, if it exists, also if its mode forbids writing. One listing is open at a time, and nothing
    but a path is in memory, however wide or deep a host says that it is. Raises HostFailed where it is too deep."""
    if files.stat(top) is None:
        return
    path = top
    _make_writable(files, path)
    while True:
        alive()
        directory = _remove_files(files, path, alive)
        if directory is None:
            files.remove_directory(path)
            if path == top:
                return
            path = dirname(path)
        elif path.count("/") >= DEEPEST:
            raise HostFailed(f"{files.named(top)}: its directories have no end")
        else:
            path = join(path, directory)
            _make_writable(files, path)


def _make_writable(files: Files, path: str) -> None:
    with suppress(PermissionRefused, NoSuchFile):
        files.set_attributes(path, 0o700, None)


def _remove_files(files: Files, path: str, alive: Callable[[], None]) -> str | None:
    """Remove what is in the directory up to the first directory; return the name of that, if there is one. All may
    vanish meanwhile: a late attempt clears up behind itself."""
    with suppress(NoSuchFile), closing(files.list(path)) as entries:
        for entry in entries:
            alive()
            if entry.kind is FileKind.DIRECTORY:
                return entry.name
            files.remove(join(path, entry.name))
    return None


async def discard(destination: Files, temporary_file: TemporaryFile, recorder: Recorder) -> None:
    """Clear the temporary file, which is no directory, and forget it."""
    await _clear_file(destination, temporary_file)
    await recorder.removed(temporary_file)


async def _remove(files: Files, path: str) -> None:
    """Remove the file. A read-only disk refuses that even for a missing file, which is no failure here; nor is a name
    that the host does not accept, under which no file can exist."""
    try:
        await files.aremove(path)
    except (ConnectionLost, Stalled):
        raise
    except BadName:
        return
    except MoveFailure:
        if files.stat(path) is not None:
            raise
