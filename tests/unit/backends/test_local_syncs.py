"""Syncs of a local disk, gathered."""

import os

import pytest

from data_mover.backends.api import NewFile
from data_mover.backends.futures import complete
from data_mover.backends.local import syncs
from data_mover.backends.local.backend import LocalFiles
from data_mover.backends.local.options import LocalOptions
from data_mover.backends.local.syncs import Syncs
from data_mover.domain.errors import HostFailed


@pytest.fixture
def files(tmp_path):
    return LocalFiles(
        "disk", LocalOptions.model_validate({"protocol": "local", "root": str(tmp_path), "roles": ["destination"]})
    )


@pytest.fixture
def synced(monkeypatch):
    """What is synced, in order: files and directories by their inode."""
    order = []
    monkeypatch.setattr(os, "fsync", lambda descriptor: order.append(os.fstat(descriptor).st_ino))
    return order


def renamed(files, number):
    """Step the rename of a file up to where it waits."""
    way = files.areplace(f"/t{number}", f"/f{number}")
    return way, way.send(None)


def test_a_directory_is_synced_once_for_all_files_that_were_renamed_in_it(files, tmp_path, synced):
    for number in range(3):
        (tmp_path / f"t{number}").touch()
    ways = [renamed(files, number) for number in range(3)]
    assert synced == []

    files.lines[0].flush()

    assert synced == [tmp_path.stat().st_ino]
    assert all(future.is_done for _, future in ways)
    for way, _ in ways:
        with pytest.raises(StopIteration):
            way.send(None)


def test_files_are_on_disk_before_the_directory_that_has_their_names(files, tmp_path, synced):
    (tmp_path / "t0").touch()
    writer = files.create("/new", NewFile(0, 0o644, 0.0))
    commit = writer.acommit()
    commit.send(None)
    renamed(files, 0)

    files.lines[0].flush()

    assert synced == [(tmp_path / "new").stat().st_ino, tmp_path.stat().st_ino]


@pytest.mark.parametrize("slow_seconds", [-1.0, 60.0])
def test_one_file_that_cannot_be_synced_fails_alone(files, slow_seconds, monkeypatch):
    monkeypatch.setattr(syncs, "SLOW_SECONDS", slow_seconds)
    writers = [files.create(f"/{number}", NewFile(0, 0o644, 0.0)) for number in range(5)]
    broken = os.fstat(writers[3]._descriptor).st_ino

    def fsync(descriptor):
        if os.fstat(descriptor).st_ino == broken:
            raise OSError(5, "the disk is broken")

    monkeypatch.setattr(os, "fsync", fsync)
    ways = [writer.acommit() for writer in writers]
    for way in ways:
        way.send(None)
    files.lines[0].flush()

    for number, way in enumerate(ways):
        with pytest.raises(HostFailed if number == 3 else StopIteration):
            way.send(None)
    for writer in writers:
        writer.close()


def test_a_directory_that_cannot_be_synced_does_not_undo_a_rename(files, tmp_path, monkeypatch):
    (tmp_path / "t0").touch()

    def fsync(descriptor):
        raise OSError(5, "the disk is broken")

    monkeypatch.setattr(os, "fsync", fsync)
    files.replace("/t0", "/f0")

    assert os.listdir(tmp_path) == ["f0"]


def test_nothing_is_left_open(tmp_path):
    gathered = Syncs()
    directory = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    before = len(os.listdir("/proc/self/fd"))

    async def wait():
        await gathered.directory(directory)

    complete(wait())

    assert len(os.listdir("/proc/self/fd")) == before
    os.close(directory)
