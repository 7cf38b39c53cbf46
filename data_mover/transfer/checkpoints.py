"""When a copy writes down how far it is, so that another attempt can go on from there."""

import time
from collections.abc import Callable

from data_mover.backends.api import FileStat, Writer
from data_mover.transfer.hashing import Hashed
from data_mover.transfer.tasks import Checkpoint

#: on a slow way one is made before there are bytes enough
CHECKPOINT_SECONDS = 10


class Checkpoints:
    """Asks the writer to bring to disk what it has, and reports what is there; the bytes go on meanwhile."""

    def __init__(
        self, writer: Writer, source: FileStat, every_bytes: int, report: Callable[[Checkpoint], None]
    ) -> None:
        self._writer = writer
        self._source = source
        self._every_bytes = every_bytes
        self._report = report
        self._asked: Checkpoint | None = None
        self._last_bytes = writer.acknowledged_bytes
        self._last_at = time.monotonic()

    def look(self, read: Hashed) -> None:
        """To be called between blocks, when all that was read has been written."""
        if self._asked is not None:
            if self._writer.synced_bytes < self._asked.offset_bytes:
                return
            self._report(self._asked)
            self._asked = None
        if read.size_bytes - self._last_bytes >= self._every_bytes or self._is_late():
            self._last_bytes, self._last_at = read.size_bytes, time.monotonic()
            self._asked = Checkpoint.of(self._source, read.size_bytes, read.sha256)
            self._writer.sync()

    def _is_late(self) -> bool:
        return time.monotonic() - self._last_at >= CHECKPOINT_SECONDS
