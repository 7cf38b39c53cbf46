"""Files beside the final one: out of the way again, and off the record."""

from contextlib import closing, suppress
from posixpath import join

from data_mover.backends.api import Files
from data_mover.backends.futures import complete
from data_mover.domain.errors import ConnectionLost, MoveFailure, PermissionRefused, Stalled
from data_mover.domain.states import FileKind
from data_mover.transfer.recorder import Recorder
from data_mover.transfer.tasks import TemporaryFile


def clear(files: Files, temporary_file: TemporaryFile) -> None:
    """As `aclear`, blocking."""
    complete(aclear(files, temporary_file))


async def aclear(files: Files, temporary_file: TemporaryFile) -> None:
    """Removes the file, or the directory with all that is in it; an old file that was put aside goes back, unless
    another one is in its place."""
    if temporary_file.kind is FileKind.DIRECTORY:
        _remove_tree(files, temporary_file.path)
    elif temporary_file.restores is None or files.stat(temporary_file.restores) is not None:
        await _remove(files, temporary_file.path)
    elif files.stat(temporary_file.path) is not None:
        files.rename(temporary_file.path, temporary_file.restores)


def _remove_tree(files: Files, path: str) -> None:
    """A directory that is not there is fine. It may have the mode of one that nobody may write to."""
    if files.stat(path) is None:
        return
    with suppress(PermissionRefused):
        files.set_attributes(path, 0o700, None)
    with closing(files.list(path)) as entries:
        for entry in entries:
            if entry.kind is FileKind.DIRECTORY:
                _remove_tree(files, join(path, entry.name))
            else:
                files.remove(join(path, entry.name))
    files.remove_directory(path)


async def settle(destination: Files, temporary_file: TemporaryFile, recorder: Recorder) -> None:
    """Clears it, and takes it off the record."""
    await aclear(destination, temporary_file)
    await recorder.gone(temporary_file)


async def _remove(files: Files, path: str) -> None:
    """A disk that is read-only lets nobody remove even what was never there."""
    try:
        await files.aremove(path)
    except (ConnectionLost, Stalled):
        raise
    except MoveFailure:
        if files.stat(path) is not None:
            raise
