"""What a transfer is asked to do."""

from dataclasses import dataclass


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
    #: temporary files that earlier attempts may have left
    leftovers: tuple[str, ...] = ()
