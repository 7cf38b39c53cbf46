"""One file of an attempt on its way: what its transfer tells is put on record, and callers are told of it."""

import logging
from dataclasses import asdict

from data_mover.domain.errors import ServiceUnavailable
from data_mover.domain.fault_points import reach
from data_mover.domain.states import FileState, Phase
from data_mover.execution.heartbeat import Lease
from data_mover.execution.journal import Arrived, Begun, Gone, Journal, Left, Proven, Unproven
from data_mover.execution.record import Record
from data_mover.store import temporary_files, transitions
from data_mover.store.files import RecordedFile
from data_mover.store.temporary_files import NewTemporaryFile
from data_mover.store.transitions import ArrivedFile, PathLock, ProvenFile
from data_mover.transfer import Checkpoint, Proof, TemporaryFile

log = logging.getLogger(__name__)


class Progress:
    """How far the files under way are together, as the lease reports it."""

    def __init__(self, lease: Lease) -> None:
        self._lease = lease
        self._settled_bytes = 0
        self._moving: dict[int, int] = {}

    def copying_from(self, number: int, offset_bytes: int) -> None:
        """The copy of a file begins at this byte."""
        self._moving[number] = offset_bytes
        if len(self._moving) == 1:
            self._lease.copying_from(offset_bytes)
        else:
            self._lease.alive()

    def moved(self, number: int, acknowledged_bytes: int) -> None:
        self._moving[number] = acknowledged_bytes
        self._lease.moved(sum(self._moving.values()))

    def settled(self, number: int, size_bytes: int) -> None:
        """A file has arrived."""
        self._moving.pop(number, None)
        self._settled_bytes += size_bytes
        self._lease.settled(self._settled_bytes)
        if self._moving:
            self._lease.moved(sum(self._moving.values()))

    def dropped(self, number: int) -> None:
        """A file has not arrived, and nothing is left of it."""
        self._moving.pop(number, None)


class FileRecorder:
    """The `Watch` of a file (see there). A job of many files is in phase `transferring` for as long as there are any,
    and can be cancelled whatever one of them is about."""

    def __init__(
        self, record: Record, journal: Journal, file: RecordedFile, is_alone: bool, progress: Progress
    ) -> None:
        self._record = record
        self._journal = journal
        self._progress = progress
        self._file = file
        self._is_alone = is_alone
        #: of an earlier attempt, unless this attempt has one of its own
        self.proof = proof_of(file)
        #: what has become of the file, once it is in its place
        self.outcome: FileState | None = None

    def phase(self, name: str) -> None:
        if self._is_alone:
            self._record.write(transitions.record_phase, Phase(name), self._record.lease_ms)
        reach(name)

    async def lock_path(self, lock_name: str, size_bytes: int | None, temporary_file: TemporaryFile | None) -> None:
        lock = PathLock(self._file.number, lock_name, size_bytes)
        await self._journal.put(Begun(lock, self._new(temporary_file) if temporary_file else None))
        if temporary_file is not None:
            reach("recorded")

    async def leaving(self, temporary_file: TemporaryFile) -> None:
        await self._journal.put(Left(self._new(temporary_file)))
        reach("recorded")

    def copying_from(self, offset_bytes: int) -> None:
        if offset_bytes:
            log.info("copy-resumed %s file=%d offset_bytes=%d", self._record.held, self._file.number, offset_bytes)
        self._progress.copying_from(self._file.number, offset_bytes)

    def checkpoint(self, path: str, checkpoint: Checkpoint) -> None:
        """A database that is away is not waited for: the next checkpoint will do as well."""
        try:
            self._record.try_to_write(
                temporary_files.record_checkpoint, path, asdict(checkpoint), self._record.lease_ms
            )
        except ServiceUnavailable as error:
            log.warning("checkpoint-not-recorded %s %s", self._record.held, error)

    def moved(self, acknowledged_bytes: int) -> None:
        self._progress.moved(self._file.number, acknowledged_bytes)

    def alive(self) -> None:
        self._record.lease.alive()

    def busy(self, seconds: float) -> None:
        self._record.lease.alive(seconds)

    async def publishing(self, proof: Proof) -> None:
        reach("verified")
        self.proof = proof
        await self._mark()
        reach("marked")

    async def not_published(self) -> None:
        await self._journal.put(Unproven(self._file.number))

    async def published(self, temporary: TemporaryFile | None) -> None:
        await self._arrived(FileState.PUBLISHED, temporary.path if temporary else None)
        reach("moved")

    async def skipped(self, proof: Proof) -> None:
        self.proof = proof
        await self._arrived(FileState.SKIPPED, None)
        self._progress.copying_from(self._file.number, proof.size_bytes)

    async def gone(self, temporary_file: TemporaryFile) -> None:
        await self._journal.put(Gone(temporary_file.path))

    async def _mark(self) -> None:
        phase = Phase.PUBLISHING if self._is_alone else Phase.TRANSFERRING
        await self._journal.put(Proven(self._proven(), phase))

    async def _arrived(self, state: FileState, temporary_path: str | None) -> None:
        await self._journal.put(Arrived(ArrivedFile(self._proven(), state, temporary_path)))
        self.outcome = state

    def _new(self, file: TemporaryFile) -> NewTemporaryFile:
        checkpoint = asdict(file.checkpoint) if file.checkpoint else None
        return NewTemporaryFile(self._file.number, file.kind, file.path, file.restores, checkpoint)

    def _proven(self) -> ProvenFile:
        return ProvenFile(self._file.number, **vars(self.proof))


def proof_of(file: RecordedFile) -> Proof:
    """What the record has of it, which means something only if the file is marked or was proven by an earlier job."""
    return Proof(
        size_bytes=file.size_bytes or 0,
        sha256=file.sha256 or "",
        verified=file.verified or "",
        source_modified_at=file.source_modified_at,
        source_version=file.source_version,
    )


class HiddenFileRecorder(FileRecorder):
    """That of a file in a folder which nobody sees yet. Whether it has got its name there need never be guessed: where
    that is not on record it is copied once more."""

    async def _mark(self) -> None:
        self._record.lease.alive()

    async def not_published(self) -> None:
        self._record.lease.alive()
