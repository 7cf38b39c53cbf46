"""Copying the bytes of one file, hashing them on their way, and writing down how far the copy is."""

import hashlib
import sys
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass

from data_mover.backends.api import Block, FileStat, Writer
from data_mover.domain.fault_points import Passing
from data_mover.transfer.recorder import Recorder
from data_mover.transfer.tasks import Checkpoint

LONGEST_SLEEP_SECONDS = 0.5

#: on a slow way one is made before there are bytes enough
CHECKPOINT_SECONDS = 10


@dataclass(frozen=True)
class Copied:
    """What was read at the source, and is at the destination."""

    size_bytes: int
    sha256: str


class Hashed:
    """The blocks of a file from its first byte on, in as many portions as wanted."""

    def __init__(self, blocks: AsyncIterator[Block]) -> None:
        #: how many bytes have passed
        self.size_bytes = 0
        self._blocks = blocks
        self._rest: Block = b""
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The SHA-256, in hexadecimal, of the bytes that have passed."""
        return self._digest.hexdigest()

    async def until(self, end_bytes: int) -> AsyncGenerator[Block, None]:
        """The next blocks, so many that `end_bytes` have passed in all; fewer where the file ends before."""
        while self.size_bytes < end_bytes:
            block = self._rest or await self._next()
            if block is None:
                return
            left_bytes = end_bytes - self.size_bytes
            block, self._rest = block[:left_bytes], block[left_bytes:]
            self._digest.update(block)
            self.size_bytes += len(block)
            yield block

    def rest(self) -> AsyncGenerator[Block, None]:
        """All that is left; what a reader finds out at its end is raised here."""
        return self.until(sys.maxsize)

    async def _next(self) -> Block | None:
        async for block in self._blocks:
            return block
        return None


class Throttle:
    """Holds a transfer to a rate on average, and gives signs of life while it waits. None as the rate is no limit."""

    def __init__(self, bytes_per_second: int | None, recorder: Recorder) -> None:
        self._rate = bytes_per_second
        self._recorder = recorder
        self._began = time.monotonic()
        self._passed_bytes = 0

    def passed(self, count: int) -> None:
        """Waits until the bytes that have passed are within the rate."""
        if self._rate is None:
            return
        self._passed_bytes += count
        due = self._began + self._passed_bytes / self._rate
        while (ahead_seconds := due - time.monotonic()) > 0:
            time.sleep(min(ahead_seconds, LONGEST_SLEEP_SECONDS))
            self._recorder.alive()


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


async def reread(read: Hashed, end_bytes: int, throttle: Throttle, recorder: Recorder) -> None:
    """Reads what an earlier attempt has copied, and sends nothing."""
    async for block in read.until(end_bytes):
        throttle.passed(len(block))
        recorder.alive()


async def copy(read: Hashed, writer: Writer, checkpoints: Checkpoints, throttle: Throttle, recorder: Recorder) -> None:
    """Copies what has not been read yet; whether the destination has it all is told by the writer's commit."""
    passing = Passing()
    async for block in read.rest():
        for piece in passing.cut(block):
            await writer.awrite(piece)
        throttle.passed(len(block))
        checkpoints.look(read)
        recorder.moved(writer.acknowledged_bytes)
    passing.end()
