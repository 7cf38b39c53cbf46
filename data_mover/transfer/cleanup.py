"""Files beside the final one: out of the way again, and off the record."""

from contextlib import closing, suppress
from posixpath import join

from data_mover.backends.api import Files, Kind
from data_mover.domain.errors import ConnectionLost, MoveFailure, PermissionRefused, Stalled
from data_mover.transfer.recorder import Watch
from data_mover.transfer.tasks import Leftover


def clear(files: Files, leftover: Leftover) -> None:
    """Removes the file, or the directory with all that is in it; an old file that was put aside goes back, unless
    another one is in its place."""
    if leftover.kind is Kind.DIRECTORY:
        _remove_tree(files, leftover.path)
    elif leftover.restores is None or files.facts(leftover.restores) is not None:
        _remove(files, leftover.path)
    elif files.facts(leftover.path) is not None:
        files.rename(leftover.path, leftover.restores)


def _remove_tree(files: Files, path: str) -> None:
    """A directory that is not there is fine. It may have the mode of one that nobody may write to."""
    if files.facts(path) is None:
        return
    with suppress(PermissionRefused):
        files.finish_directory(path, 0o700, None)
    with closing(files.entries(path)) as entries:
        for entry in entries:
            if entry.kind is Kind.DIRECTORY:
                _remove_tree(files, join(path, entry.name))
            else:
                files.remove(join(path, entry.name))
    files.remove_directory(path)


def settle(destination: Files, leftover: Leftover, watch: Watch) -> None:
    """Clears it, and takes it off the record."""
    clear(destination, leftover)
    watch.gone(leftover)


def _remove(files: Files, path: str) -> None:
    """A disk that is read-only lets nobody remove even what was never there."""
    try:
        files.remove(path)
    except (ConnectionLost, Stalled):
        raise
    except MoveFailure:
        if files.facts(path) is not None:
            raise
