"""Names below a root that somebody swaps for links that lead out of it, while they are used."""

import itertools
import os
import threading
import time
from contextlib import contextmanager, suppress

import pytest

from data_mover.backends import PROTOCOLS, connect, writable
from data_mover.backends.api import NewFile
from data_mover.backends.local import root as root_module
from data_mover.backends.local.backend import LocalFiles
from data_mover.backends.local.options import LocalOptions
from data_mover.backends.local.root import Root, rename_to_free
from data_mover.backends.scp import backend as scp_backend
from data_mover.backends.sftp import backend as sftp_backend
from data_mover.backends.sftp.session import SftpSession
from data_mover.domain.errors import MoveFailure, NotAllowed, SourceChanged

SECONDS = 2.0
SECRET = b"outside"


@pytest.fixture(params=["openat2", "step by step"])
def files(request, tmp_path, monkeypatch):
    if request.param == "step by step":
        monkeypatch.setattr(root_module, "_SYS_OPENAT2", 100_000)  # a call that no kernel has
    for name in ("root", "outside"):
        (tmp_path / name).mkdir()
    (tmp_path / "root" / "directory").mkdir()
    (tmp_path / "outside" / "file").write_bytes(SECRET)
    (tmp_path / "root" / "directory" / "file").write_bytes(b"inside")
    return LocalFiles("disk", LocalOptions(protocol="local", root=str(tmp_path / "root"), roles=("source",)))


@contextmanager
def swapping(path, target):
    """Somebody exchanges the file at the path for a link, and back, as fast as possible."""
    over = threading.Event()
    link, aside = path.with_name("link"), path.with_name("aside")
    link.symlink_to(target)

    def swap():
        while not over.is_set():
            for one, other, third in ((path, aside, link), (path, link, aside)):
                os.rename(one, other)
                os.rename(third, path)

    thread = threading.Thread(target=swap)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def again_and_again(use):
    """How often it worked, and how often it was refused."""
    worked = refused = 0
    until = time.monotonic() + SECONDS
    while time.monotonic() < until:
        try:
            use()
            worked += 1
        except MoveFailure:
            refused += 1
    print(worked, "worked,", refused, "refused")
    return worked


def test_nothing_outside_is_read(files, tmp_path):
    read = set[bytes]()

    def use():
        with files.open("/directory/file") as reader:
            read.update(map(bytes, reader.blocks()))

    with swapping(tmp_path / "root" / "directory", tmp_path / "outside"):
        assert again_and_again(use)
    assert read == {b"inside"}


def test_nothing_outside_is_read_through_a_name_of_a_file(files, tmp_path):
    read = set[bytes]()

    def use():
        with files.open("/directory/file") as reader:
            read.update(map(bytes, reader.blocks()))

    with swapping(tmp_path / "root" / "directory" / "file", tmp_path / "outside" / "file"):
        assert again_and_again(use)
    assert read == {b"inside"}


def test_nothing_is_created_or_removed_outside(files, tmp_path):
    numbers = itertools.count()

    def use():
        name = f"/directory/{next(numbers)}"
        with files.create(name, NewFile(0, 0o644, 0)) as writer:
            writer.commit()
        files.remove(name)

    with swapping(tmp_path / "root" / "directory", tmp_path / "outside"):
        assert again_and_again(use)
    assert os.listdir(tmp_path / "outside") == ["file"]


def test_nothing_outside_gets_another_mode_or_time(files, tmp_path):
    outside = tmp_path / "outside"
    os.utime(outside, (1, 1))
    before = (outside.stat().st_mode, outside.stat().st_mtime)

    def use():
        files.set_attributes("/directory", 0o711, 99.0)

    with swapping(tmp_path / "root" / "directory", outside):
        assert again_and_again(use)
    assert (outside.stat().st_mode, outside.stat().st_mtime) == before


def test_links_that_stay_below_the_root_are_followed_and_others_are_refused(files, tmp_path):
    root = tmp_path / "root"
    (root / "relative").symlink_to("directory")
    (root / "absolute").symlink_to(root / "directory")
    (root / "out").symlink_to("../outside")
    (root / "far out").symlink_to(tmp_path / "outside")
    (root / "directory" / "up").symlink_to("../directory/file")

    for path in ("/relative/file", "/absolute/file", "/directory/up"):
        with files.open(path) as reader:
            assert b"".join(reader.blocks()) == b"inside"
        assert files.lock_name("/absolute/x") == files.lock_name("/directory/x")
    for path in ("/out/file", "/far out/file", "/../outside/file"):
        with pytest.raises(NotAllowed):
            files.open(path)


