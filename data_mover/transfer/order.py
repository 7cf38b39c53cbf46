"""What a transfer is asked to do."""

from dataclasses import dataclass


@dataclass(frozen=True)
class Leftover:
    """A file beside the final one that an attempt has recorded, and that may still be there."""

    path: str
    #: the final path, if this is the old file that was put aside for it
    restores: str | None = None


@dataclass(frozen=True)
class Order:
    """One file to move, and what earlier attempts at it have come to."""

    job_id: int
    file_number: int
    attempt: int
    source_path: str
    #: as asked: a directory, or the exact name
    destination_path: str
    #: SHA-256 that the source must have
    checksum: str | None = None
    #: the final path, once an attempt has resolved it
    path: str | None = None
    #: the digest that an earlier attempt had marked as about to be published
    publishing_sha256: str | None = None
    #: what earlier attempts may have left
    leftovers: tuple[Leftover, ...] = ()
