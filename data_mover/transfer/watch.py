"""What a transfer tells about itself while it works, and how it learns that it must stop."""

from dataclasses import dataclass
from typing import Protocol

from data_mover.transfer.order import Leftover


@dataclass(frozen=True)
class Proof:
    """What is known of a file that arrived: its size in bytes, its SHA-256 in hexadecimal, and how that was proven."""

    size_bytes: int
    sha256: str
    #: `sha256-remote`, `sha256-readback` or `size`
    verified: str


class Watch(Protocol):
    """The record of an attempt, as the transfer sees it.

    Every method may raise Fenced or Cancelled: the transfer then stops, and nothing is published.
    """

    def phase(self, name: str) -> None:
        """The transfer begins `resolving`, `transferring` or `verifying`."""

    def resolved(self, path: str, size_bytes: int) -> None:
        """The final path is decided, for all attempts to come, and the size of the source is known."""

    def leaving(self, leftover: Leftover) -> None:
        """A file is about to be created that must not stay; on return it is on record."""

    def moved(self, acknowledged_bytes: int) -> None:
        """So many bytes of the file have been acknowledged by the destination; the same number again is no movement."""

    def alive(self) -> None:
        """Something moved that is not new bytes at the destination."""

    def publishing(self, proof: Proof) -> None:
        """The file is proven and about to get its final name; on return that is on record. From now on it is too late
        to cancel."""

    def not_published(self) -> None:
        """It is certain that the file did not get its final name after all."""

    def gone(self, leftover: Leftover) -> None:
        """The file is certainly no longer there, or is where it belongs."""
