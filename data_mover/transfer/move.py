"""The way of one file: resolve, copy, verify, publish."""

from collections.abc import Iterator
from contextlib import contextmanager
from posixpath import dirname

from data_mover.errors import ChecksumMismatch, ConnectionLost, MoveFailure, Stalled
from data_mover.protocols.base import Files, NewFile, Reader
from data_mover.transfer.copy import Copied, Throttle, copy
from data_mover.transfer.order import Order
from data_mover.transfer.plan import final_path, require_space, temporary_path
from data_mover.transfer.publish import publish, published_by_predecessor
from data_mover.transfer.verify import verify
from data_mover.transfer.watch import Proof, Watch


def move_file(order: Order, source: Files, destination: Files, watch: Watch) -> None:
    """Moves one file. When it returns, the proven file stands under its final name; else it raises a MoveFailure, or
    Fenced or Cancelled, and the old file stands there still. Temporary files that cannot be removed stay on record."""
    watch.phase("resolving")
    if published_by_predecessor(order, destination, watch):
        return
    with source.open(order.source_path) as reader:
        path = order.path or final_path(destination, order.destination_path, order.source_path)
        watch.resolved(path, reader.facts.size_bytes)
        destination.make_directories(dirname(path))
        require_space(destination, dirname(path), reader.facts.size_bytes)
        temporary = temporary_path(path, order.job_id, order.file_number, order.attempt)
        with _recorded(destination, temporary, watch):
            copied = _copy(source, reader, destination, temporary, watch)
            _require_checksum(order, copied)
            watch.phase("verifying")
            verified = verify(destination, temporary, copied, watch)
            watch.publishing(Proof(copied.size_bytes, copied.sha256, verified))
            publish(order, destination, temporary, path, watch)


@contextmanager
def _recorded(destination: Files, temporary: str, watch: Watch) -> Iterator[None]:
    """A temporary file that is on record before it is created, and removed if anything fails.

    It stays where the connection failed: only the next attempt can tell whether it was published.
    """
    watch.opening(temporary)
    try:
        yield
    except (ConnectionLost, Stalled):
        raise
    except BaseException:
        _remove(destination, temporary, watch)
        raise


def _remove(destination: Files, temporary: str, watch: Watch) -> None:
    try:
        destination.remove(temporary)
    except MoveFailure:
        return  # the record stays, and a worker clears the file later
    watch.gone(temporary)


def _copy(source: Files, reader: Reader, destination: Files, temporary: str, watch: Watch) -> Copied:
    new_file = NewFile(reader.facts.size_bytes, destination.options.file_mode, reader.facts.modified_at)
    limits = [limit for limit in (source.options.bandwidth, destination.options.bandwidth) if limit is not None]
    with destination.create(temporary, new_file) as writer:
        return copy(reader, writer, Throttle(min(limits, default=None)), watch)


def _require_checksum(order: Order, copied: Copied) -> None:
    if order.checksum is not None and order.checksum != copied.sha256:
        raise ChecksumMismatch(f"asked for {order.checksum}, read {copied.sha256}")