@pytest.mark.parametrize("flag_is_known", [True, False])
def test_a_rename_to_a_name_that_is_taken_is_refused(tmp_path, monkeypatch, flag_is_known):
    if not flag_is_known:
        monkeypatch.setattr(root_module, "_RENAME_NOREPLACE", 1 << 30)  # a flag that no kernel has
    (tmp_path / "a").write_text("a")
    (tmp_path / "b").write_text("b")
    with Root(str(tmp_path)).directory("/") as directory:
        with pytest.raises(FileExistsError):
            rename_to_free(directory, "a", directory, "b")
        rename_to_free(directory, "a", directory, "c")

    assert {name: (tmp_path / name).read_text() for name in os.listdir(tmp_path)} == {"b": "b", "c": "a"}


@pytest.fixture
def roots(tmp_path):
    for name in ("root", "outside", "root/directory"):
        (tmp_path / name).mkdir()
    (tmp_path / "outside" / "file").write_bytes(SECRET)
    (tmp_path / "outside" / "file").chmod(0o600)
    os.utime(tmp_path / "outside" / "file", (1, 1))
    os.utime(tmp_path / "outside", (1, 1))


@contextmanager
def host(protocol, openssh, tmp_path):
    table = openssh.options(tmp_path / "root", protocol=protocol)
    with writable(connect("far", PROTOCOLS[protocol].options.model_validate(table))) as files:
        yield files


@pytest.fixture(params=["sftp", "scp"])
def remote(request, openssh, tmp_path, roots):
    with host(request.param, openssh, tmp_path) as files:
        yield files


@pytest.fixture
def sftp(openssh, tmp_path, roots):
    with host("sftp", openssh, tmp_path) as files:
        yield files


@pytest.fixture
def scp(openssh, tmp_path, roots):
    with host("scp", openssh, tmp_path) as files:
        yield files


def victim(tmp_path):
    path = tmp_path / "outside" / "file"
    return path.read_bytes(), path.stat().st_mode & 0o777, path.stat().st_mtime


def test_a_host_writes_into_the_file_that_it_has_created_whatever_has_its_name_now(remote, tmp_path):
    name = tmp_path / "root" / "new"
    with remote.create("/new", NewFile(6, 0o644, 99.0)) as writer:
        name.rename(tmp_path / "root" / "moved")
        name.symlink_to(tmp_path / "outside" / "file")
        writer.write(b"inside")
        writer.commit()

    assert victim(tmp_path) == (SECRET, 0o600, 1)
    assert (tmp_path / "root" / "moved").read_bytes() == b"inside"


def test_a_host_creates_nothing_through_a_link(remote, tmp_path):
    name, over = tmp_path / "root" / "new", threading.Event()

    def link():
        while not over.is_set():
            with suppress(OSError):
                name.symlink_to(tmp_path / "outside" / "file")
            with suppress(OSError):
                name.unlink()

    def use():
        with remote.create("/new", NewFile(6, 0o644, 99.0)) as writer:
            writer.write(b"inside")
            writer.commit()

    thread = threading.Thread(target=link)
    thread.start()
    try:
        again_and_again(use)
    finally:
        over.set()
        thread.join()
    assert victim(tmp_path) == (SECRET, 0o600, 1)


def test_a_host_resumes_no_file_that_has_become_a_link(remote, tmp_path):
    def use():
        with remote.resume("/begun", NewFile(12, 0o644, 99.0), 6) as writer:
            writer.write(b"inside")
            writer.commit()

    (tmp_path / "root" / "begun").write_bytes(b"begun ")
    with swapping(tmp_path / "root" / "begun", tmp_path / "outside" / "file"):
        again_and_again(use)
    assert victim(tmp_path) == (SECRET, 0o600, 1)


def swap(tmp_path):
    """Somebody puts a link at the path of a directory that this connection knows."""
    (tmp_path / "root" / "directory").rename(tmp_path / "root" / "aside")
    (tmp_path / "root" / "directory").symlink_to(tmp_path / "outside")


