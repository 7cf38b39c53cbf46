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
from data_mover.domain.errors import MoveFailure, NotAllowed

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
    """Somebody exchanges what stands at the path for a link, and back, as fast as that goes."""
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
def remote(openssh, tmp_path):
    for name in ("root", "outside"):
        (tmp_path / name).mkdir()
    (tmp_path / "outside" / "file").write_bytes(SECRET)
    (tmp_path / "outside" / "file").chmod(0o600)
    os.utime(tmp_path / "outside" / "file", (1, 1))
    table = openssh.options(tmp_path / "root", protocol="scp")
    with writable(connect("far", PROTOCOLS["scp"].options.model_validate(table))) as files:
        yield files


def victim(tmp_path):
    path = tmp_path / "outside" / "file"
    return path.read_bytes(), path.stat().st_mode & 0o777, path.stat().st_mtime


def test_scp_writes_into_the_file_that_it_has_created_whatever_has_its_name_now(remote, tmp_path):
    name = tmp_path / "root" / "new"
    with remote.create("/new", NewFile(6, 0o644, 99.0)) as writer:
        name.rename(tmp_path / "root" / "moved")
        name.symlink_to(tmp_path / "outside" / "file")
        writer.write(b"inside")
        writer.commit()

    assert victim(tmp_path) == (SECRET, 0o600, 1)
    assert (tmp_path / "root" / "moved").read_bytes() == b"inside"


def test_scp_creates_nothing_through_a_link(remote, tmp_path):
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


def test_scp_resumes_no_file_that_has_become_a_link(remote, tmp_path):
    def use():
        with remote.resume("/begun", NewFile(12, 0o644, 99.0), 6) as writer:
            writer.write(b"inside")
            writer.commit()

    (tmp_path / "root" / "begun").write_bytes(b"begun ")
    with swapping(tmp_path / "root" / "begun", tmp_path / "outside" / "file"):
        again_and_again(use)
    assert victim(tmp_path) == (SECRET, 0o600, 1)
