"""How far a copy runs ahead of what the host has on disk."""

import pytest

from data_mover.backends import PROTOCOLS, connect, writable
from data_mover.transfer import FileTask, copy
from tests.servers.asyncssh_server import asyncssh_server
from tests.servers.openssh import openssh_server
from tests.unit.transfer.diary import Diary, files, move_file

AT_MOST_BYTES, CHECKPOINT_BYTES, SIZE_BYTES, BLOCK_BYTES = 2**20, 2**18, 6 * 2**20, 2**18


def scp_server(tmp_path):
    program = tmp_path / "programs" / "sync"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nsleep 0.5\n")
    program.chmod(0o755)
    forced = f'PATH={program.parent}:$PATH exec sh -c "$SSH_ORIGINAL_COMMAND"'
    return openssh_server(tmp_path / "ssh", extra=f"ForceCommand {forced}")


def sftp_server(tmp_path):
    return asyncssh_server(tmp_path / "ssh", "syncs slowly")


@pytest.fixture(params=["scp", "sftp"])
def slow_disk(request, tmp_path, monkeypatch):
    """A host that takes half a second to bring a file to disk, and a bound that a small file reaches."""
    monkeypatch.setattr(copy, "MOST_AGAIN_BYTES", AT_MOST_BYTES)
    for name in ("source", "root"):
        (tmp_path / name).mkdir()
    server = scp_server if request.param == "scp" else sftp_server
    with server(tmp_path) as running:
        options = PROTOCOLS[request.param].options.model_validate(
            running.options(tmp_path / "root", protocol=request.param)
        )
        with writable(connect("far", options)) as destination:
            yield destination


def test_the_copy_waits_where_the_checkpoints_lag(slow_disk, tmp_path):
    (tmp_path / "source" / "a").write_bytes(b"x" * SIZE_BYTES)
    task = FileTask(
        job_id=1,
        file_number=0,
        attempt=1,
        source_path="/a",
        path="/a",
        checkpoint_bytes=CHECKPOINT_BYTES,
        state_dir=tmp_path,
    )
    diary = Diary()

    move_file(task, files(tmp_path / "source"), slow_disk, diary)

    on_disk, lags = 0, []
    for word, *details in diary.entries:
        if word == "checkpoint":
            on_disk = details[1].offset_bytes
        elif word == "moved":
            lags.append(details[0] - on_disk)
    assert max(lags) <= AT_MOST_BYTES + BLOCK_BYTES
    assert (tmp_path / "root" / "a").stat().st_size == SIZE_BYTES
