"""Giving a proven file its final name, once and for all, and finding out whether a dead attempt had done so."""

from data_mover.errors import CannotReplace, ConnectionLost, MoveFailure, Stalled, UnknownOutcome
from data_mover.protocols.base import Files
from data_mover.transfer.order import Order
from data_mover.transfer.plan import aside_path
from data_mover.transfer.verify import read_digest
from data_mover.transfer.watch import Watch


def publish(order: Order, destination: Files, temporary: str, final: str, watch: Watch) -> None:
    """Gives the temporary file its final name, in the place of what is there. The old file survives every failure."""
    try:
        _replace(destination, temporary, final, aside_path(final, order.job_id, order.file_number))
    except (ConnectionLost, Stalled):
        raise  # nobody knows; the next attempt looks
    except MoveFailure:
        watch.not_published()
        raise
    watch.gone(temporary)


def published_by_predecessor(order: Order, destination: Files, watch: Watch) -> bool:
    """Clears what earlier attempts have left, so that they can no longer publish, and tells whether one of them did.

    With the mark of an attempt that was about to publish, and no temporary file, the final file decides:
    UnknownOutcome if it is another one.
    """
    _end_swap(order, destination)
    remaining = [path for path in order.leftovers if destination.facts(path) is not None]
    if remaining:
        watch.not_published()
    for path in remaining:
        destination.remove(path)
    for path in order.leftovers:
        watch.gone(path)
    if order.publishing_sha256 is None or order.path is None or remaining:
        return False
    if destination.facts(order.path) is None or read_digest(destination, order.path, watch) != order.publishing_sha256:
        raise UnknownOutcome(f"{destination.host}:{order.path}")
    return True


def _replace(destination: Files, temporary: str, final: str, aside: str) -> None:
    try:
        destination.replace(temporary, final)
    except CannotReplace:
        if destination.options.replace != "swap":
            raise
        _swap(destination, temporary, final, aside)


def _swap(destination: Files, temporary: str, final: str, aside: str) -> None:
    """Old file aside, new one in, old one removed; for a moment nothing stands under the final name."""
    destination.rename(final, aside)
    try:
        destination.rename(temporary, final)
    except MoveFailure:
        destination.rename(aside, final)
        raise
    destination.remove(aside)


def _end_swap(order: Order, destination: Files) -> None:
    """Ends the swap of an attempt that died in it: the old file comes back unless the new one is in its place."""
    if destination.options.replace != "swap" or order.path is None:
        return
    aside = aside_path(order.path, order.job_id, order.file_number)
    if destination.facts(aside) is None:
        return
    if destination.facts(order.path) is None:
        destination.rename(aside, order.path)
    else:
        destination.remove(aside)
