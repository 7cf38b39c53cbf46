"""Giving a proven file its final name, once and for all, and finding out whether a dead attempt had done so."""

from contextlib import suppress

from data_mover.errors import CannotReplace, ConnectionLost, MoveFailure, NoSuchFile, Stalled, UnknownOutcome
from data_mover.protocols.base import Files
from data_mover.transfer.order import Leftover, Order
from data_mover.transfer.plan import aside_path, temporary_path
from data_mover.transfer.verify import read_digest
from data_mover.transfer.watch import Proof, Watch


def publish(order: Order, destination: Files, temporary: Leftover, final: str, proof: Proof, watch: Watch) -> None:
    """Gives the temporary file its final name, in the place of what is there.

    Where the connection fails nobody knows whether it happened: mark and records stay, and the next attempt looks.
    """
    watch.publishing(proof)
    try:
        _replace(order, destination, temporary.path, final, watch)
    except (ConnectionLost, Stalled):
        raise
    except MoveFailure:
        watch.not_published()
        _settle(destination, temporary, watch)
        raise
    watch.gone(temporary)


def published_by_predecessor(order: Order, destination: Files, watch: Watch) -> bool:
    """Clears what earlier attempts have left, and tells whether one of them has published.

    With the mark of an attempt that was about to publish, and no temporary file, the final file decides:
    UnknownOutcome if it is another one.
    """
    marked = order.publishing_sha256 is not None and order.path is not None
    fenced = marked and _fence(order, destination, watch)
    for leftover in order.leftovers:
        _settle(destination, leftover, watch)
    if not marked or fenced:
        return False
    return _require_published(order, destination, watch)


def clear(files: Files, leftover: Leftover) -> None:
    """Removes the file; an old file that was put aside goes back, unless another one is in its place."""
    if leftover.restores is None or files.facts(leftover.restores) is not None:
        files.remove(leftover.path)
    elif files.facts(leftover.path) is not None:
        files.rename(leftover.path, leftover.restores)


def _fence(order: Order, destination: Files, watch: Watch) -> bool:
    """Takes the temporary files away from attempts that may still be about to publish them: whoever renames one first
    has it. True if one was taken, so that nothing was published and nothing will be.
    """
    taken = [_take(order, destination, leftover, watch) for leftover in order.leftovers if leftover.restores is None]
    if not any(taken):
        return False
    watch.not_published()
    for own in filter(None, taken):
        _settle(destination, own, watch)
    return True


def _take(order: Order, destination: Files, leftover: Leftover, watch: Watch) -> Leftover | None:
    """The file under a name of this attempt, which is on record first; None if it was not there any more."""
    own = Leftover(temporary_path(leftover.path, order.job_id, order.file_number, order.attempt))
    watch.leaving(own)
    try:
        destination.rename(leftover.path, own.path)
    except NoSuchFile:
        _settle(destination, own, watch)
        return None
    return own


def _require_published(order: Order, destination: Files, watch: Watch) -> bool:
    final = order.path or ""
    if destination.facts(final) is None or read_digest(destination, final, watch) != order.publishing_sha256:
        raise UnknownOutcome(f"{destination.host}:{final}")
    return True


def _replace(order: Order, destination: Files, temporary: str, final: str, watch: Watch) -> None:
    try:
        destination.replace(temporary, final)
    except CannotReplace:
        if destination.options.replace != "swap":
            raise
        aside = Leftover(aside_path(final, order.job_id, order.file_number, order.attempt), restores=final)
        _swap(destination, temporary, final, aside, watch)


def _swap(destination: Files, temporary: str, final: str, aside: Leftover, watch: Watch) -> None:
    """Old file aside, new one in, old one removed; for a moment nothing stands under the final name."""
    watch.leaving(aside)
    destination.rename(final, aside.path)
    try:
        destination.rename(temporary, final)
    except (ConnectionLost, Stalled):
        raise
    except MoveFailure:
        _settle(destination, aside, watch)
        raise
    with suppress(MoveFailure):  # the new file is in its place; the old one stays on record
        _settle(destination, aside, watch)


def _settle(destination: Files, leftover: Leftover, watch: Watch) -> None:
    clear(destination, leftover)
    watch.gone(leftover)
