"""Where a file goes, and what must hold for it: decided with what stands at the destination at that moment."""

import secrets
from posixpath import dirname, join

from data_mover.errors import ChecksumMismatch, IsADirectory, NoSpace
from data_mover.protocols.base import Files, Kind
from data_mover.transfer.order import Order

TEMPORARY_PREFIX = ".data_mover-"


def final_path(destination: Files, asked_path: str, name: str) -> str:
    """The exact path: the name below the asked path if that is a directory, or ends in a slash; else the asked path.

    IsADirectory if a directory has that name.
    """
    path = asked_path
    if asked_path.endswith("/") or _is_directory(destination, asked_path):
        path = join(asked_path, name)
        if _is_directory(destination, path):
            raise IsADirectory(f"{destination.host}:{path}")
    return path


def temporary_path(path: str, job_id: int, file_number: int, attempt: int) -> str:
    """A name beside the final one that no other attempt has, and that nobody can guess."""
    name = f"{TEMPORARY_PREFIX}{job_id}-{file_number}-{attempt}-{secrets.token_hex(8)}"
    return join(dirname(path), name)


def aside_path(path: str, job_id: int, file_number: int, attempt: int) -> str:
    """Where the old file waits while a host that cannot replace atomically swaps."""
    return join(dirname(path), f"{TEMPORARY_PREFIX}{job_id}-{file_number}-{attempt}-old")


def require_space(destination: Files, directory: str, size_bytes: int | None) -> None:
    """NoSpace if the destination tells that the file cannot fit."""
    if size_bytes is None:
        return
    free = destination.free_bytes(directory)
    if free is not None and free < size_bytes:
        raise NoSpace(f"{destination.host} has {free} bytes free, the file has {size_bytes}")


def require_checksum(order: Order, sha256: str) -> None:
    """ChecksumMismatch if the source that was read is not the one that was meant."""
    if order.checksum is not None and order.checksum != sha256:
        raise ChecksumMismatch(f"asked for {order.checksum}, read {sha256}")


def _is_directory(files: Files, path: str) -> bool:
    facts = files.facts(path)
    return facts is not None and facts.kind is Kind.DIRECTORY
