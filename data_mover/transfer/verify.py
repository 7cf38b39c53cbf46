"""Proving that what stands at the destination is what was read at the source."""

import hashlib

from data_mover.errors import VerifyFailed
from data_mover.protocols.base import Files
from data_mover.transfer.copy import Copied
from data_mover.transfer.watch import Watch

#: From this size on a command on the host is asked first; starting one costs about as much as reading 8 MiB back.
REMOTE_DIGEST_BYTES = 8 * 2**20


def verify(destination: Files, path: str, copied: Copied, watch: Watch) -> str:
    """How it was proven that the file at the path is what was copied: `sha256-remote`, `sha256-readback` or `size`.

    VerifyFailed if it is not. What a command on the host says can only confirm; reading back decides.
    """
    _require_size(destination, path, copied)
    if destination.options.verify == "size":
        return "size"
    if _asks_the_host(destination, copied) and destination.sha256(path) == copied.sha256:
        return "sha256-remote"
    if read_digest(destination, path, watch) != copied.sha256:
        raise VerifyFailed(f"{destination.host}: the SHA-256 is another")
    return "sha256-readback"


def read_digest(files: Files, path: str, watch: Watch) -> str:
    """The SHA-256 in hexadecimal of what a new handle reads at the path."""
    digest = hashlib.sha256()
    with files.open(path) as reader:
        for block in reader.blocks():
            digest.update(block)
            watch.alive()
    return digest.hexdigest()


def _asks_the_host(destination: Files, copied: Copied) -> bool:
    return destination.options.verify == "sha256" and copied.size_bytes >= REMOTE_DIGEST_BYTES


def _require_size(destination: Files, path: str, copied: Copied) -> None:
    facts = destination.facts(path)
    size = facts.size_bytes if facts else None
    if size != copied.size_bytes:
        raise VerifyFailed(f"{destination.host}: {copied.size_bytes} bytes were sent, {size} are there")
