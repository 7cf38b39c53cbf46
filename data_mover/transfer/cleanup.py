"""Remove temporary files, and the record of them."""

from contextlib import closing, suppress
from posixpath import join

from data_mover.backends.api import Files
from data_mover.backends.futures import complete
from data_mover.domain.errors import BadName, ConnectionLost, MoveFailure, PermissionRefused, Stalled
from data_mover.domain.states import FileKind
from data_mover.transfer.recorder import Recorder
from data_mover.transfer.tasks import TemporaryFile


def clear(files: Files, temporary_file: TemporaryFile) -> None:
    """Block until `aclear` has returned."""
    complete(aclear(files, temporary_file))


async def aclear(files: Files, temporary_file: TemporaryFile) -> None:
    """Remove the file, or the directory and all that is in it. An old file that was moved aside is renamed back, unless
    there is another one at its path."""
    if temporary_file.kind is FileKind.DIRECTORY:
        _remove_recursively(files, temporary_file.path)
    elif temporary_file.restores is None or files.stat(temporary_file.restores) is not None:
        await _remove(files, temporary_file.path)
    elif files.stat(temporary_file.path) is not None:
        files.rename(temporary_file.path, temporary_file.restores)


def _remove_recursively(files: Files, path: str) -> None:
    """Remove the directory, if it exists, also if its mode forbids writing."""
    if files.stat(path) is None:
        return
    with suppress(PermissionRefused):
        files.set_attributes(path, 0o700, None)
    with closing(files.list(path)) as entries:
        for entry in entries:
            if entry.kind is FileKind.DIRECTORY:
                _remove_recursively(files, join(path, entry.name))
            else:
                files.remove(join(path, entry.name))
    files.remove_directory(path)


async def discard(destination: Files, temporary_file: TemporaryFile, recorder: Recorder) -> None:
    """Clear the temporary file, and forget it."""
    await aclear(destination, temporary_file)
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
