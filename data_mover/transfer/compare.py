"""Compare source and destination, to skip what need not be copied."""

from contextlib import closing
from dataclasses import replace

from data_mover.backends.api import Files, FileStat, Source
from data_mover.domain.errors import Exists, NameConflict
from data_mover.domain.locations import IfExists
from data_mover.domain.proof import Proof
from data_mover.transfer.names import require_checksum
from data_mover.transfer.recorder import Recorder
from data_mover.transfer.tasks import FileTask
from data_mover.transfer.verify import has_digest, read_digest


def require_two_names(destination: Files, twin_path: str, path: str) -> None:
    """Raise NameConflict if the host takes both paths for one, as hosts that fold case do: it lists only one of
    them."""
    if destination.stat(twin_path) is None or destination.stat(path) is None:
        return
    segments = list(zip(twin_path.split("/"), path.split("/"), strict=True))
    depth = next(number for number, (one, other) in enumerate(segments) if one != other)
    directory = "/".join(path.split("/")[:depth]) or "/"
    with closing(destination.list(directory)) as entries:
        listed = {entry.name for entry in entries if entry.name in segments[depth]}
    if len(listed) < 2:
        raise NameConflict(destination.named(path))


async def proof_of_what_is_there(
    task: FileTask, source: Source, source_stat: FileStat, destination: Files, recorder: Recorder
) -> Proof | None:
    """Return the proof that the file at the final path equals the source; None if the source is to be copied.

    Raises Exists if the request forbids replacing the file that is there.
    """
    if task.proof is None and task.if_exists is IfExists.REPLACE:
        return None
    there = await destination.astat(task.path)
    if there is None:
        return None
    may_be_it = source_stat.size_bytes in (None, there.size_bytes)
    if (
        task.proof is not None
        and may_be_it
        and await _is_unchanged(task.proof, task, source, source_stat, destination, recorder)
    ):
        return replace(task.proof, size_bytes=there.size_bytes or 0)
    if task.if_exists is IfExists.REPLACE:
        return None
    if task.if_exists is IfExists.REFUSE or not may_be_it:
        raise Exists(destination.named(task.path))
    recorder.phase("verifying")
    sha256 = await read_digest(source, task.source_path, recorder)
    require_checksum(task, sha256)
    if await read_digest(destination, task.path, recorder) != sha256:
        raise Exists(f"{destination.named(task.path)} has other bytes")
    return Proof.of(source_stat, there.size_bytes or 0, sha256, "sha256-readback")


async def _is_unchanged(
    proof: Proof, task: FileTask, source: Source, source_stat: FileStat, destination: Files, recorder: Recorder
) -> bool:
    """Whether source and destination are what an earlier job has proven. Reads the source if its host reports neither a
    time nor a version."""
    recorder.phase("verifying")
    if proof.identifies_source:
        is_same = proof.is_of(source_stat)
    else:
        is_same = await read_digest(source, task.source_path, recorder) == proof.sha256
    if destination.options.verify == "size" and source_stat.size_bytes is not None:
        return is_same
    return is_same and await has_digest(destination, task.path, proof.sha256, recorder)
