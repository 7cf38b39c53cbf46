"""Copying the bytes of one file, hashing them on their way."""

import hashlib
import time
from dataclasses import dataclass

from data_mover.protocols.base import Reader, Writer
from data_mover.transfer.watch import Watch

LONGEST_SLEEP_SECONDS = 0.5


@dataclass(frozen=True)
class Copied:
    """What was read at the source and sent to the destination."""

    size_bytes: int
    sha256: str


class Throttle:
    """Holds a transfer to a rate on average, and gives signs of life while it waits. None as the rate is no limit."""

    def __init__(self, bytes_per_second: int | None, watch: Watch) -> None:
        self._rate = bytes_per_second
        self._watch = watch
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
            self._watch.alive()


def copy(reader: Reader, writer: Writer, throttle: Throttle, watch: Watch) -> Copied:
    """Copies what the reader yields; whether the destination has it all is told by the writer's commit."""
    digest = hashlib.sha256()
    size = 0
    for block in reader.blocks():
        digest.update(block)
        writer.write(block)
        size += len(block)
        throttle.passed(len(block))
        watch.moved(writer.acknowledged_bytes)
    return Copied(size, digest.hexdigest())
