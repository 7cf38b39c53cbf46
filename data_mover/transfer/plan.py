"""What stands beside a file while it is moved, and what must hold for it."""

import secrets
from posixpath import dirname, join

from data_mover.errors import ChecksumMismatch, NoSpace
from data_mover.protocols.base import Files
from data_mover.transfer.order import Order

TEMPORARY_PREFIX = ".data_mover-"


def temporary_path(path: str, job_id: int, file_number: int, attempt: int) -> str:
    """A name beside the final one that no other attempt has, and that nobody can guess."""
    name = f"{TEMPORARY_PREFIX}{job_id}-{file_number}-{attempt}-{secrets.token_hex(8)}"
    return join(dirname(path), name)


def aside_path(path: str, job_id: int, file_number: int, attempt: int) -> str:
    """Where the old file waits while a host that cannot replace atomically swaps."""
    return join(dirname(path), f"{TEMPORARY_PREFIX}{job_id}-{file_number}-{attempt}-old")


def require_space(order: Order, destination: Files, size_bytes: int | None) -> None:
    """NoSpace if the destination tells that the file cannot fit, or not beside what else is on its way there."""
    if size_bytes is None or order.promised_bytes is None:
        return
    free = destination.free_bytes(dirname(order.path))
    if free is not None and free < size_bytes + order.promised_bytes:
        others = f", and {order.promised_bytes} more are on their way there" if order.promised_bytes else ""
        raise NoSpace(f"{destination.host} has {free} bytes free, the file has {size_bytes}{others}")


def require_checksum(order: Order, sha256: str) -> None:
    """ChecksumMismatch if the source that was read is not the one that was meant."""
    if order.checksum is not None and order.checksum != sha256:
        raise ChecksumMismatch(f"asked for {order.checksum}, read {sha256}")
