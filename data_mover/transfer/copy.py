"""Copying the bytes of one file, hashing them on their way."""

import time
from dataclasses import dataclass

from data_mover.backends.api import Writer
from data_mover.domain.fault_points import passing
from data_mover.transfer.checkpoints import Checkpoints
from data_mover.transfer.hashing import Hashed
from data_mover.transfer.recorder import Recorder

LONGEST_SLEEP_SECONDS = 0.5


@dataclass(frozen=True)
class Copied:
    """What was read at the source, and is at the destination."""

    size_bytes: int
    sha256: str


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


def reread(read: Hashed, end_bytes: int, throttle: Throttle, recorder: Recorder) -> None:
    """Reads what an earlier attempt has copied, and sends nothing."""
    for block in read.until(end_bytes):
        throttle.passed(len(block))
        recorder.alive()


def copy(read: Hashed, writer: Writer, checkpoints: Checkpoints, throttle: Throttle, recorder: Recorder) -> None:
    """Copies what has not been read yet; whether the destination has it all is told by the writer's commit."""
    for block in passing(read.rest()):
        writer.write(block)
        throttle.passed(len(block))
        checkpoints.look(read)
        recorder.moved(writer.acknowledged_bytes)
