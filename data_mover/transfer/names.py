"""What stands beside a file while it is moved, and what must hold for it."""

import re
import secrets
from posixpath import dirname, join

from data_mover.domain.errors import ChecksumMismatch
from data_mover.domain.urls import without_query
from data_mover.transfer.tasks import FileTask

TEMPORARY_PREFIX = ".data_mover-"
#: a new file, an old one aside, a folder that is being built, and the mark of an object store beside a new file
_TEMPORARY_NAME = re.compile(
    re.escape(TEMPORARY_PREFIX)
    + "([0-9]+-[0-9]+-[0-9]+-([0-9a-f]{16}|old)|[0-9]+-tree-[0-9a-f]{16}|to-[0-9a-f]{16}-[0-9a-f]{16})"
)


def temporary_path(path: str, job_id: int, file_number: int, attempt: int) -> str:
    """A name beside the final one that no other attempt has, and that nobody can guess."""
    name = f"{TEMPORARY_PREFIX}{job_id}-{file_number}-{attempt}-{secrets.token_hex(8)}"
    return join(dirname(path), name)


def aside_path(path: str, job_id: int, file_number: int, attempt: int) -> str:
    """Where the old file waits while a host that cannot replace atomically swaps."""
    return join(dirname(path), f"{TEMPORARY_PREFIX}{job_id}-{file_number}-{attempt}-old")


def tree_path(path: str, job_id: int) -> str:
    """Where a folder is built that is to appear at once."""
    return join(dirname(path), f"{TEMPORARY_PREFIX}{job_id}-tree-{secrets.token_hex(8)}")


def is_temporary(name: str) -> bool:
    """Whether the name has the form of one that is given here, by whatever job. Others may begin alike."""
    return _TEMPORARY_NAME.fullmatch(name) is not None


def require_checksum(task: FileTask, sha256: str) -> None:
    """ChecksumMismatch if the source that was read is not the one that was meant."""
    if task.checksum is not None and task.checksum != sha256:
        raise ChecksumMismatch(f"{without_query(task.source_path)}: asked for {task.checksum}, read {sha256}")
