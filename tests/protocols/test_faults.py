"""A host that fails at one point: the move must learn of it."""

from contextlib import ExitStack

import pytest

from data_mover.backends import PROTOCOLS
from data_mover.backends.api import NewFile
from data_mover.backends.ssh.options import SshOptions
from data_mover.domain.errors import MoveFailure, NoSpace, PermissionRefused
from tests.protocols.conftest import Host
from tests.servers.asyncssh_server import asyncssh_server
from tests.servers.small_disk import small_disk

SIZE = 2 * 2**20


@pytest.fixture
def faulty(tmp_path):
    """Connects to a server that fails the Nth call of an operation."""
    root = tmp_path / "root"
    root.mkdir()

    def connect(operation, number):
        server = opened.enter_context(asyncssh_server(tmp_path / "keys", operation, number))
        options = SshOptions.model_validate(server.options(root, idle_timeout_seconds=10))
        return opened.enter_context(Host("vis", options, root).connect())

    with ExitStack() as opened:
        yield connect


def put(files, path="/a", size=SIZE):
    with files.create(path, NewFile(size, 0o644, 1_700_000_000)) as writer:
        writer.write(bytes(size))
        writer.commit()


@pytest.mark.parametrize(
    ("operation", "number"),
    [("write", 1), ("write", 5), ("write", 9), ("fsync", 1), ("fstat", 1), ("close", 1)],
)
def test_a_step_that_the_host_refuses_fails_the_file(faulty, operation, number):
    files = faulty(operation, number)

    with pytest.raises(MoveFailure, match="vis"):
        put(files)


@pytest.mark.parametrize(("operation", "number"), [("write", 1), ("fsync", 1), ("fsync", 2)])
def test_what_the_host_refuses_to_bring_to_disk_never_counts_as_being_there(faulty, operation, number):
    files = faulty(operation, number)

    def write():
        with files.create("/a", NewFile(40 * SIZE, 0o644, 1_700_000_000)) as writer:
            for count in range(1, 41):
                writer.write(bytes(SIZE))
                if count % 10 == 1:
                    writer.sync()
                synced.append(writer.synced_bytes)
            writer.commit()

    synced: list[int] = []
    with pytest.raises(MoveFailure, match="vis"):
        write()

    assert set(synced) <= ({0, SIZE} if (operation, number) == ("fsync", 2) else {0})


def test_a_failed_write_does_not_spoil_the_next_file(faulty):
    files = faulty("write", 3)

    with pytest.raises(MoveFailure):
        put(files, "/a")
    put(files, "/b")

    assert files.stat("/b").size_bytes == SIZE


def test_attributes_are_set_by_name_where_the_host_cannot_by_handle(faulty, tmp_path):
    files = faulty("fsetstat", 1)

    put(files)

    assert (tmp_path / "root" / "a").stat().st_mtime == 1_700_000_000


def test_a_read_that_the_host_refuses_fails_the_file(faulty, tmp_path):
    (tmp_path / "root" / "a").write_bytes(bytes(SIZE))
    files = faulty("read", 4)

    with pytest.raises(MoveFailure, match="/a"), files.open("/a") as reader:
        b"".join(reader.blocks())


def test_a_replacement_that_the_host_refuses_keeps_the_old_file(faulty, tmp_path):
    (tmp_path / "root" / "old").write_bytes(b"old")
    files = faulty("posix_rename", 1)
    put(files)

    with pytest.raises(MoveFailure):
        files.replace("/a", "/old")

    assert (tmp_path / "root" / "old").read_bytes() == b"old"
    assert (tmp_path / "root" / "a").stat().st_size == SIZE


@pytest.mark.parametrize(("options", "failure"), [("rw", NoSpace), ("nr_inodes=1", NoSpace), ("ro", PermissionRefused)])
@pytest.mark.parametrize("protocol", ["sftp", "scp", "local"])
def test_a_disk_that_is_full_or_read_only_is_distinguished_from_other_failures(
    protocol, options, failure, tmp_path, openssh
):
    with small_disk(tmp_path / "root", 2**20, options) as root:
        table = {**openssh.options(root), "protocol": protocol}
        if protocol == "local":
            table = {"protocol": "local", "root": str(root), "roles": ["destination"]}
        host = Host(protocol, PROTOCOLS[protocol].options.model_validate(table), root)

        with host.connect() as files, pytest.raises(failure, match=protocol):
            put(files)
