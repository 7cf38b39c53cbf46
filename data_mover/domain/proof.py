"""The proof that a file at the destination is a copy of its source."""

from dataclasses import dataclass
from typing import Protocol, Self


class SourceStat(Protocol):
    """How a host identifies a version of a file, as far as it does."""

    @property
    def modified_at(self) -> float | None: ...

    @property
    def version(self) -> str | None: ...


@dataclass(frozen=True)
class Proof:
    """The proof of a file that arrived: its size in bytes, its SHA-256 in hexadecimal, and how that was verified."""

    size_bytes: int
    sha256: str
    #: `sha256-remote`, `sha256-readback` or `size`
    verified: str
    #: the source's stat, as far as its host reports it
    source_modified_at: float | None = None
    source_version: str | None = None

    @classmethod
    def of(cls, source: SourceStat, size_bytes: int, sha256: str, verified: str) -> Self:
        return cls(size_bytes, sha256, verified, source.modified_at, source.version)

    @property
    def identifies_source(self) -> bool:
        """Whether `is_of` can recognise a changed source without reading it."""
        return self.source_modified_at is not None or self.source_version is not None

    def is_of(self, source: SourceStat) -> bool:
        """Whether the source is unchanged, as far as its host reports."""
        return (self.source_modified_at, self.source_version) == (source.modified_at, source.version)
