"""The steps of one file: open, copy, verify, publish."""

import time
from posixpath import dirname

from data_mover.backends.api import Files, FileStat, NewFile, Reader, Source, Writer
from data_mover.domain.errors import SourceChanged
from data_mover.domain.fault_points import reach
from data_mover.domain.locations import IfExists
from data_mover.domain.proof import Proof
from data_mover.transfer.compare import proof_of_what_is_there, require_two_names
from data_mover.transfer.copy import Checkpoints, Copied, Hashed, Throttle, copy, reread
from data_mover.transfer.names import require_checksum, temporary_path
from data_mover.transfer.partial_file import PartialFile
from data_mover.transfer.publish import publish
from data_mover.transfer.recorder import Recorder
from data_mover.transfer.recovery import put_back, recover
from data_mover.transfer.room import Room
from data_mover.transfer.spool import sized
from data_mover.transfer.tasks import FileTask
from data_mover.transfer.verify import verify
from data_mover.transfer.young_sources import require_settled


async def move_file(task: FileTask, source: Source, destination: Files, recorder: Recorder) -> None:
    """Move one file: open, record, write, verify, mark, rename. On return the verified file has its final name.

    Other files run wherever this one awaits (`pipeline`).

    Raises a MoveFailure, Fenced or Cancelled, and has then published nothing; unless the connection failed during the
    rename, so that only the next attempt can find out. Temporary files that could not be removed, and those that the
    next attempt can resume, stay on record.
    """
    recovered = await recover(task, destination, recorder)
    if recovered.published:
        await recorder.published(None)
        return
    if task.twin_path is not None:
        require_two_names(destination, task.twin_path, task.path)
    partial = PartialFile(destination, recorder, recovered.begun)
    async with partial.removed_if_useless():
        opened_at = time.time()
        with await source.aopen(task.source_path) as reader:
            reach("opened")
            destination.make_directories(dirname(task.path))
            begun = partial.announce(_temporary_path(task)) if _is_sure_to_be_copied(task) else None
            await recorder.lock_path(destination.lock_name(task.path), reader.stat.size_bytes, begun)
            await put_back(task, destination, recorder)
            if proof := await proof_of_what_is_there(task, source, reader.stat, destination, recorder):
                await partial.drop()
                await recorder.skipped(proof)
                return
            async with sized(
                reader, destination, task.state_dir, Throttle(source.options.bandwidth, recorder), recorder
            ) as whole:
                copied = await _copy(task, source, whole, destination, partial, recorder)
            if await source.astat(task.source_path) != reader.stat:
                raise SourceChanged(source.named(task.source_path))
        await require_settled(task, source, reader.stat, opened_at, copied.sha256, recorder)
        require_checksum(task, copied.sha256)
        recorder.phase("verifying")
        verified = await verify(destination, partial.temporary_file.path, copied, recorder)
    proof = Proof.of(reader.stat, copied.size_bytes, copied.sha256, verified)
    await publish(task, destination, partial.temporary_file, proof, recorder)


async def _copy(
    task: FileTask, source: Source, reader: Reader, destination: Files, partial: PartialFile, recorder: Recorder
) -> Copied:
    """Copy what an earlier attempt has not. Raises SourceChanged if the source is not what that attempt read, or has
    fewer or more bytes than its size."""
    new_file = _new_file(task, reader.stat, destination)
    with (
        Hashed(reader.ablocks()) as read,
        await _writer(task, destination, reader, new_file, partial, recorder) as writer,
    ):
        recorder.copying_from(writer.acknowledged_bytes)
        if partial.checkpoint is not None:
            await reread(read, writer.acknowledged_bytes, Throttle(source.options.bandwidth, recorder), recorder)
            if read.sha256 != partial.checkpoint.sha256:
                raise SourceChanged(source.named(task.source_path))
        patience_seconds = destination.options.patience_seconds(reader.stat.size_bytes or 0)
        checkpoints = Checkpoints(
            writer, reader.stat, task.checkpoint_bytes, partial.reached, lambda: recorder.busy(patience_seconds)
        )
        throttle = _throttle(source, destination, recorder)
        await copy(read, new_file.size_bytes, writer, checkpoints, throttle, recorder)
        if new_file.size_bytes not in (None, read.size_bytes):
            raise SourceChanged(source.named(task.source_path))
        recorder.busy(destination.options.patience_seconds(read.size_bytes))
        await writer.acommit()
        recorder.moved(read.size_bytes)
        return Copied(read.size_bytes, read.sha256)


def _is_sure_to_be_copied(task: FileTask) -> bool:
    """Whether the file is copied whatever the destination has."""
    return task.proof is None and task.if_exists is IfExists.REPLACE


def _temporary_path(task: FileTask) -> str:
    return temporary_path(task.path, task.job_id, task.file_number, task.attempt)


def _new_file(task: FileTask, source: FileStat, destination: Files) -> NewFile:
    modified_at = time.time() if source.modified_at is None else source.modified_at
    mode = source.mode if task.keeps_mode else None
    return NewFile(source.size_bytes, destination.options.file_mode if mode is None else mode, modified_at)


async def _writer(
    task: FileTask, destination: Files, reader: Reader, new_file: NewFile, partial: PartialFile, recorder: Recorder
) -> Writer:
    """Return the writer of the partial file of an earlier attempt, or of a new one."""
    writer = await partial.resume(reader.stat, new_file)
    recorder.phase("transferring")
    if writer is None:
        (task.room or Room()).require(destination, dirname(task.path), new_file.size_bytes)
        writer = await partial.create(_temporary_path(task), new_file)
    return writer


def _throttle(source: Source, destination: Files, recorder: Recorder) -> Throttle:
    limits = [limit for limit in (source.options.bandwidth, destination.options.bandwidth) if limit is not None]
    return Throttle(min(limits, default=None), recorder)
