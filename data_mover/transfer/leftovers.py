"""Files beside the final one: out of the way again, and off the record."""

from data_mover.errors import ConnectionLost, MoveFailure, Stalled
from data_mover.protocols.base import Files
from data_mover.transfer.order import Leftover
from data_mover.transfer.watch import Watch


def clear(files: Files, leftover: Leftover) -> None:
    """Removes the file; an old file that was put aside goes back, unless another one is in its place."""
    if leftover.restores is None or files.facts(leftover.restores) is not None:
        _remove(files, leftover.path)
    elif files.facts(leftover.path) is not None:
        files.rename(leftover.path, leftover.restores)


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
