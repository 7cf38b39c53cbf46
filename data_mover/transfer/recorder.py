"""What a transfer tells about itself while it works, and how it learns that it must stop."""

from typing import Protocol

from data_mover.transfer.tasks import Checkpoint, Proof, TemporaryFile


class Recorder(Protocol):
    """The record of one file of an attempt, as its transfer sees it.

    What is asynchronous is written together with what other files have to record: others go on meanwhile.
    Every method may raise Fenced or Cancelled: the transfer then stops, and nothing is published.
    """

    def phase(self, name: str) -> None:
        """The transfer begins `transferring` or `verifying`."""

    async def lock_path(self, lock_name: str, size_bytes: int | None, temporary_file: TemporaryFile | None) -> None:
        """The final path by the name that every registered host has for it, and the size of the source, if it is known;
        on return nobody else publishes there, and the temporary file, if one is given, is on record as by `leaving`.

        Raises PathBusy too, or Superseded.
        """

    async def leaving(self, temporary_file: TemporaryFile) -> None:
        """A file is about to be created that must not stay; on return it is on record."""

    def copying_from(self, offset_bytes: int) -> None:
        """The copy begins, at this byte: those before it are at the destination, from an earlier attempt."""

    def checkpoint(self, path: str, checkpoint: Checkpoint) -> None:
        """So much of the temporary file is on disk; it is put on record if that is possible without waiting."""

    def moved(self, acknowledged_bytes: int) -> None:
        """So many bytes of the file have been acknowledged by the destination; the same number again is no movement."""

    def alive(self) -> None:
        """Something moved that is not new bytes at the destination."""

    def busy(self, seconds: float) -> None:
        """The host works by itself from now on, and may take so long without a word."""

    async def publishing(self, proof: Proof) -> None:
        """The file is proven and about to get its final name; on return that is on record. If it is the last one, it is
        too late to cancel from now on."""

    async def not_published(self) -> None:
        """It is certain that the file did not get its final name after all."""

    async def published(self, temporary: TemporaryFile | None) -> None:
        """The file has its final name, and has no longer the temporary one; where it came by no name of this attempt,
        there is none."""

    async def skipped(self, proof: Proof) -> None:
        """The file was there already."""

    async def gone(self, temporary_file: TemporaryFile) -> None:
        """The file is certainly no longer there, or is where it belongs."""
