"""Prove that the file at the destination is what was read at the source."""

from data_mover.backends.api import Files, Source
from data_mover.domain.errors import NoSuchFile, SourceChanged, VerifyFailed
from data_mover.transfer.copy import Copied, Hashed
from data_mover.transfer.recorder import Recorder
from data_mover.transfer.tasks import Checkpoint

#: from this size on a command on the host is tried first; starting one costs about as much as reading 8 MiB back
REMOTE_DIGEST_BYTES = 8 * 2**20


async def verify(destination: Files, path: str, copied: Copied, recorder: Recorder) -> str:
    """Prove that the file at the path is what was copied; return how: `sha256-remote`, `sha256-readback` or `size`.

    Raises VerifyFailed. A command on the host can only confirm; otherwise the file is read back.
    """
    if destination.options.verify == "size":
        await _require_size(destination, path, copied)
        return "size"
    if _is_confirmed(destination, path, copied.size_bytes, copied.sha256, recorder):
        await _require_size(destination, path, copied)
        return "sha256-remote"
    await _read_back(destination, path, copied, recorder)
    return "sha256-readback"


async def has_prefix(destination: Files, path: str, checkpoint: Checkpoint, recorder: Recorder) -> bool:
    """Whether the file at the path begins with the bytes of the checkpoint. SHA-256 decides, whatever `verify` says."""
    count, sha256 = checkpoint.offset_bytes, checkpoint.sha256
    return _is_confirmed(destination, path, count, sha256, recorder) or (
        await read_digest(destination, path, recorder, count) == sha256
    )


async def has_digest(destination: Files, path: str, sha256: str, recorder: Recorder) -> bool:
    """Whether there is a file at the path with this SHA-256."""
    file_stat = await destination.astat(path)
    if file_stat is None:
        return False
    return _is_confirmed(destination, path, file_stat.size_bytes or 0, sha256, recorder) or (
        await read_digest(destination, path, recorder) == sha256
    )


async def read_digest(files: Source, path: str, recorder: Recorder, first_bytes: int | None = None) -> str:
    """Return the SHA-256, in hexadecimal, of what a new handle reads at the path: all of it, or the first bytes."""
    with await files.aopen(path) as reader, Hashed(reader.ablocks()) as read:
        async for block in read.rest() if first_bytes is None else read.until(first_bytes):
            recorder.read(len(block))
        return read.sha256


async def _read_back(destination: Files, path: str, copied: Copied, recorder: Recorder) -> None:
    """Raise VerifyFailed unless a new handle reads exactly what was copied."""
    try:
        reopened = await destination.areopen(path, copied.size_bytes)
    except NoSuchFile as gone:
        raise VerifyFailed(f"{destination.host}: the file is gone") from gone
    with reopened as reader, Hashed(reader.ablocks()) as read:
        _require_same_size(destination, copied, reader.stat.size_bytes)
        try:
            async for block in read.rest():
                recorder.read(len(block))
        except SourceChanged as more:
            raise VerifyFailed(f"{destination.host}: more than {copied.size_bytes} bytes are there") from more
        _require_same_size(destination, copied, read.size_bytes)
        if read.sha256 != copied.sha256:
            raise VerifyFailed(f"{destination.host}: the SHA-256 is another")


def _is_confirmed(destination: Files, path: str, first_bytes: int, sha256: str, recorder: Recorder) -> bool:
    """Whether a command on the host computes this SHA-256. Returns False too if reading back is cheaper or
    configured."""
    if destination.options.verify != "sha256" or first_bytes < REMOTE_DIGEST_BYTES:
        return False
    recorder.busy(destination.options.patience_seconds(first_bytes))
    digest = destination.sha256(path, first_bytes)
    recorder.alive()
    return digest == sha256


async def _require_size(destination: Files, path: str, copied: Copied) -> None:
    file_stat = await destination.astat(path)
    _require_same_size(destination, copied, file_stat.size_bytes if file_stat else None)


def _require_same_size(destination: Files, copied: Copied, size: int | None) -> None:
    if size != copied.size_bytes:
        raise VerifyFailed(f"{destination.host}: {copied.size_bytes} bytes were sent, {size} are there")
