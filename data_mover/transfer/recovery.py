"""What earlier attempts have left at the destination: it is taken away from them, and used or cleared."""

from dataclasses import dataclass, replace

from data_mover.backends.api import Files
from data_mover.domain.errors import NoSuchFile, UnknownOutcome
from data_mover.transfer.cleanup import settle
from data_mover.transfer.names import temporary_path
from data_mover.transfer.recorder import Recorder
from data_mover.transfer.tasks import FileTask, TemporaryFile
from data_mover.transfer.verify import has_digest


@dataclass(frozen=True)
class Inheritance:
    """What became of what was left."""

    #: an earlier attempt has published the file
    published: bool = False
    #: a temporary file of this attempt's own now, with a checkpoint
    begun: TemporaryFile | None = None


async def inherit(task: FileTask, destination: Files, recorder: Recorder) -> Inheritance:
    """Takes over what earlier attempts have left, and tells whether one of them has published.

    With the mark of an attempt that was about to publish, and no temporary file, the final file decides:
    UnknownOutcome if it is another one.
    """
    marked = task.publishing_sha256 is not None
    wanted = [each for each in task.temporary_files if each.restores is None and (marked or each.checkpoint)]
    taken = [own for each in wanted if (own := await _take(task, destination, each, recorder))]
    if marked and taken:
        await recorder.not_published()
    begun = max((own for own in taken if own.checkpoint), key=_offset_bytes, default=None)
    for temporary_file in taken:
        if temporary_file != begun:
            await settle(destination, temporary_file, recorder)
    for temporary_file in task.temporary_files:
        if temporary_file not in wanted:
            await _settle_if_there(destination, temporary_file, recorder)
    if marked and not taken:
        if not await has_digest(destination, task.path, task.publishing_sha256 or "", recorder):
            raise UnknownOutcome(f"{destination.host}:{task.path}")
        return Inheritance(published=True)
    return Inheritance(begun=begun)


async def _take(
    task: FileTask, destination: Files, temporary_file: TemporaryFile, recorder: Recorder
) -> TemporaryFile | None:
    """The file under a name of this attempt, which is on record first; None if it was not there any more.

    Whoever renames it first has it: an older attempt that may still be about to publish it finds nothing. Some hosts
    copy where others rename, which takes its time.
    """
    own = replace(temporary_file, path=temporary_path(temporary_file.path, task.job_id, task.file_number, task.attempt))
    await recorder.leaving(own)
    there = await destination.astat(temporary_file.path)
    recorder.busy(destination.options.patience_seconds((there and there.size_bytes) or 0))
    try:
        await destination.arename(temporary_file.path, own.path)
    except NoSuchFile:
        await settle(destination, own, recorder)
        taken = None
    else:
        taken = own
    await recorder.gone(temporary_file)
    return taken


async def _settle_if_there(destination: Files, temporary_file: TemporaryFile, recorder: Recorder) -> None:
    """One that is not there stays on record: an earlier attempt that was only held up may create it."""
    if await destination.astat(temporary_file.path) is not None:
        await settle(destination, temporary_file, recorder)


def _offset_bytes(temporary_file: TemporaryFile) -> int:
    return temporary_file.checkpoint.offset_bytes if temporary_file.checkpoint else 0
