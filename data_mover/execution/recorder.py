"""One file of an attempt on its way: what its transfer tells is put on record, and callers are told of it."""

import logging
from dataclasses import asdict

from data_mover.domain.errors import ServiceUnavailable
from data_mover.domain.fault_points import reach
from data_mover.domain.states import FileKind, FileState, Phase
from data_mover.execution.record import Record
from data_mover.store import temporary_files, transitions
from data_mover.store.files import RecordedFile
from data_mover.store.temporary_files import NewTemporaryFile
from data_mover.store.transitions import ArrivedFile, PathLock, ProvenFile
from data_mover.transfer import Checkpoint, Proof, TemporaryFile

log = logging.getLogger(__name__)


class FileRecorder:
    """The `Watch` of a file (see there). A job of many files is in phase `transferring` for as long as there are any,
    and can be cancelled whatever one of them is about."""

    def __init__(self, record: Record, file: RecordedFile, is_alone: bool) -> None:
        self._record = record
        self._file = file
        self._is_alone = is_alone
        #: of a predecessor, unless this attempt has one of its own
        self.proof = proof_of(file)
        #: what has become of the file, once it is in its place
        self.outcome: FileState | None = None

    def phase(self, name: str) -> None:
        if self._is_alone:
            self._record.write(transitions.record_phase, Phase(name), self._record.lease_ms)
        reach(name)

    def lock_path(self, place: str, size_bytes: int | None) -> None:
        lock = PathLock(self._file.number, place, size_bytes)
        refused = self._record.change(transitions.lock_paths, self._record.held, [lock], self._record.lease_ms)
        if refused:
            raise refused[self._file.number]
        self._record.lease.alive()

    def leaving(self, temporary_file: TemporaryFile) -> None:
        checkpoint = asdict(temporary_file.checkpoint) if temporary_file.checkpoint else None
        new = NewTemporaryFile(
            self._file.number,
            FileKind(temporary_file.kind.value),
            temporary_file.path,
            temporary_file.restores,
            checkpoint,
        )
        self._record.write(temporary_files.record_temporary_files, [new], self._record.lease_ms)
        reach("recorded")

    def copying_from(self, offset_bytes: int) -> None:
        if offset_bytes:
            log.info("copy-resumed %s file=%d offset_bytes=%d", self._record.held, self._file.number, offset_bytes)
        self._record.lease.copying_from(offset_bytes)

    def checkpoint(self, path: str, checkpoint: Checkpoint) -> None:
        """A database that is away is not waited for: the next checkpoint will do as well."""
        try:
            self._record.try_to_write(
                temporary_files.record_checkpoint, path, asdict(checkpoint), self._record.lease_ms
            )
        except ServiceUnavailable as error:
            log.warning("checkpoint-not-recorded %s %s", self._record.held, error)

    def moved(self, acknowledged_bytes: int) -> None:
        self._record.lease.moved(acknowledged_bytes)

    def alive(self) -> None:
        self._record.lease.alive()

    def busy(self, seconds: float) -> None:
        self._record.lease.alive(seconds)

    def publishing(self, proof: Proof) -> None:
        reach("verified")
        self.proof = proof
        self._mark()
        reach("marked")

    def not_published(self) -> None:
        self._record.write(transitions.unmark_publishing, [self._file.number], self._record.lease_ms)

    def published(self, temporary: TemporaryFile | None) -> None:
        self._arrived(FileState.PUBLISHED, temporary.path if temporary else None)
        reach("moved")

    def skipped(self, proof: Proof) -> None:
        self.proof = proof
        self._arrived(FileState.SKIPPED, None)
        self._record.lease.copying_from(proof.size_bytes)

    def gone(self, temporary_file: TemporaryFile) -> None:
        self._record.change(
            temporary_files.forget_temporary_files, self._record.held.destination.host, [temporary_file.path]
        )

    def _mark(self) -> None:
        phase = Phase.PUBLISHING if self._is_alone else Phase.TRANSFERRING
        self._record.write(transitions.mark_publishing, [self._proven()], phase, self._record.lease_ms)

    def _arrived(self, state: FileState, temporary_path: str | None) -> None:
        self.outcome = state
        arrived = ArrivedFile(self._proven(), state, temporary_path)
        self._record.write(transitions.record_arrived, [arrived])

    def _proven(self) -> ProvenFile:
        return ProvenFile(self._file.number, **asdict(self.proof))


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

    def _mark(self) -> None:
        self._record.lease.alive()

    def not_published(self) -> None:
        self._record.lease.alive()
