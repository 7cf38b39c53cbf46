"""The way of one file: resolve, copy, verify, publish."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
from posixpath import dirname

from data_mover.errors import ChecksumMismatch, MoveFailure, SourceChanged
from data_mover.protocols.base import Files, NewFile, Reader
from data_mover.transfer.copy import Copied, Throttle, copy
from data_mover.transfer.order import Leftover, Order
from data_mover.transfer.plan import final_path, require_space, temporary_path
from data_mover.transfer.publish import clear, publish, published_by_predecessor
from data_mover.transfer.verify import verify
from data_mover.transfer.watch import Proof, Watch


def move_file(order: Order, source: Files, destination: Files, watch: Watch) -> None:
    """Moves one file. When it returns, the proven file stands under its final name.

    Else it raises a MoveFailure, or Fenced or Cancelled, and has published nothing; except where the connection failed
    at the last step, so that only the next attempt can tell. What could not be removed stays on record.
    """
    watch.phase("resolving")
    if published_by_predecessor(order, destination, watch):
        return
    with source.open(order.source_path) as reader:
        path = order.path or final_path(destination, order.destination_path, order.source_path)
        watch.resolved(path, reader.facts.size_bytes)
        destination.make_directories(dirname(path))
        require_space(destination, dirname(path), reader.facts.size_bytes)
        temporary = Leftover(temporary_path(path, order.job_id, order.file_number, order.attempt))
        watch.phase("transferring")
        watch.leaving(temporary)
        with _removed_on_failure(destination, temporary, watch):
            copied = _copy(order, source, reader, destination, temporary.path, watch)
            _require_checksum(order, copied)
            watch.phase("verifying")
            verified = verify(destination, temporary.path, copied, watch)
        publish(order, destination, temporary, path, Proof(copied.size_bytes, copied.sha256, verified), watch)


@contextmanager
def _removed_on_failure(destination: Files, temporary: Leftover, watch: Watch) -> Iterator[None]:
    """A file that cannot be removed now stays on record: the next attempt clears it, or a worker, later."""
    try:
        yield
    except BaseException:
        with suppress(MoveFailure):
            clear(destination, temporary)
            watch.gone(temporary)
        raise


def _copy(order: Order, source: Files, reader: Reader, destination: Files, temporary: str, watch: Watch) -> Copied:
    """Copies the whole source. SourceChanged if it is not afterwards what it was before."""
    new_file = NewFile(reader.facts.size_bytes, destination.options.file_mode, reader.facts.modified_at)
    limits = [limit for limit in (source.options.bandwidth, destination.options.bandwidth) if limit is not None]
    with destination.create(temporary, new_file) as writer:
        copied = copy(reader, writer, Throttle(min(limits, default=None), watch), watch)
        if copied.size_bytes != reader.facts.size_bytes or source.facts(order.source_path) != reader.facts:
            raise SourceChanged(f"{source.host}:{order.source_path}")
        writer.commit()
    watch.moved(copied.size_bytes)
    return copied


def _require_checksum(order: Order, copied: Copied) -> None:
    if order.checksum is not None and order.checksum != copied.sha256:
        raise ChecksumMismatch(f"asked for {order.checksum}, read {copied.sha256}")
