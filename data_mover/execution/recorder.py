"""Record the reports of a transfer, and its progress."""

import logging
import sys
from dataclasses import asdict

from data_mover.domain.errors import ServiceUnavailable
from data_mover.domain.fault_points import reach
from data_mover.domain.proof import Proof
from data_mover.domain.states import FileState, Phase
from data_mover.execution.boundaries import Boundaries
from data_mover.execution.heartbeat import Lease
from data_mover.execution.journal import Arrived, Creating, Journal, Locking, NotPublished, Publishing, Removed, Resized
from data_mover.execution.record import Record
from data_mover.store import temporary_files, transitions
from data_mover.store.files import RecordedFile
from data_mover.store.temporary_files import NewTemporaryFile
from data_mover.store.transitions import ArrivedFile, PathLock
from data_mover.transfer import Checkpoint, TemporaryFile

log = logging.getLogger(__name__)

#: a file up to this size is verified before anybody could see that it is
SMALL_BYTES = 2**20


class Progress:
    """The progress of all files in flight together, which the lease reports."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._settled_bytes = 0
        #: how much of each file in flight is done, and of all of them
        self._moving: dict[int, int] = {}
        self._moving_bytes = 0

    def copying_from(self, number: int, offset_bytes: int) -> None:
        """Record that the copy of a file begins at this byte."""
        self._count(number, offset_bytes)
        if len(self._moving) == 1:
            self._lease.copying_from(offset_bytes)
        else:
            self._lease.alive()

    def moved(self, number: int, acknowledged_bytes: int) -> None:
        self._count(number, acknowledged_bytes)
        self._lease.moved(self._moving_bytes)

    def settled(self, number: int, size_bytes: int) -> None:
        """Record that a file has arrived."""
        self.dropped(number)
        self._settled_bytes += size_bytes
        self._lease.settled(self._settled_bytes)
        if self._moving:
            self._lease.moved(self._moving_bytes)

    def dropped(self, number: int) -> None:
        """Record that a file has failed."""
        self._moving_bytes -= self._moving.pop(number, 0)

    def _count(self, number: int, done_bytes: int) -> None:
        self._moving_bytes += done_bytes - self._moving.get(number, 0)
        self._moving[number] = done_bytes


class FileRecorder:
    """The `Recorder` of one file (see there). A job of many files stays in phase `transferring`, and can be cancelled
    whatever the step of a file is. `checkpoint_bytes` is the offset of the last checkpoint of earlier attempts."""

    def __init__(
        self,
        record: Record,
        boundaries: Boundaries,
        journal: Journal,
        file: RecordedFile,
        is_alone: bool,
        progress: Progress,
        checkpoint_bytes: int,
    ) -> None:
        self._record = record
        self._boundaries = boundaries
        self._journal = journal
        self._progress = progress
        self._file = file
        self._is_alone = is_alone
        self._checkpoint_bytes = checkpoint_bytes
        self._recorded_bytes = file.size_bytes
        #: in which files begin
        self._phase = Phase.TRANSFERRING
        self._proof = file.proof
        #: PUBLISHED or SKIPPED once the file has its final name
        self.outcome: FileState | None = None

    @property
    def proof(self) -> Proof:
        """Of this attempt, or else of an earlier one. Raises LookupError if there is none."""
        if self._proof is None:
            raise LookupError("the file is not proven")
        return self._proof

    def phase(self, name: str) -> None:
        """Record the phase, unless it is over at once."""
        phase, is_small = Phase(name), (self._file.size_bytes or sys.maxsize) <= SMALL_BYTES
        if self._is_alone and phase is not self._phase and not is_small:
            self._record.write(transitions.record_phase, phase, self._record.lease_seconds)
            self._phase = phase
        reach(name)

    async def lock_path(self, lock_name: str, size_bytes: int | None, temporary_file: TemporaryFile | None) -> None:
        lock = PathLock(self._file.number, lock_name)
        self._has_size(size_bytes)
        await self._journal.put(Locking(lock, self._new(temporary_file) if temporary_file else None))
        if temporary_file is not None:
            reach("recorded")

    async def creating(self, temporary_file: TemporaryFile) -> None:
        await self._journal.put(Creating(self._new(temporary_file)))
        reach("recorded")

    def copying_from(self, offset_bytes: int) -> None:
        if offset_bytes:
            log.info("copy-resumed %s file=%d offset_bytes=%d", self._record.claim, self._file.number, offset_bytes)
        self._progress.copying_from(self._file.number, offset_bytes)

    def checkpoint(self, path: str, checkpoint: Checkpoint) -> None:
        """Record the checkpoint, without waiting for an unavailable database: there will be another one."""
        try:
            self._record.try_to_write(
                temporary_files.record_checkpoint, path, asdict(checkpoint), self._record.lease_seconds
            )
        except ServiceUnavailable as error:
            log.warning("checkpoint-not-recorded %s %s", self._record.claim, error)
        else:
            self._record.has_advanced |= checkpoint.offset_bytes > self._checkpoint_bytes

    def moved(self, acknowledged_bytes: int) -> None:
        self._progress.moved(self._file.number, acknowledged_bytes)

    def read(self, count: int) -> None:
        self._record.lease.read(count)

    def alive(self) -> None:
        self._record.lease.alive()

    def busy(self, seconds: float) -> None:
        self._record.lease.alive(seconds)

    async def publishing(self, proof: Proof) -> None:
        reach("verified")
        self._boundaries.require_unrevoked()
        self._proof = proof
        self._has_size(proof.size_bytes)
        await self._mark()
        reach("marked")

    async def not_published(self) -> None:
        await self._journal.put(NotPublished(self._file.number))

    async def published(self, temporary: TemporaryFile | None) -> None:
        await self._arrived(FileState.PUBLISHED, temporary.path if temporary else None)
        reach("moved")

    async def skipped(self, proof: Proof) -> None:
        self._proof = proof
        self._has_size(proof.size_bytes)
        await self._arrived(FileState.SKIPPED, None)
        self._progress.copying_from(self._file.number, proof.size_bytes)

    async def removed(self, temporary_file: TemporaryFile) -> None:
        await self._journal.put(Removed(temporary_file.path))

    def _has_size(self, size_bytes: int | None) -> None:
        """Record the size with the next entry, if it is another one than that on record."""
        if size_bytes != self._recorded_bytes:
            self._recorded_bytes = size_bytes
            self._journal.put_beside(Resized(self._file.number, size_bytes))

    async def _mark(self) -> None:
        phase = Phase.PUBLISHING if self._is_alone else Phase.TRANSFERRING
        await self._journal.put(Publishing(self._file.number, self.proof, phase))

    async def _arrived(self, state: FileState, temporary_path: str | None) -> None:
        await self._journal.put(Arrived(ArrivedFile(self._file.number, self.proof, state, temporary_path)))
        self.outcome = state
        self._record.has_advanced = True

    def _new(self, file: TemporaryFile) -> NewTemporaryFile:
        checkpoint = asdict(file.checkpoint) if file.checkpoint else None
        return NewTemporaryFile(self._file.number, file.kind, file.path, file.restores, checkpoint)


class HiddenFileRecorder(FileRecorder):
    """The recorder of a file in an atomic folder that is not published yet. Such a file needs no mark: one whose
    arrival is not on record is copied again."""

    async def _mark(self) -> None:
        self._record.lease.alive()

    async def not_published(self) -> None:
        self._record.lease.alive()
