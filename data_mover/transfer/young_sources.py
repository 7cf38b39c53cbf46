"""Young sources: their modification time cannot show whether they were written while they were read."""

import time

from data_mover.backends.api import FileStat, Source
from data_mover.domain.errors import SourceChanged
from data_mover.transfer.recorder import Recorder
from data_mover.transfer.tasks import FileTask
from data_mover.transfer.verify import read_digest

LOOK_SECONDS = 0.1


async def require_settled(
    task: FileTask, source: Source, source_stat: FileStat, opened_at: float, sha256: str, recorder: Recorder
) -> None:
    """Read a young source again once every later write changes its time. Raises SourceChanged unless it is the same.

    A host that reports whole seconds hides a write within the second of the one before. `opened_at` is the time, in
    seconds since the epoch, before the source was opened.
    """
    if source_stat.modified_at is None:
        return
    settling_seconds = source.settling_seconds(source_stat)
    if abs(opened_at - source_stat.modified_at) >= settling_seconds:
        return
    settled_at = source_stat.modified_at + settling_seconds
    while (left_seconds := settled_at - time.time()) > 0:
        time.sleep(min(left_seconds, LOOK_SECONDS))
        recorder.alive()
    is_same = await read_digest(source, task.source_path, recorder) == sha256
    if not is_same or await source.astat(task.source_path) != source_stat:
        raise SourceChanged(source.named(task.source_path))
