"""The way of one file: resolve, copy, verify, publish."""

import time
from posixpath import dirname

from data_mover.backends.api import Facts, Files, NewFile, Reader, Source, Writer
from data_mover.domain.errors import SourceChanged
from data_mover.domain.fault_points import reach
from data_mover.transfer.checkpoints import Checkpoints
from data_mover.transfer.compare import proof_of_what_is_there
from data_mover.transfer.copy import Copied, Throttle, copy, reread
from data_mover.transfer.hashing import Hashed
from data_mover.transfer.names import require_checksum, require_space, temporary_path
from data_mover.transfer.partial_file import Draft
from data_mover.transfer.publish import publish
from data_mover.transfer.recorder import Watch
from data_mover.transfer.recovery import inherit
from data_mover.transfer.spool import sized
from data_mover.transfer.tasks import Order, Proof
from data_mover.transfer.verify import verify


def move_file(order: Order, source: Source, destination: Files, watch: Watch) -> None:
    """Moves one file. When it returns, the proven file stands under its final name.

    Else it raises a MoveFailure, or Fenced or Cancelled, and has published nothing; except where the connection failed
    at the last step, so that only the next attempt can tell. What could not be removed stays on record, and so does
    what the next attempt can go on with.
    """
    inheritance = inherit(order, destination, watch)
    if inheritance.published:
        watch.published(None)
        return
    draft = Draft(destination, watch, inheritance.begun)
    with draft.removed_if_useless():
        with source.open(order.source_path) as reader:
            reach("opened")
            destination.make_directories(dirname(order.path))
            watch.placed(destination.place(order.path), reader.facts.size_bytes)
            if proof := proof_of_what_is_there(order, source, reader.facts, destination, watch):
                draft.drop()
                watch.skipped(proof)
                return
            with sized(reader, destination, order.state_dir, Throttle(source.options.bandwidth, watch), watch) as whole:
                copied = _copy(order, source, whole, destination, draft, watch)
            if source.facts(order.source_path) != reader.facts:
                raise SourceChanged(source.named(order.source_path))
        require_checksum(order, copied.sha256)
        watch.phase("verifying")
        verified = verify(destination, draft.leftover.path, copied, watch)
    proof = Proof.of(reader.facts, copied.size_bytes, copied.sha256, verified)
    publish(order, destination, draft.leftover, proof, watch)


def _copy(order: Order, source: Source, reader: Reader, destination: Files, draft: Draft, watch: Watch) -> Copied:
    """Copies what is not there yet. SourceChanged if that is not what was there before, or less than was told."""
    new_file = _new_file(order, reader.facts, destination)
    read = Hashed(reader.blocks())
    with _writer(order, destination, reader, new_file, draft, watch) as writer:
        watch.copying_from(writer.acknowledged_bytes)
        if draft.checkpoint is not None:
            reread(read, writer.acknowledged_bytes, Throttle(source.options.bandwidth, watch), watch)
            if read.sha256 != draft.checkpoint.sha256:
                raise SourceChanged(source.named(order.source_path))
        checkpoints = Checkpoints(writer, reader.facts, order.checkpoint_bytes, draft.reached)
        copy(read, writer, checkpoints, _throttle(source, destination, watch), watch)
        if new_file.size_bytes not in (None, read.size_bytes):
            raise SourceChanged(source.named(order.source_path))
        watch.busy(destination.options.patience_seconds(read.size_bytes))
        writer.commit()
    watch.moved(read.size_bytes)
    return Copied(read.size_bytes, read.sha256)


def _new_file(order: Order, source: Facts, destination: Files) -> NewFile:
    modified_at = time.time() if source.modified_at is None else source.modified_at
    mode = source.mode if order.keeps_mode else None
    return NewFile(source.size_bytes, destination.options.file_mode if mode is None else mode, modified_at)


def _writer(order: Order, destination: Files, reader: Reader, new_file: NewFile, draft: Draft, watch: Watch) -> Writer:
    """Of what a predecessor has begun, or else of a new file."""
    writer = draft.resume(reader.facts, new_file)
    watch.phase("transferring")
    if writer is None:
        require_space(order, destination, new_file.size_bytes)
        temporary = temporary_path(order.path, order.job_id, order.file_number, order.attempt)
        writer = draft.create(temporary, new_file)
    return writer


def _throttle(source: Source, destination: Files, watch: Watch) -> Throttle:
    limits = [limit for limit in (source.options.bandwidth, destination.options.bandwidth) if limit is not None]
    return Throttle(min(limits, default=None), watch)
