"""The bytes of a file on their way, hashed as they pass."""

import hashlib
import sys
from collections.abc import Iterator

from data_mover.backends.api import Block


class Hashed:
    """The blocks of a file from its first byte on, in as many portions as wanted."""

    def __init__(self, blocks: Iterator[Block]) -> None:
        #: how many bytes have passed
        self.size_bytes = 0
        self._blocks = blocks
        self._rest: Block = b""
        self._digest = hashlib.sha256()

    @property
    def sha256(self) -> str:
        """The SHA-256, in hexadecimal, of the bytes that have passed."""
        return self._digest.hexdigest()

    def until(self, end_bytes: int) -> Iterator[Block]:
        """The next blocks, so many that `end_bytes` have passed in all; fewer where the file ends before."""
        while self.size_bytes < end_bytes:
            block = self._rest or next(self._blocks, None)
            if block is None:
                return
            left_bytes = end_bytes - self.size_bytes
            block, self._rest = block[:left_bytes], block[left_bytes:]
            self._digest.update(block)
            self.size_bytes += len(block)
            yield block

    def rest(self) -> Iterator[Block]:
        """All that is left; what a reader finds out at its end is raised here."""
        return self.until(sys.maxsize)
