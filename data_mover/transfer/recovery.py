"""What earlier attempts have left at the destination: it is taken away from them, and used or cleared."""

from dataclasses import dataclass, replace

from data_mover.backends.api import Files
from data_mover.domain.errors import NoSuchFile, UnknownOutcome
from data_mover.transfer.cleanup import settle
from data_mover.transfer.names import temporary_path
from data_mover.transfer.recorder import Watch
from data_mover.transfer.tasks import Leftover, Order
from data_mover.transfer.verify import has_digest


@dataclass(frozen=True)
class Inheritance:
    """What became of what was left."""

    #: a predecessor has published the file
    published: bool = False
    #: a temporary file of this attempt's own now, with a checkpoint
    begun: Leftover | None = None


def inherit(order: Order, destination: Files, watch: Watch) -> Inheritance:
    """Takes over what earlier attempts have left, and tells whether one of them has published.

    With the mark of an attempt that was about to publish, and no temporary file, the final file decides:
    UnknownOutcome if it is another one.
    """
    marked = order.publishing_sha256 is not None
    wanted = [each for each in order.leftovers if each.restores is None and (marked or each.checkpoint)]
    taken = [own for leftover in wanted if (own := _take(order, destination, leftover, watch))]
    if marked and taken:
        watch.not_published()
    begun = max((own for own in taken if own.checkpoint), key=_offset_bytes, default=None)
    for leftover in taken:
        if leftover != begun:
            settle(destination, leftover, watch)
    for leftover in order.leftovers:
        if leftover not in wanted:
            _settle_if_there(destination, leftover, watch)
    if marked and not taken:
        if not has_digest(destination, order.path, order.publishing_sha256 or "", watch):
            raise UnknownOutcome(f"{destination.host}:{order.path}")
        return Inheritance(published=True)
    return Inheritance(begun=begun)


def _take(order: Order, destination: Files, leftover: Leftover, watch: Watch) -> Leftover | None:
    """The file under a name of this attempt, which is on record first; None if it was not there any more.

    Whoever renames it first has it: an older attempt that may still be about to publish it finds nothing. Some hosts
    copy where others rename, which takes its time.
    """
    own = replace(leftover, path=temporary_path(leftover.path, order.job_id, order.file_number, order.attempt))
    watch.leaving(own)
    there = destination.facts(leftover.path)
    watch.busy(destination.options.patience_seconds((there and there.size_bytes) or 0))
    try:
        destination.rename(leftover.path, own.path)
    except NoSuchFile:
        settle(destination, own, watch)
        taken = None
    else:
        taken = own
    watch.gone(leftover)
    return taken


def _settle_if_there(destination: Files, leftover: Leftover, watch: Watch) -> None:
    """One that is not there stays on record: a predecessor that was only held up may still create it."""
    if destination.facts(leftover.path) is not None:
        settle(destination, leftover, watch)


def _offset_bytes(leftover: Leftover) -> int:
    return leftover.checkpoint.offset_bytes if leftover.checkpoint else 0
