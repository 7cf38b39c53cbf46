"""Copy the bytes of one file, hash them on the way, and record checkpoints."""

import hashlib
import sys
import time
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AbstractContextManager
from dataclasses import dataclass
from types import TracebackType

from data_mover.backends.api import Block, FileStat, Writer
from data_mover.domain.fault_points import Passing
from data_mover.transfer.recorder import Recorder
from data_mover.transfer.tasks import Checkpoint

LONGEST_SLEEP_SECONDS = 0.5

#: at most so much, and what is in flight, is sent again after an interruption
MOST_AGAIN_BYTES = 64 * 2**20

#: the beginning of a file is hashed where it is read: a thread costs more than it saves there
HASHED_AT_ONCE_BYTES = 4 * 2**20
#: how many blocks wait to be hashed at most
MOST_UNHASHED_BLOCKS = 16

#: on a slow connection a checkpoint is due after this time
CHECKPOINT_SECONDS = 10


@dataclass(frozen=True)
class Copied:
    """Size and SHA-256 of what was read at the source and acknowledged by the destination."""

    size_bytes: int
    sha256: str


class Hashed(AbstractContextManager["Hashed"]):
    """The blocks of a file from byte 0 on, hashed as they are read: in a thread beside, once there are many."""

    def __init__(self, blocks: AsyncIterator[Block]) -> None:
        #: how many bytes were read
        self.size_bytes = 0
        self._blocks = blocks
        self._rest: Block = b""
        self._digest = hashlib.sha256()
        self._hasher: ThreadPoolExecutor | None = None
        self._unhashed = deque[Future[None]]()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the thread."""
        if self._hasher is not None:
            self._hasher.shutdown(cancel_futures=True)

    @property
    def sha256(self) -> str:
        """The SHA-256, in hexadecimal, of the bytes that were read."""
        return self.sha256_here()()

    def sha256_here(self) -> Callable[[], str]:
        """Return a function that returns the SHA-256 of the bytes that were read before this call."""
        if self._hasher is None:
            return self._digest.copy().hexdigest
        return self._hasher.submit(lambda: self._digest.copy().hexdigest()).result

    async def until(self, end_bytes: int) -> AsyncGenerator[Block, None]:
        """Yield the next blocks until `end_bytes` were read in all, or the file ends."""
        while self.size_bytes < end_bytes:
            block = self._rest or await self._next()
            if block is None:
                return
            left_bytes = end_bytes - self.size_bytes
            block, self._rest = block[:left_bytes], block[left_bytes:]
            self._hash(block)
            self.size_bytes += len(block)
            yield block

    def rest(self) -> AsyncGenerator[Block, None]:
        """Yield all that is left. Raises what the reader finds at its end."""
        return self.until(sys.maxsize)

    def _hash(self, block: Block) -> None:
        if self.size_bytes < HASHED_AT_ONCE_BYTES:
            self._digest.update(block)
            return
        if self._hasher is None:
            self._hasher = ThreadPoolExecutor(1, "hasher")
        self._unhashed.append(self._hasher.submit(self._digest.update, block))
        while len(self._unhashed) > MOST_UNHASHED_BLOCKS or (self._unhashed and self._unhashed[0].done()):
            self._unhashed.popleft().result()

    async def _next(self) -> Block | None:
        async for block in self._blocks:
            return block
        return None


class Throttle:
    """Limits the average rate of a transfer, which counts as alive meanwhile. A rate of None is no limit."""

    def __init__(self, bytes_per_second: int | None, recorder: Recorder) -> None:
        self._rate = bytes_per_second
        self._recorder = recorder
        self._began = time.monotonic()
        self._passed_bytes = 0

    def passed(self, count: int) -> None:
        """Block until the bytes that have passed are within the rate."""
        if self._rate is None:
            return
        self._passed_bytes += count
        due = self._began + self._passed_bytes / self._rate
        while (ahead_seconds := due - time.monotonic()) > 0:
            time.sleep(min(ahead_seconds, LONGEST_SLEEP_SECONDS))
            self._recorder.alive()


class Checkpoints:
    """Asks the writer to sync, and reports how much is on disk, while the copy runs."""

    def __init__(
        self,
        writer: Writer,
        source: FileStat,
        every_bytes: int,
        report: Callable[[Checkpoint], None],
        waiting: Callable[[], None],
    ) -> None:
        """`waiting` is called before this waits for the writer."""
        self._writer = writer
        self._source = source
        self._every_bytes = every_bytes
        self._report = report
        #: how far the writer was asked to sync, and the digest of that
        self._asked: tuple[int, Callable[[], str]] | None = None
        self._last_bytes = writer.acknowledged_bytes
        self._last_at = time.monotonic()
        self._waiting = waiting
        self._on_disk_bytes = writer.acknowledged_bytes

    def look(self, read: Hashed) -> None:
        """Call between blocks, when all that was read has been written."""
        if self._asked is not None:
            offset_bytes, sha256 = self._asked
            if read.size_bytes - self._on_disk_bytes >= MOST_AGAIN_BYTES:
                self._waiting()
                self._writer.wait_for_sync()
            if self._writer.synced_bytes < offset_bytes:
                return
            self._report(Checkpoint.of(self._source, offset_bytes, sha256()))
            self._on_disk_bytes = offset_bytes
            self._asked = None
        if read.size_bytes - self._last_bytes >= self._every_bytes or self._is_late():
            self._last_bytes, self._last_at = read.size_bytes, time.monotonic()
            self._asked = read.size_bytes, read.sha256_here()
            self._writer.sync()

    def _is_late(self) -> bool:
        return time.monotonic() - self._last_at >= CHECKPOINT_SECONDS


async def reread(read: Hashed, end_bytes: int, throttle: Throttle, recorder: Recorder) -> None:
    """Read and hash what an earlier attempt has copied; send nothing."""
    async for block in read.until(end_bytes):
        throttle.passed(len(block))
        recorder.read(len(block))


async def copy(
    read: Hashed,
    size_bytes: int | None,
    writer: Writer,
    checkpoints: Checkpoints,
    throttle: Throttle,
    recorder: Recorder,
) -> None:
    """Copy the rest of the source. The writer's commit checks that the destination has all of it.

    Stop where more comes than `size_bytes`, the size of the source where it is known: `read` has more then.
    """
    passing = Passing()
    async for block in read.until(sys.maxsize if size_bytes is None else size_bytes + 1):
        if size_bytes is not None and read.size_bytes > size_bytes:
            return
        for piece in passing.cut(block):
            recorder.moved(writer.acknowledged_bytes)  # an attempt that was frozen meanwhile writes nothing more
            await writer.awrite(piece)
        throttle.passed(len(block))
        checkpoints.look(read)
        recorder.moved(writer.acknowledged_bytes)
    passing.end()
