"""Recovery: take over the temporary files of earlier attempts, to resume or to clear them."""

from dataclasses import dataclass, replace

from data_mover.backends.api import Files
from data_mover.domain.errors import NoSuchFile, UnknownOutcome
from data_mover.domain.locations import IfExists
from data_mover.transfer.cleanup import discard
from data_mover.transfer.names import temporary_path
from data_mover.transfer.recorder import Recorder
from data_mover.transfer.tasks import FileTask, TemporaryFile
from data_mover.transfer.verify import has_digest


@dataclass(frozen=True)
class Recovered:
    """The outcome of the recovery."""

    #: an earlier attempt has published the file
    published: bool = False
    #: the partial file to resume, under a name of this attempt
    begun: TemporaryFile | None = None


async def recover(task: FileTask, destination: Files, recorder: Recorder) -> Recovered:
    """Take over what earlier attempts left, and find out whether one of them has published the file.

    An attempt that marked the file and left no temporary file has published it if the final file has the marked digest.
    Raises UnknownOutcome if it has another one. Without the mark nobody has the final path: old files that were moved
    aside stay until `put_back`.
    """
    if await _is_published_by_link(task, destination, recorder):
        for temporary_file in task.temporary_files:
            await _discard_if_there(destination, temporary_file, recorder)
        return Recovered(published=True)
    marked = task.publishing_sha256 is not None
    useful = [each for each in task.temporary_files if each.restores is None and (marked or each.checkpoint)]
    taken = [own for each in useful if (own := await _take(task, destination, each, recorder))]
    if marked and taken:
        await recorder.not_published()
    begun = max((own for own in taken if own.checkpoint), key=_offset_bytes, default=None)
    for temporary_file in taken:
        if temporary_file != begun:
            await discard(destination, temporary_file, recorder)
    for temporary_file in task.temporary_files:
        if temporary_file not in useful and (marked or temporary_file.restores is None):
            await _discard_if_there(destination, temporary_file, recorder)
    if marked and not taken:
        if not await has_digest(destination, task.path, task.publishing_sha256 or "", recorder):
            raise UnknownOutcome(f"{destination.host}:{task.path}")
        return Recovered(published=True)
    return Recovered(begun=begun)


async def put_back(task: FileTask, destination: Files, recorder: Recorder) -> None:
    """Rename old files back that earlier attempts moved aside. The final path must be locked: a job that swaps leaves
    it free for a moment."""
    for temporary_file in task.temporary_files:
        if temporary_file.restores is not None:
            await _discard_if_there(destination, temporary_file, recorder)


async def _is_published_by_link(task: FileTask, destination: Files, recorder: Recorder) -> bool:
    """Whether the marked file has its final name although a temporary one is left: hosts that refuse to replace, or
    cannot, make a link, and then remove the old name."""
    replaced = task.if_exists is IfExists.REPLACE and destination.replaces
    if task.publishing_sha256 is None or replaced or not task.temporary_files:
        return False
    return await has_digest(destination, task.path, task.publishing_sha256, recorder)


async def _take(
    task: FileTask, destination: Files, temporary_file: TemporaryFile, recorder: Recorder
) -> TemporaryFile | None:
    """Rename the file to a name of this attempt, recorded first. Returns None if it no longer exists.

    The rename decides between attempts: an older one that is still running no longer finds its file. Object stores
    copy instead of renaming, which takes time.
    """
    own = replace(temporary_file, path=temporary_path(temporary_file.path, task.job_id, task.file_number, task.attempt))
    await recorder.creating(own)
    there = await destination.astat(temporary_file.path)
    recorder.busy(destination.options.patience_seconds((there and there.size_bytes) or 0))
    try:
        await destination.arename(temporary_file.path, own.path)
    except NoSuchFile:
        await discard(destination, own, recorder)
        taken = None
    else:
        taken = own
    await recorder.removed(temporary_file)
    return taken


async def _discard_if_there(destination: Files, temporary_file: TemporaryFile, recorder: Recorder) -> None:
    """Discard the file if it exists. Else it stays on record: a suspended attempt may still create it."""
    if await destination.astat(temporary_file.path) is not None:
        await discard(destination, temporary_file, recorder)


def _offset_bytes(temporary_file: TemporaryFile) -> int:
    return temporary_file.checkpoint.offset_bytes if temporary_file.checkpoint else 0
