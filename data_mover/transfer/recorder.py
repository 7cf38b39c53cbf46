"""The interface to which a transfer reports, and which stops it."""

from typing import Protocol

from data_mover.domain.proof import Proof
from data_mover.transfer.tasks import Checkpoint, TemporaryFile


class Recorder(Protocol):
    """The record of one file of an attempt, as its transfer sees it.

    Asynchronous methods return once the entry is committed; the entries of many files share a transaction.
    Every method may raise Fenced or Cancelled: the transfer then stops, and publishes nothing.
    """

    def phase(self, name: str) -> None:
        """Record that the transfer begins `transferring` or `verifying`."""

    async def lock_path(self, lock_name: str, size_bytes: int | None, temporary_file: TemporaryFile | None) -> None:
        """Lock the final path by its `Files.lock_name`, and record the temporary file as `creating` does, if given.

        `size_bytes` is the size of the source, None if unknown. Raises PathBusy, Superseded or NameConflict if another
        job or file has the path.
        """

    async def creating(self, temporary_file: TemporaryFile) -> None:
        """Record a temporary file before it is created."""

    def copying_from(self, offset_bytes: int) -> None:
        """Record that the copy begins at this byte: an earlier attempt copied those before it."""

    def checkpoint(self, path: str, checkpoint: Checkpoint) -> None:
        """Record how much of the temporary file is on disk, if the database answers at once."""

    def moved(self, acknowledged_bytes: int) -> None:
        """Record how many bytes of the file the destination has acknowledged; the same number again is no progress."""

    def read(self, count: int) -> None:
        """Record that so many bytes were read that are not sent: spooled, or compared with what was sent."""

    def alive(self) -> None:
        """Record progress other than bytes."""

    def busy(self, seconds: float) -> None:
        """Allow the host to be silent for so long from now on, while it works."""

    async def publishing(self, proof: Proof) -> None:
        """Mark the verified file as about to be renamed. For the last file it is too late to cancel from now on."""

    async def not_published(self) -> None:
        """Take the mark back: the file certainly did not get its final name."""

    async def published(self, temporary: TemporaryFile | None) -> None:
        """Record that the file has its final name. `temporary` is the name that it had, None if an earlier attempt
        renamed it."""

    async def skipped(self, proof: Proof) -> None:
        """Record that the destination had the file already."""

    async def removed(self, temporary_file: TemporaryFile) -> None:
        """Forget a temporary file that certainly no longer exists."""