def outside(tmp_path):
    return sorted(os.listdir(tmp_path / "outside")), (tmp_path / "outside").stat().st_mode & 0o777


CHANGES = {
    "create": lambda files: files.create("/directory/new", NewFile(0, 0o644, 99.0)),
    "make_directories": lambda files: files.make_directories("/directory/new/deep"),
    "set_attributes": lambda files: files.set_attributes("/directory", 0o711, 99.0),
    "set_attributes below": lambda files: files.set_attributes("/directory/below", 0o711, 99.0),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_host_changes_nothing_in_a_directory_that_has_become_a_link(remote, tmp_path, change):
    (tmp_path / "root" / "directory" / "below").mkdir()
    (tmp_path / "outside" / "below").mkdir()
    os.utime(tmp_path / "outside" / "below", (1, 1))
    remote.make_directories("/directory/below")
    for path in ("/directory/known", "/directory/below/known"):
        remote.create(path, NewFile(0, 0o644, 99.0)).close()
    before = outside(tmp_path)
    swap(tmp_path)

    with pytest.raises(NotAllowed):
        CHANGES[change](remote)

    assert outside(tmp_path) == before
    assert (tmp_path / "outside" / "below").stat().st_mtime == 1
    assert (tmp_path / "outside" / "below").stat().st_mode & 0o777 == 0o755


@pytest.fixture
def swapped_before_opening(monkeypatch, tmp_path):
    """Somebody puts the link there between the look at a path and its opening."""

    async def aopen(session, *arguments):
        swap(tmp_path)
        return await opening(session, *arguments)

    opening = SftpSession.aopen
    monkeypatch.setattr(SftpSession, "aopen", aopen)


@pytest.mark.parametrize("protocol", ["sftp", "scp"])
def test_a_host_lists_nothing_that_was_put_there_since_the_look(openssh, tmp_path, roots, monkeypatch, protocol):
    module = {"sftp": sftp_backend, "scp": scp_backend}[protocol]
    listing = module.listed

    def listed(*arguments):
        swap(tmp_path)
        return listing(*arguments)

    monkeypatch.setattr(module, "listed", listed)
    with host(protocol, openssh, tmp_path) as files, pytest.raises(NotAllowed):
        list(files.list("/directory"))


def test_scp_lists_nothing_outside(scp, tmp_path):
    """Over SFTP this race can be won: `docs/explanation/security.md`."""
    (tmp_path / "root" / "directory" / "inside").touch()
    names = set[str]()

    def use():
        names.update(entry.name for entry in scp.list("/directory"))

    with swapping(tmp_path / "root" / "directory", tmp_path / "outside"):
        again_and_again(use)
    assert names <= {"inside"}


@pytest.mark.parametrize("size_bytes", [6, 7])
def test_sftp_reads_nothing_that_was_put_there_since_the_look(sftp, tmp_path, swapped_before_opening, size_bytes):
    (tmp_path / "root" / "directory" / "file").write_bytes(b"x" * size_bytes)

    with sftp.open("/directory/file") as reader, pytest.raises(SourceChanged):
        list(reader.blocks())


def test_sftp_resumes_nothing_that_was_put_there_since_the_look(sftp, tmp_path, swapped_before_opening):
    (tmp_path / "root" / "directory" / "file").write_bytes(b"begun  ")

    with pytest.raises(NotAllowed):
        sftp.resume("/directory/file", NewFile(12, 0o644, 99.0), 6)

    assert victim(tmp_path) == (SECRET, 0o600, 1)


@pytest.mark.parametrize("name", ["directory", "directory/file"])
def test_scp_reads_nothing_outside(scp, tmp_path, name):
    """Over SFTP this race can be won: `docs/explanation/security.md`."""
    (tmp_path / "root" / "directory" / "file").write_bytes(b"inside")
    read = set[bytes]()

    def use():
        with scp.open("/directory/file") as reader:
            read.update(map(bytes, reader.blocks()))

    with swapping(tmp_path / "root" / name, tmp_path / "outside" / name.removeprefix("directory").removeprefix("/")):
        again_and_again(use)
    assert read <= {b"inside"}
