"""What a transfer is asked to do."""

from dataclasses import dataclass
from pathlib import Path
from typing import Self

from data_mover.backends.api import FileStat
from data_mover.domain.locations import IfExists
from data_mover.domain.states import FileKind
from data_mover.transfer.room import Room


@dataclass(frozen=True)
class Checkpoint:
    """How much of a temporary file was on the destination's disk, and what the source was like."""

    offset_bytes: int
    #: of the bytes before the offset, in hexadecimal
    sha256: str
    #: what the source's host told of the source
    source_bytes: int | None
    source_modified_at: float | None
    source_version: str | None = None

    @classmethod
    def of(cls, source: FileStat, offset_bytes: int, sha256: str) -> Self:
        return cls(offset_bytes, sha256, source.size_bytes, source.modified_at, source.version)

    def is_of(self, source: FileStat) -> bool:
        """Whether the source is what it was, as far as its host tells."""
        told = (self.source_bytes, self.source_modified_at, self.source_version)
        return told == (source.size_bytes, source.modified_at, source.version)


@dataclass(frozen=True)
class Proof:
    """What is known of a file that arrived: its size in bytes, its SHA-256 in hexadecimal, and how that was proven."""

    size_bytes: int
    sha256: str
    #: `sha256-remote`, `sha256-readback` or `size`
    verified: str
    #: what the source's host told of the source
    source_modified_at: float | None
    source_version: str | None

    @classmethod
    def of(cls, source: FileStat, size_bytes: int, sha256: str, verified: str) -> Self:
        return cls(size_bytes, sha256, verified, source.modified_at, source.version)

    @property
    def tells_source(self) -> bool:
        """Whether it can be seen without reading the source that this is what it was."""
        return self.source_modified_at is not None or self.source_version is not None

    def is_of(self, source: FileStat) -> bool:
        """Whether the source is what it was, as far as its host tells."""
        return (self.source_modified_at, self.source_version) == (source.modified_at, source.version)


@dataclass(frozen=True)
class TemporaryFile:
    """What an attempt has recorded beside the final path, and that may still be there."""

    path: str
    #: a file, or a directory with all that is in it
    kind: FileKind = FileKind.FILE
    #: the final path, if this is the old file that was put aside for it
    restores: str | None = None
    #: how far the copy had come at least, if this is a temporary file
    checkpoint: Checkpoint | None = None


@dataclass(frozen=True)
class FileTask:
    """One file to move, and what earlier attempts at it have come to."""

    job_id: int
    file_number: int
    attempt: int
    source_path: str
    #: the final path
    path: str
    #: how many bytes are copied from one checkpoint to the next
    checkpoint_bytes: int
    #: where what is read may wait, should the destination have to know its size first
    state_dir: Path
    #: SHA-256 that the source must have
    checksum: str | None = None
    if_exists: IfExists = IfExists.REPLACE
    #: whether the file has the permission bits of the source, if that tells them, or those of the registry
    keeps_mode: bool = False
    #: the room at the destination that all files of the job share; a file without one asks for itself
    room: Room | None = None
    #: what an earlier job has proven of the file at the final path
    proof: Proof | None = None
    #: the digest that an earlier attempt had marked as about to be published
    publishing_sha256: str | None = None
    #: what earlier attempts may have left
    temporary_files: tuple[TemporaryFile, ...] = ()
