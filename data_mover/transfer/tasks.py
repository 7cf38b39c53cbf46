"""The task of a transfer, and the proof that it returns."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from data_mover.backends.api import FileStat
from data_mover.domain.locations import IfExists
from data_mover.domain.proof import Proof
from data_mover.domain.states import FileKind
from data_mover.transfer.room import Room


@dataclass(frozen=True)
class Checkpoint:
    """How much of a temporary file is on the destination's disk, and the source's stat at that time."""

    offset_bytes: int
    #: of the bytes before the offset, in hexadecimal
    sha256: str
    #: the source's stat, as far as its host reports it
    source_bytes: int | None
    source_modified_at: float | None
    source_version: str | None = None

    @classmethod
    def of(cls, source: FileStat, offset_bytes: int, sha256: str) -> Self:
        return cls(offset_bytes, sha256, source.size_bytes, source.modified_at, source.version)

    def is_of(self, source: FileStat) -> bool:
        """Whether the source is unchanged, as far as its host reports."""
        recorded = (self.source_bytes, self.source_modified_at, self.source_version)
        return recorded == (source.size_bytes, source.modified_at, source.version)


@dataclass(frozen=True)
class TemporaryFile:
    """A recorded file or directory beside the final path, which may exist."""

    path: str
    #: a file, or a directory with all that is in it
    kind: FileKind = FileKind.FILE
    #: the final path, if this is the old file that was moved aside
    restores: str | None = None
    #: how much of the copy is on disk at least
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True)
class FileTask:
    """One file to move, and what earlier attempts have left of it."""

    job_id: int
    file_number: int
    attempt: int
    source_path: str
    #: the final path
    path: str
    #: how many bytes are copied from one checkpoint to the next
    checkpoint_bytes: int
    #: where a source of unknown size is spooled
    state_dir: Path
    #: SHA-256 that the source must have
    checksum: str | None = None
    if_exists: IfExists = IfExists.REPLACE
    #: whether the file gets the permission bits of the source, or the `file_mode` of the host
    keeps_mode: bool = False
    #: the room at the destination that all files of the job share; None if this is the only file
    room: Room | None = None
    #: the path of an earlier file of the job, if it differs only in case or Unicode normal form
    twin_path: str | None = None
    #: the proof of an earlier job for the file at the final path
    proof: Proof | None = None
    #: the digest that an earlier attempt marked as about to be published
    publishing_sha256: str | None = None
    #: the temporary files of earlier attempts
    temporary_files: tuple[TemporaryFile, ...] = ()
