"""The names of temporary files, and the checksum that a source must have."""

import re
import secrets
from posixpath import dirname, join

from data_mover.domain.errors import ChecksumMismatch
from data_mover.domain.urls import without_query
from data_mover.transfer.tasks import FileTask

TEMPORARY_PREFIX = ".data_mover-"
#: of a new file, of an old one aside, of a folder being built, and of the marker object in an object store
_TEMPORARY_NAME = re.compile(
    re.escape(TEMPORARY_PREFIX)
    + "([0-9]+-[0-9]+-[0-9]+-([0-9a-f]{16}|old)|[0-9]+-tree-[0-9a-f]{16}|to-[0-9a-f]{16}-[0-9a-f]{16})"
)


def temporary_path(path: str, job_id: int, file_number: int, attempt: int) -> str:
    """Return a path beside the final one that no other attempt has and that cannot be guessed."""
    name = f"{TEMPORARY_PREFIX}{job_id}-{file_number}-{attempt}-{secrets.token_hex(8)}"
    return join(dirname(path), name)


def aside_path(path: str, job_id: int, file_number: int, attempt: int) -> str:
    """Return the path of the old file while a host that cannot replace atomically swaps."""
    return join(dirname(path), f"{TEMPORARY_PREFIX}{job_id}-{file_number}-{attempt}-old")


def staged_folder_path(path: str, job_id: int) -> str:
    """Return the path at which an atomic folder is built."""
    return join(dirname(path), f"{TEMPORARY_PREFIX}{job_id}-tree-{secrets.token_hex(8)}")


def is_temporary(name: str) -> bool:
    """Whether the name has the form of a temporary file, of any job."""
    return _TEMPORARY_NAME.fullmatch(name) is not None


def require_checksum(task: FileTask, sha256: str) -> None:
    """Raise ChecksumMismatch if the source does not have the checksum of the request."""
    if task.checksum is not None and task.checksum != sha256:
        raise ChecksumMismatch(f"{without_query(task.source_path)}: asked for {task.checksum}, read {sha256}")
