"""Small files on several channels of one connection, where the host syncs slowly."""

import itertools
import os
import signal
import threading

import pytest

from data_mover.backends import PROTOCOLS, connect
from data_mover.backends.api import NewFile
from data_mover.backends.sftp import channels
from tests.servers.openssh import openssh_server
from tests.servers.processes import descendants, eventually


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def slow(monkeypatch):
    """Every sync counts as slow, and two files show it."""
    monkeypatch.setattr(channels, "SLOW_SECONDS", -1.0)
    monkeypatch.setattr(channels, "FILES", 2)


def log_in(server, root, **changes):
    return connect("vis", PROTOCOLS["sftp"].options.model_validate(server.options(root, **changes)))


def write(files, path, content):
    with files.create(path, NewFile(len(content), 0o644, 1e9)) as writer:
        writer.write(content)
        writer.commit()


def write_until(files, count):
    """Write files until there are so many channels."""
    numbers = itertools.count()
    eventually(
        lambda: write(files, f"/more-{next(numbers)}", b"more") or len(files.lines) == count, f"{count} channels"
    )


@pytest.mark.usefixtures("slow")
@pytest.mark.parametrize(("extra", "streams", "most"), [("", 8, 4), ("", 1, 1), ("Match all\nMaxSessions 3", 8, 3)])
def test_small_files_have_as_many_channels_as_registry_and_host_allow(extra, streams, most, root, tmp_path):
    threads = threading.active_count()
    contents = {f"{number}": os.urandom(10_000) for number in range(40)}
    with openssh_server(tmp_path / "ssh", extra=extra) as server:
        with log_in(server, root, streams=streams) as files:
            for name, content in contents.items():
                write(files, f"/{name}", content)
            write_until(files, most)
            assert len(files.lines) == most
        eventually(lambda: not descendants(server.pid), "the channels are closed")
    assert {path.name: path.read_bytes() for path in root.iterdir() if "more" not in path.name} == contents
    eventually(lambda: threading.active_count() <= threads, "every thread has ended")


def test_one_channel_is_enough_where_syncs_are_quick(root, openssh, monkeypatch):
    monkeypatch.setattr(channels, "SLOW_SECONDS", 60.0)
    monkeypatch.setattr(channels, "FILES", 2)
    with log_in(openssh, root) as files:
        for number in range(20):
            write(files, f"/{number}", b"content")
        assert len(files.lines) == 1


@pytest.mark.usefixtures("slow")
def test_a_connection_of_which_one_channel_has_ended_is_not_used_again(root, tmp_path):
    with openssh_server(tmp_path / "ssh") as server, log_in(server, root) as files:
        write_until(files, 4)
        assert files.serves_again()

        other = max(descendants(server.pid))  # the youngest
        os.kill(other, signal.SIGKILL)

        eventually(lambda: not files.serves_again(), "it shows")
