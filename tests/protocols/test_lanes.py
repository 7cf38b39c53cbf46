"""A large file on several channels of one connection: every byte arrives, or its writer fails."""

import os
import threading

import pytest

from data_mover.backends import PROTOCOLS, connect
from data_mover.backends.api import NewFile
from data_mover.backends.sftp import lanes, streams
from data_mover.backends.sftp.session import Moved
from data_mover.backends.ssh.connection import WINDOW_BYTES
from data_mover.domain.errors import MoveFailure
from tests.servers.faulty_sftp import Fault, faulty_server
from tests.servers.openssh import openssh_server
from tests.servers.processes import descendants, eventually

MEBIBYTE = 2**20
COMPLETES, OTHER_BYTES = "", "other bytes"

#: the outcome where every channel but the first has this fault
FAULTS = {
    ("open", "fails"): COMPLETES,
    ("open", "is dropped"): COMPLETES,
    ("open", "is answered with another kind"): COMPLETES,
    ("realpath", "reports another path"): COMPLETES,
    ("init", "is answered with garbage"): COMPLETES,
    ("write", "is answered late"): COMPLETES,
    ("write", "fails"): "host-failed",
    ("write", "is dropped"): "stalled",
    ("write", "is done and not answered"): "stalled",
    ("write", "is pretended"): OTHER_BYTES,
    ("write", "is altered"): OTHER_BYTES,
    ("write", "is misplaced"): OTHER_BYTES,
    ("write", "cuts"): "connection-lost",
    ("write", "is answered with garbage"): "connection-lost",
    ("write", "is answered twice"): "connection-lost",
    ("close", "fails"): "host-failed",
    ("close", "is done and not answered"): "stalled",
}


@pytest.fixture(autouse=True)
def _every_host_is_far(monkeypatch):
    """A file gets as many lanes as it may have, whatever its size and the distance."""
    monkeypatch.setattr(lanes, "NEAR_SECONDS", 0)
    monkeypatch.setattr(lanes, "FAR_ROUND_TRIPS", 10**6)
    monkeypatch.setattr(streams, "LANED_BYTES", MEBIBYTE)


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture(scope="module")
def faulty(tmp_path_factory):
    with faulty_server(tmp_path_factory.mktemp("faulty")) as server:
        yield server


def log_in(server, root, **changes):
    return connect("vis", PROTOCOLS["sftp"].options.model_validate(server.options(root, **changes)))


@pytest.mark.parametrize(("extra", "streams", "most"), [("", 4, 4), ("", 1, 1), ("Match all\nMaxSessions 3", 8, 3)])
def test_a_file_has_as_many_lanes_as_registry_and_host_allow_and_leaves_none(extra, streams, most, root, tmp_path):
    content = os.urandom(MEBIBYTE) * 64 + b"end"
    threads = threading.active_count()
    with (
        openssh_server(tmp_path / "ssh", extra=extra) as server,
        log_in(server, root, streams=streams) as destination,
    ):
        alone = len(descendants(server.pid))
        with destination.create("/a", NewFile(len(content), 0o644, 1e9)) as writer:
            counts, acknowledged = [0], [0]
            for start in range(0, len(content), 2**18):
                writer.write(content[start : start + 2**18])
                counts.append(len(descendants(server.pid)) - alone)
                acknowledged.append(writer.acknowledged_bytes)
            writer.commit()

            assert writer.acknowledged_bytes == len(content)
            assert acknowledged == sorted(acknowledged)
            assert max(counts) + 1 == most
        assert (root / "a").read_bytes() == content
        assert os.stat(root / "a").st_mtime == 1e9
        eventually(lambda: len(descendants(server.pid)) <= alone, "the other channels are closed")
    eventually(lambda: threading.active_count() <= threads, "every thread has ended")


def test_what_is_synced_has_every_byte_before_it_on_whichever_lane(root, openssh):
    content = os.urandom(16 * MEBIBYTE)
    with (
        log_in(openssh, root) as destination,
        destination.create("/a", NewFile(len(content), 0o644, 1e9)) as writer,
    ):
        for start in range(0, len(content), 2**18):
            writer.write(content[start : start + 2**18])
            if start % (4 * MEBIBYTE) == 0:
                writer.sync()
                writer.wait_for_sync()
                assert writer.synced_bytes == start + 2**18
                assert (root / "a").read_bytes()[: writer.synced_bytes] == content[: writer.synced_bytes]


@pytest.mark.parametrize(("requests", "deed"), FAULTS)
def test_a_lane_that_fails_fails_the_file_unless_it_was_not_opened(requests, deed, faulty, root):
    outcome, content = COMPLETES, bytearray()
    faulty.fault = Fault()
    terms = {"streams": 2, "idle_timeout_seconds": 1, "connect_timeout_seconds": 5}
    with log_in(faulty.server, root, **terms) as destination:
        faulty.fault = Fault(requests, deed, 2 * (deed == "is answered late"))
        try:
            with destination.create("/a", NewFile(None, 0o644, 1e9)) as writer:
                write_on_lanes(writer, content)
                writer.commit()
        except MoveFailure as failure:
            outcome = OTHER_BYTES if failure.code == "verify-failed" else failure.code
        else:
            outcome = COMPLETES if (root / "a").read_bytes() == content else OTHER_BYTES
        faulty.fault = Fault()

    assert outcome == FAULTS[requests, deed]


def write_on_lanes(writer, content):
    """Write until other lanes have been opened, or could not be, and then some more."""
    opened = False
    while not opened or is_opening():
        opened = opened or is_opening()
        write_block(writer, content)
    for _ in range(32):
        write_block(writer, content)


def write_block(writer, content):
    block = os.urandom(2**18)
    writer.write(block)
    content += block


def is_opening():
    return any(thread.name.startswith("lane") for thread in threading.enumerate())


def test_a_far_source_is_requested_ahead_within_the_window_and_read_in_order(root, openssh):
    content = os.urandom(MEBIBYTE) * 40 + b"end"
    (root / "a").write_bytes(content)
    with log_in(openssh, root) as source:
        near = source._session.read_ahead_bytes
        source._session.round_trip_seconds = 1.0

        assert near < source._session.read_ahead_bytes < WINDOW_BYTES
        with source.open("/a") as reader:
            assert b"".join(reader.blocks(5)) == content[5:]


def test_a_lane_follows_no_link_that_the_file_was_exchanged_for(root, openssh, tmp_path):
    (tmp_path / "elsewhere").write_bytes(b"old")
    (root / "a").symlink_to(tmp_path / "elsewhere")
    with log_in(openssh, root) as destination, pytest.raises(Moved):
        destination._session.open_lane(f"{root}/a")
    assert (tmp_path / "elsewhere").read_bytes() == b"old"


def test_a_writer_that_is_left_while_lanes_are_being_opened_leaves_none(root, openssh):
    threads = threading.active_count()
    with log_in(openssh, root) as destination:
        alone = len(descendants(openssh.pid))
        with destination.create("/a", NewFile(2**40, 0o644, 1e9)) as writer:
            while not is_opening():
                writer.write(bytes(2**18))

        eventually(lambda: len(descendants(openssh.pid)) <= alone, "the other channels are closed")
        assert destination.stat("/a").size_bytes > 0
    eventually(lambda: threading.active_count() <= threads, "every thread has ended")
