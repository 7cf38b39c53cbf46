"""Give a verified file its final name, exactly once."""

from contextlib import suppress

from data_mover.backends.api import Files
from data_mover.domain.errors import CannotReplace, ConnectionLost, Exists, MoveFailure, Stalled
from data_mover.domain.fault_points import reach
from data_mover.domain.locations import IfExists
from data_mover.domain.proof import Proof
from data_mover.transfer.cleanup import discard
from data_mover.transfer.names import aside_path
from data_mover.transfer.recorder import Recorder
from data_mover.transfer.tasks import FileTask, TemporaryFile
from data_mover.transfer.verify import has_digest


async def publish(
    task: FileTask, destination: Files, temporary: TemporaryFile, proof: Proof, recorder: Recorder
) -> None:
    """Rename the temporary file to its final path, replacing what is there if the request allows it.

    If the connection fails, it is unknown whether the rename happened: the mark stays, and the next attempt checks. If
    the host refuses, this attempt checks: some hosts fail after they have renamed. Object stores copy instead of
    renaming, which takes time.
    """
    final = task.path
    await recorder.publishing(proof)
    recorder.busy(destination.options.patience_seconds(proof.size_bytes))
    try:
        if task.if_exists is IfExists.REPLACE:
            await _replace(task, destination, temporary.path, proof, recorder)
        else:
            await _rename_to_free_path(destination, temporary.path, final)
    except (ConnectionLost, Stalled):
        raise
    except MoveFailure:
        stayed = await destination.astat(temporary.path) is not None
        if stayed or not await has_digest(destination, final, proof.sha256, recorder):
            await recorder.not_published()
            await discard(destination, temporary, recorder)
            raise
    reach("renamed")
    await recorder.published(temporary)


async def _rename_to_free_path(destination: Files, temporary: str, final: str) -> None:
    """Rename the file. Raises Exists if there is another one at the path by now."""
    try:
        await destination.arename(temporary, final)
    except (ConnectionLost, Stalled):
        raise
    except MoveFailure as failure:
        if destination.stat(final) is None:
            raise
        raise Exists(f"{destination.host}:{final}") from failure


async def _replace(task: FileTask, destination: Files, temporary: str, proof: Proof, recorder: Recorder) -> None:
    try:
        await destination.areplace(temporary, task.path)
    except CannotReplace:
        if destination.options.replace != "swap":
            raise
        path = aside_path(task.path, task.job_id, task.file_number, task.attempt)
        await _swap(destination, temporary, TemporaryFile(path, restores=task.path), task.path, proof, recorder)


async def _swap(
    destination: Files, temporary: str, aside: TemporaryFile, final: str, proof: Proof, recorder: Recorder
) -> None:
    """Move the old file aside, rename the new one, remove the old one. For a moment the final path is empty.

    If the new one cannot be renamed, the old one returns. If another file stands at the final path meanwhile, the old
    one stays aside, on record: it may be the only copy.
    """
    await recorder.creating(aside)
    try:
        await destination.arename(final, aside.path)
        await destination.arename(temporary, final)
    except (ConnectionLost, Stalled):
        raise
    except MoveFailure:
        if not await _is_only_copy(destination, aside, proof, recorder):
            await discard(destination, aside, recorder)
        raise
    with suppress(MoveFailure):  # the new file is published; the old one stays on record
        await discard(destination, aside, recorder)


async def _is_only_copy(destination: Files, aside: TemporaryFile, proof: Proof, recorder: Recorder) -> bool:
    """Whether the old file is aside, while neither the new one nor nothing at all stands at its path."""
    if await destination.astat(aside.path) is None or await destination.astat(aside.restores or "/") is None:
        return False
    return not await has_digest(destination, aside.restores or "/", proof.sha256, recorder)
