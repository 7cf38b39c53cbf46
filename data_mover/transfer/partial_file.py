"""The temporary file of an attempt, which goes when the attempt fails unless another one can resume it."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from data_mover.backends.api import Files, FileStat, NewFile, Writer
from data_mover.domain.errors import (
    AttemptEnded,
    Cancelled,
    ConnectionLost,
    MoveFailure,
    NoSpace,
    ServiceUnavailable,
    SourceChanged,
    Stalled,
    VerifyFailed,
)
from data_mover.transfer.cleanup import settle
from data_mover.transfer.recorder import Recorder
from data_mover.transfer.tasks import Checkpoint, TemporaryFile
from data_mover.transfer.verify import has_prefix

#: after these nobody resumes the copy: the bytes are not wanted, not right, or in the way of others
_USELESS_AFTER = (Cancelled, NoSpace, SourceChanged, VerifyFailed)
#: these have nothing to do with how the host takes the bytes
_NOT_ITS_FAULT = (AttemptEnded, ConnectionLost, ServiceUnavailable, Stalled)


class PartialFile:
    """A file beside the final one: begun by this attempt, or taken over from an earlier one."""

    def __init__(self, destination: Files, recorder: Recorder, inherited: TemporaryFile | None) -> None:
        self._destination = destination
        self._recorder = recorder
        self._temporary_file = inherited
        #: whether it is a new one that is on record, and not created yet
        self._announced = False
        self._inherited = inherited.checkpoint if inherited else None

    @property
    def temporary_file(self) -> TemporaryFile:
        """The file, on record."""
        if self._temporary_file is None:
            raise LookupError("the temporary file has not been begun")
        return self._temporary_file

    async def resume(self, source: FileStat, new_file: NewFile) -> Writer | None:
        """Opens what was inherited, to go on where it has a checkpoint; whether the source still begins the same is
        for the caller to find out. None if the copy has to begin afresh: nothing is left then of what was inherited.
        """
        if self._temporary_file is None or self._announced:
            return None
        try:
            writer = await self._resumed(self.temporary_file.path, self.checkpoint, source, new_file)
        except (ConnectionLost, Stalled):
            raise
        except MoveFailure:  # a host that cannot resume it, or does not let it be read back
            writer = None
        if writer is None:
            await self.drop()
        return writer

    def announce(self, path: str) -> TemporaryFile | None:
        """A new file that is going to be created, to be put on record at once with what else is; None if there is one
        already."""
        if self._temporary_file is not None:
            return None
        self._temporary_file = TemporaryFile(path)
        self._announced = True
        return self._temporary_file

    async def create(self, path: str, new_file: NewFile) -> Writer:
        """Begins a new file, which is on record first."""
        if not self._announced:
            self._temporary_file = TemporaryFile(path)
            await self._recorder.leaving(self._temporary_file)
        return await self._destination.acreate(self.temporary_file.path, new_file)

    @property
    def checkpoint(self) -> Checkpoint | None:
        return self.temporary_file.checkpoint

    def reached(self, checkpoint: Checkpoint) -> None:
        """So much is on disk, whatever happens to this attempt."""
        self._recorder.checkpoint(self.temporary_file.path, checkpoint)
        self._temporary_file = replace(self.temporary_file, checkpoint=checkpoint)

    async def drop(self) -> None:
        """Removes the file, if there is one."""
        if self._temporary_file is not None:
            await settle(self._destination, self._temporary_file, self._recorder)
            self._temporary_file = None

    @asynccontextmanager
    async def removed_if_useless(self) -> AsyncIterator[None]:
        """A file that cannot be removed now stays on record: the next attempt clears it, or a worker, later."""
        try:
            yield
        except BaseException as error:
            if not self._is_useful_after(error):
                with suppress(MoveFailure):
                    await self.drop()
            raise

    def _is_useful_after(self, error: BaseException) -> bool:
        """A host that fails before it has gone on at all may do so again; a copy from the first byte may not."""
        if self._temporary_file is None or self._temporary_file.checkpoint is None or isinstance(error, _USELESS_AFTER):
            return False
        if isinstance(error, MoveFailure) and not error.retryable:
            return False
        return isinstance(error, _NOT_ITS_FAULT) or self._temporary_file.checkpoint != self._inherited

    async def _resumed(
        self, path: str, checkpoint: Checkpoint | None, source: FileStat, new_file: NewFile
    ) -> Writer | None:
        """None where source or file are not what they were at the checkpoint."""
        if checkpoint is None or not checkpoint.is_of(source):
            return None
        there = await self._destination.astat(path)
        if there is None or not checkpoint.offset_bytes <= (there.size_bytes or 0) <= (
            source.size_bytes or sys.maxsize
        ):
            return None
        if not await has_prefix(self._destination, path, checkpoint, self._recorder):
            return None
        return self._destination.resume(path, new_file, checkpoint.offset_bytes)
