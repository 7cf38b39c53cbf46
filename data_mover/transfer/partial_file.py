"""The temporary file of an attempt: removed when the attempt fails, unless the next one can resume it."""

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
from data_mover.transfer.cleanup import discard
from data_mover.transfer.recorder import Recorder
from data_mover.transfer.tasks import Checkpoint, TemporaryFile
from data_mover.transfer.verify import has_prefix

#: after these the copy is not resumed: its bytes are not needed, wrong, or take the space of others
_USELESS_AFTER = (Cancelled, NoSpace, SourceChanged, VerifyFailed)
#: failures that say nothing about whether the host can resume
_NOT_ITS_FAULT = (AttemptEnded, ConnectionLost, ServiceUnavailable, Stalled)


class PartialFile:
    """A temporary file beside the final path: created by this attempt, or taken over from an earlier one."""

    def __init__(self, destination: Files, recorder: Recorder, inherited: TemporaryFile | None) -> None:
        self._destination = destination
        self._recorder = recorder
        self._temporary_file = inherited
        #: whether it is recorded and not created yet
        self._announced = False
        self._inherited = inherited.checkpoint if inherited else None

    @property
    def temporary_file(self) -> TemporaryFile:
        """The recorded file. Raises LookupError if there is none."""
        if self._temporary_file is None:
            raise LookupError("the temporary file has not been begun")
        return self._temporary_file

    async def resume(self, source: FileStat, new_file: NewFile) -> Writer | None:
        """Open the file that was taken over at its checkpoint. The caller compares the source's first bytes.

        Returns None if the copy must begin at byte 0; the file is then removed.
        """
        if self._temporary_file is None or self._announced:
            return None
        try:
            writer = await self._resumed(self.temporary_file.path, self.checkpoint, source, new_file)
        except (ConnectionLost, Stalled):
            raise
        except MoveFailure:  # the host cannot append to it, or does not let it be read back
            writer = None
        if writer is None:
            await self.drop()
        return writer

    def announce(self, path: str) -> TemporaryFile | None:
        """Return a new file for the caller to record before `create`; None if there is a file already."""
        if self._temporary_file is not None:
            return None
        self._temporary_file = TemporaryFile(path)
        self._announced = True
        return self._temporary_file

    async def create(self, path: str, new_file: NewFile) -> Writer:
        """Create the file, recorded first."""
        if not self._announced:
            self._temporary_file = TemporaryFile(path)
            await self._recorder.creating(self._temporary_file)
        return await self._destination.acreate(self.temporary_file.path, new_file)

    @property
    def checkpoint(self) -> Checkpoint | None:
        return self.temporary_file.checkpoint

    def reached(self, checkpoint: Checkpoint) -> None:
        """Record how much is on disk."""
        self._recorder.checkpoint(self.temporary_file.path, checkpoint)
        self._temporary_file = replace(self.temporary_file, checkpoint=checkpoint)

    async def drop(self) -> None:
        """Remove the file, if there is one."""
        if self._temporary_file is not None:
            await discard(self._destination, self._temporary_file, self._recorder)
            self._temporary_file = None

    @asynccontextmanager
    async def removed_if_useless(self) -> AsyncIterator[None]:
        """Remove the file if the block raises and it cannot be resumed. One that cannot be removed stays on record: the
        next attempt removes it, or maintenance."""
        try:
            yield
        except BaseException as error:
            if not self._is_useful_after(error):
                with suppress(MoveFailure):
                    await self.drop()
            raise

    def _is_useful_after(self, error: BaseException) -> bool:
        """Whether the next attempt can resume the file. A host that failed before it acknowledged another byte may fail
        again, unlike a copy from byte 0."""
        if self._temporary_file is None or self._temporary_file.checkpoint is None or isinstance(error, _USELESS_AFTER):
            return False
        if isinstance(error, MoveFailure) and not error.retryable:
            return False
        return isinstance(error, _NOT_ITS_FAULT) or self._temporary_file.checkpoint != self._inherited

    async def _resumed(
        self, path: str, checkpoint: Checkpoint | None, source: FileStat, new_file: NewFile
    ) -> Writer | None:
        """Return None if source or file are not what they were at the checkpoint."""
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
