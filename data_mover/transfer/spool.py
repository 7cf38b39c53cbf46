"""Spool a source of unknown size in the state directory, for destinations that must know the size first."""

import errno
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import IO

from data_mover.backends.api import BLOCK_BYTES, Block, Files, FileStat, Reader
from data_mover.domain.errors import StateDirFull
from data_mover.transfer.copy import Throttle
from data_mover.transfer.recorder import Recorder

#: how much stays free on the disk for everything else, the database included
SPARE_BYTES = 100 * 10**6

_FULL = (errno.ENOSPC, errno.EDQUOT)


@asynccontextmanager
async def sized(
    reader: Reader, destination: Files, state_dir: Path, throttle: Throttle, recorder: Recorder
) -> AsyncIterator[Reader]:
    """Yield the reader, or one of a spooled copy if the destination needs a size that the source does not report.

    The spooled file has no name, so that it never outlives the process. Raises StateDirFull.
    """
    if reader.stat.size_bytes is not None or not destination.needs_size:
        yield reader
        return
    with _full_disk_mapped(state_dir), tempfile.TemporaryFile(dir=state_dir, buffering=0) as file:
        size_bytes = await _fill(file, reader, state_dir, throttle, recorder)
        yield _SpooledReader(file, replace(reader.stat, size_bytes=size_bytes))


async def _fill(file: IO[bytes], reader: Reader, state_dir: Path, throttle: Throttle, recorder: Recorder) -> int:
    recorder.phase("transferring")
    size_bytes = 0
    async for block in reader.ablocks():
        _require_space(state_dir, len(block))
        file.write(block)
        size_bytes += len(block)
        throttle.passed(len(block))
        recorder.read(len(block))
    return size_bytes


def _require_space(state_dir: Path, size_bytes: int) -> None:
    status = os.statvfs(state_dir)
    if status.f_bavail * status.f_frsize < size_bytes + SPARE_BYTES:
        raise StateDirFull(str(state_dir))


@contextmanager
def _full_disk_mapped(state_dir: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StateDirFull(str(state_dir)) from error
        raise


class _SpooledReader(Reader):
    def __init__(self, file: IO[bytes], file_stat: FileStat) -> None:
        self.stat = file_stat
        self._file = file

    def blocks(self, offset_bytes: int = 0) -> Iterator[Block]:
        self._file.seek(offset_bytes)
        while block := self._file.read(BLOCK_BYTES):
            yield block

    def close(self) -> None:
        self._file.close()
