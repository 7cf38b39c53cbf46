"""Giving a proven file its final name, once and for all, and finding out whether a dead attempt had done so."""

from collections.abc import Sequence

from data_mover.errors import CannotReplace, ConnectionLost, MoveFailure, Stalled, UnknownOutcome
from data_mover.protocols.base import Files
from data_mover.transfer.verify import read_digest
from data_mover.transfer.watch import Watch


def publish(destination: Files, temporary: str, final: str, aside: str, watch: Watch) -> None:
    """Gives the temporary file its final name, in the place of what is there. The old file survives every failure."""
    try:
        _replace(destination, temporary, final, aside)
    except (ConnectionLost, Stalled):
        raise  # nobody knows; the next attempt looks
    except MoveFailure:
        watch.not_published()
        raise
    watch.gone(temporary)


def published_by_predecessor(
    destination: Files, final: str | None, sha256: str | None, leftovers: Sequence[str], aside: str | None, watch: Watch
) -> bool:
    """Clears what earlier attempts have left, so that they can no longer publish, and tells whether one of them did.

    `sha256` is the digest that an attempt had marked as about to be published. With the mark and no temporary file,
    the final file decides: UnknownOutcome if it is another one.
    """
    if aside is not None and final is not None:
        _put_back(destination, aside, final)
    remaining = [path for path in leftovers if destination.facts(path) is not None]
    if remaining:
        watch.not_published()
    for path in remaining:
        destination.remove(path)
    for path in leftovers:
        watch.gone(path)
    if sha256 is None or final is None or remaining:
        return False
    if destination.facts(final) is None or read_digest(destination, final, watch) != sha256:
        raise UnknownOutcome(f"{destination.host}:{final}")
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


def _put_back(destination: Files, aside: str, final: str) -> None:
    """Ends the swap of an attempt that died in it."""
    if destination.facts(aside) is None:
        return
    if destination.facts(final) is None:
        destination.rename(aside, final)
    else:
        destination.remove(aside)
