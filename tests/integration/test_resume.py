"""A connection that is cut in mid copy: what the next attempt sends, counted on the wire."""

import os
from dataclasses import replace
from pathlib import Path

import pytest

from data_mover.backends import PROTOCOLS, connect
from data_mover.backends.sftp import lanes, streams
from data_mover.domain.errors import MoveFailure
from data_mover.transfer import FileTask
from data_mover.transfer.copy import MOST_AGAIN_BYTES
from tests.servers.proxy import Fault, proxy
from tests.unit.transfer.diary import Diary, files, move_file

MEBIBYTE = 2**20
CHECKPOINT_BYTES = 8 * MEBIBYTE
#: what SFTP may have sent without knowing that it is on disk: twice 64 requests of 255 KiB
IN_FLIGHT_BYTES = 32 * MEBIBYTE
#: what is sent again at most, whatever is in flight, and the windows of eight lanes
LANES_BYTES = MOST_AGAIN_BYTES + 8 * 3 * MEBIBYTE
#: SSH's and SFTP's own share
OVERHEAD = 1.01
ORDER = FileTask(
    job_id=7,
    file_number=0,
    attempt=1,
    source_path="/a",
    path="/b",
    checkpoint_bytes=CHECKPOINT_BYTES,
    state_dir=Path("/tmp"),
)


@pytest.fixture
def source(tmp_path):
    return files(tmp_path / "source")


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def network(openssh):
    with proxy(openssh.port) as network:
        yield network


@pytest.fixture(params=["sftp", "scp"])
def log_in(request, openssh, network, root):
    """Connects to the host, through the network."""
    table = openssh.options(root, protocol=request.param, port=network.port, idle_timeout_seconds=10)
    options = PROTOCOLS[request.param].options.model_validate(table)
    return lambda: connect("vis", options)


@pytest.mark.parametrize(
    ("count", "fault"),
    [
        (0, Fault.CUT),
        (1, Fault.CUT),
        (32_768, Fault.RESET),
        (MEBIBYTE, Fault.CUT),
        (64 * MEBIBYTE - 1, Fault.RESET),
        (64 * MEBIBYTE + 1, Fault.CUT),
    ],
)
def test_the_next_attempt_sends_what_had_no_checkpoint(source, root, network, log_in, count, fault):
    _assert_resumed(source, root, network, log_in, count, fault, IN_FLIGHT_BYTES)


@pytest.mark.parametrize("log_in", ["sftp"], indirect=True)
@pytest.mark.parametrize(("count", "fault"), [(MEBIBYTE, Fault.RESET), (120 * MEBIBYTE, Fault.CUT)])
def test_so_it_does_after_a_copy_on_several_lanes(source, root, network, log_in, count, fault, monkeypatch):
    monkeypatch.setattr(lanes, "NEAR_SECONDS", 0)
    monkeypatch.setattr(lanes, "FAR_ROUND_TRIPS", 10**6)
    monkeypatch.setattr(streams, "LANED_BYTES", MEBIBYTE)

    _assert_resumed(source, root, network, log_in, count, fault, LANES_BYTES)


def _assert_resumed(source, root, network, log_in, count, fault, in_flight_bytes):
    content = os.urandom(count + 4 * MEBIBYTE)
    (root.parent / "source" / "a").write_bytes(content)
    first, second = Diary(), Diary()
    with log_in() as destination:
        network.strike(fault, after_bytes=count)
        with pytest.raises(MoveFailure) as failed:
            move_file(ORDER, source, destination, first)
    assert failed.value.retryable
    assert not (root / "b").exists()

    sent_before = network.sent_bytes
    with log_in() as destination:
        move_file(replace(ORDER, attempt=2, temporary_files=tuple(first.on_record)), source, destination, second)

    [start] = [entry[1] for entry in second.entries if entry[0] == "copying from"]
    assert start >= count - CHECKPOINT_BYTES - in_flight_bytes
    assert network.sent_bytes - sent_before < (len(content) - start) * OVERHEAD + MEBIBYTE
    assert (root / "b").read_bytes() == content
    assert os.listdir(root) == ["b"]
    assert second.on_record == []
