"""Proving that what stands at the destination is what was read at the source."""

from data_mover.backends.api import Files, Source
from data_mover.domain.errors import VerifyFailed
from data_mover.transfer.copy import Copied
from data_mover.transfer.hashing import Hashed
from data_mover.transfer.recorder import Recorder
from data_mover.transfer.tasks import Checkpoint

#: From this size on a command on the host is asked first; starting one costs about as much as reading 8 MiB back.
REMOTE_DIGEST_BYTES = 8 * 2**20


def verify(destination: Files, path: str, copied: Copied, recorder: Recorder) -> str:
    """How it was proven that the file at the path is what was copied: `sha256-remote`, `sha256-readback` or `size`.

    VerifyFailed if it is not. What a command on the host says can only confirm; reading back decides.
    """
    _require_size(destination, path, copied)
    if destination.options.verify == "size":
        return "size"
    if _is_confirmed(destination, path, copied.size_bytes, copied.sha256, recorder):
        return "sha256-remote"
    if read_digest(destination, path, recorder) != copied.sha256:
        raise VerifyFailed(f"{destination.host}: the SHA-256 is another")
    return "sha256-readback"


def has_prefix(destination: Files, path: str, checkpoint: Checkpoint, recorder: Recorder) -> bool:
    """Whether the file at the path begins as the checkpoint says, whatever the registry allows as a proof."""
    count, sha256 = checkpoint.offset_bytes, checkpoint.sha256
    return _is_confirmed(destination, path, count, sha256, recorder) or (
        read_digest(destination, path, recorder, count) == sha256
    )


def has_digest(destination: Files, path: str, sha256: str, recorder: Recorder) -> bool:
    """Whether there is a file at the path, and its bytes have the digest."""
    file_stat = destination.stat(path)
    if file_stat is None:
        return False
    return _is_confirmed(destination, path, file_stat.size_bytes or 0, sha256, recorder) or (
        read_digest(destination, path, recorder) == sha256
    )


def read_digest(files: Source, path: str, recorder: Recorder, first_bytes: int | None = None) -> str:
    """The SHA-256 in hexadecimal of what a new handle reads at the path, of all or of the first bytes."""
    with files.open(path) as reader:
        read = Hashed(reader.blocks())
        for _ in read.rest() if first_bytes is None else read.until(first_bytes):
            recorder.alive()
    return read.sha256


def _is_confirmed(destination: Files, path: str, first_bytes: int, sha256: str, recorder: Recorder) -> bool:
    """Whether the host is to be asked, and finds that the file's first bytes have the digest."""
    if destination.options.verify != "sha256" or first_bytes < REMOTE_DIGEST_BYTES:
        return False
    recorder.busy(destination.options.patience_seconds(first_bytes))
    digest = destination.sha256(path, first_bytes)
    recorder.alive()
    return digest == sha256


def _require_size(destination: Files, path: str, copied: Copied) -> None:
    file_stat = destination.stat(path)
    size = file_stat.size_bytes if file_stat else None
    if size != copied.size_bytes:
        raise VerifyFailed(f"{destination.host}: {copied.size_bytes} bytes were sent, {size} are there")
