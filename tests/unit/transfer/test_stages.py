"""The way of one file, between two local directories: what is published when, and what is left behind."""

import hashlib
import itertools
import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from data_mover.backends.api import Entry, Reader, Writer
from data_mover.backends.local.backend import LocalFiles
from data_mover.backends.local.options import LocalOptions
from data_mover.domain.errors import (
    CannotReplace,
    ChecksumMismatch,
    ConnectionLost,
    Fenced,
    HostFailed,
    IsADirectory,
    NoSpace,
    NoSuchFile,
    PathBusy,
    PermissionRefused,
    ServiceUnavailable,
    SourceChanged,
    Stalled,
    UnknownOutcome,
    VerifyFailed,
)
from data_mover.domain.states import FileKind
from data_mover.transfer import FileTask, TemporaryFile, clear
from data_mover.transfer.names import require_checksum
from tests.unit.transfer.diary import Diary, files, move_file

OLD, NEW = b"old", b"new content"
NEW_SHA256 = hashlib.sha256(NEW).hexdigest()
TEMPORARY = TemporaryFile("/.data_mover-7-0-1-x")
ASIDE = TemporaryFile("/.data_mover-7-0-1-old", restores="/b")
ORDER = FileTask(
    job_id=7,
    file_number=0,
    attempt=1,
    source_path="/a",
    path="/b",
    checkpoint_bytes=2**20,
    state_dir=Path("/tmp"),
)


class CannotReplaceFiles(LocalFiles):
    """A host that renames only to a path that does not exist."""

    async def areplace(self, path, final_path):
        if self.stat(final_path) is not None:
            raise CannotReplace(self.host)
        await super().areplace(path, final_path)


class BreakingFiles(LocalFiles):
    """A host whose connection breaks around the rename."""

    breaks = "before"

    async def areplace(self, path, final_path):
        if self.breaks == "after":
            await super().areplace(path, final_path)
        raise ConnectionLost(self.host)


@pytest.fixture
def source(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_bytes(NEW)
    return files(tmp_path / "source")


@pytest.fixture
def root(tmp_path):
    """The destination's directory, with an old file."""
    (tmp_path / "vis").mkdir()
    (tmp_path / "vis" / "b").write_bytes(OLD)
    return tmp_path / "vis"


def contents(root):
    return {name: (root / name).read_bytes() for name in os.listdir(root) if (root / name).is_file()}


def test_a_file_is_recorded_before_it_is_opened_and_proven_before_it_is_published(source, root):
    diary = Diary()

    move_file(ORDER, source, files(root), diary)

    assert contents(root) == {"b": NEW}
    assert [word for word in diary.words if word not in ("moved", "read", "alive", "busy")] == [
        "placed",
        "creating",
        "transferring",
        "copying from",
        "verifying",
        "publishing",
        "published",
    ]
    assert (diary.proof.size_bytes, diary.proof.sha256, diary.proof.verified) == (
        len(NEW),
        NEW_SHA256,
        "sha256-readback",
    )


def test_the_temporary_name_is_beside_the_final_one_and_names_the_job(source, root):
    diary = Diary()

    move_file(replace(ORDER, path="/deep/er/a"), source, files(root), diary)

    [temporary] = [entry[1] for entry in diary.entries if entry[0] == "creating"]
    assert temporary.path.startswith("/deep/er/.data_mover-7-0-1-")
    assert (root / "deep" / "er" / "a").read_bytes() == NEW


@pytest.mark.parametrize("word", ["placed", "transferring", "creating", "moved", "verifying"])
def test_an_attempt_that_is_fenced_publishes_nothing_and_leaves_nothing(source, root, word):
    with pytest.raises(Fenced):
        move_file(ORDER, source, files(root), Diary(Fenced(), at=word))

    assert contents(root) == {"b": OLD}


@pytest.mark.parametrize("failure", [Fenced(), ServiceUnavailable(), RuntimeError()])
def test_where_the_mark_may_have_been_set_the_file_stays_on_record_for_the_next_attempt(source, root, failure):
    first, second = Diary(failure, at="publishing"), Diary()
    with pytest.raises(type(failure)):
        move_file(ORDER, source, files(root), first)
    assert len(first.on_record) == 1

    task = replace(ORDER, attempt=2, publishing_sha256=NEW_SHA256, temporary_files=tuple(first.on_record))
    move_file(task, source, files(root), second)

    assert contents(root) == {"b": NEW}
    assert "publishing" in second.words


@pytest.mark.parametrize(
    ("task", "failure"),
    [
        (replace(ORDER, source_path="/nothing"), NoSuchFile),
        (replace(ORDER, checksum="0" * 64), ChecksumMismatch),
        (replace(ORDER, path="/directory"), IsADirectory),
    ],
)
def test_what_fails_leaves_the_old_file_and_nothing_else(source, root, task, failure):
    (root / "directory" / "a").mkdir(parents=True)

    with pytest.raises(failure):
        move_file(task, source, files(root), Diary())

    assert contents(root) == {"b": OLD}
    assert contents(root / "directory") == {}


def test_a_checksum_that_is_another_is_reported_with_the_file_and_without_a_query():
    task = replace(ORDER, source_path="https://data.example.org/a?signature=c0ffee", checksum="0" * 64)

    with pytest.raises(ChecksumMismatch) as failed:
        require_checksum(task, NEW_SHA256)

    assert failed.value.detail == f"https://data.example.org/a?…: asked for {'0' * 64}, read {NEW_SHA256}"


def test_a_source_that_changes_meanwhile_is_not_published(source, root, tmp_path):
    class Meddling(Diary):
        async def lock_path(self, lock_name, size_bytes, temporary_file):
            with (tmp_path / "source" / "a").open("ab") as file:
                file.write(b"more")

    with pytest.raises(SourceChanged):
        move_file(ORDER, source, files(root), Meddling())

    assert contents(root) == {"b": OLD}


def test_bytes_that_change_at_the_destination_are_found(source, root):
    class Meddling(Diary):
        def phase(self, name):
            if name == "verifying":
                [temporary] = root.glob(".data_mover-*")
                temporary.write_bytes(b"NEW content")

    with pytest.raises(VerifyFailed):
        move_file(ORDER, source, files(root), Meddling())

    assert contents(root) == {"b": OLD}


def test_where_the_registry_allows_no_more_the_size_is_the_proof(source, root):
    diary = Diary()

    move_file(ORDER, source, files(root, verify="size"), diary)

    assert diary.proof.verified == "size"


def test_a_file_that_cannot_fit_is_not_begun(root, tmp_path):
    with (tmp_path / "huge").open("wb") as file:
        file.truncate(2**43)
    source = files(tmp_path)

    with pytest.raises(NoSpace):
        move_file(replace(ORDER, source_path="/huge"), source, files(root), Diary())

    assert contents(root) == {"b": OLD}


def test_no_more_is_written_than_the_size_that_the_source_told(source, root):
    class Endless(Reader):
        def __init__(self, file_stat):
            self.stat = file_stat

        def blocks(self, offset_bytes=0):
            for _ in range(100):
                sent.append(NEW[:4])
                yield sent[-1]

        def close(self):
            pass

    class Lying(LocalFiles):
        def open(self, path):
            return Endless(self.stat(path))

    class Watched(LocalFiles):
        def create(self, path, new_file):
            writer = super().create(path, new_file)
            written.append(writer)
            return writer

    sent: list[bytes] = []
    written: list[Writer] = []

    with pytest.raises(SourceChanged):
        move_file(ORDER, files(root.parent / "source", Lying), files(root, Watched), Diary())

    assert [writer.acknowledged_bytes for writer in written] == [8]
    assert len(sent) == 3
    assert contents(root) == {"b": OLD}


def test_where_a_host_cannot_replace_the_move_fails_and_says_so_on_record(source, root):
    diary = Diary()

    with pytest.raises(CannotReplace):
        move_file(ORDER, source, files(root, CannotReplaceFiles), diary)

    assert contents(root) == {"b": OLD}
    assert diary.words[-2:] == ["not published", "removed"]


def test_where_the_registry_allows_it_files_are_swapped(source, root):
    move_file(ORDER, source, files(root, CannotReplaceFiles, replace="swap"), Diary())

    assert contents(root) == {"b": NEW}


def test_an_old_file_that_cannot_be_removed_after_a_swap_stays_on_record(source, root):
    class Clinging(CannotReplaceFiles):
        def remove(self, path):
            if path.endswith("-old"):
                raise PermissionRefused(self.host)
            super().remove(path)

    diary = Diary()
    move_file(ORDER, source, files(root, Clinging, replace="swap"), diary)

    assert (root / "b").read_bytes() == NEW
    assert "not published" not in diary.words
    assert [temporary_file.restores for temporary_file in diary.on_record] == ["/b"]


class TakenMeanwhileFiles(CannotReplaceFiles):
    """A host where somebody else's file has the final path before the new one can be renamed there."""

    theirs = b"theirs"

    async def arename(self, path, free_path):
        if free_path == "/b":
            (Path(self.options.root) / "b").write_bytes(self.theirs)
        await super().arename(path, free_path)


def test_an_old_file_stays_where_another_one_came_before_the_new_one(source, root):
    diary = Diary()

    with pytest.raises(PermissionRefused):
        move_file(ORDER, source, files(root, TakenMeanwhileFiles, replace="swap"), diary)

    assert contents(root) == {"b": b"theirs", ".data_mover-7-0-1-old": OLD}
    assert [temporary_file.restores for temporary_file in diary.on_record] == ["/b"]


def test_an_old_file_goes_where_the_host_fails_after_it_has_renamed_the_new_one(source, root):
    class Failing(CannotReplaceFiles):
        async def arename(self, path, free_path):
            await super().arename(path, free_path)
            if free_path == "/b":
                raise PermissionRefused(self.host)

    diary = Diary()
    move_file(ORDER, source, files(root, Failing, replace="swap"), diary)

    assert contents(root) == {"b": NEW}
    assert diary.on_record == []


def test_an_old_file_returns_where_the_new_one_cannot_be_renamed(source, root):
    class Refusing(CannotReplaceFiles):
        async def arename(self, path, free_path):
            if free_path == "/b" and not path.endswith("-old"):
                raise PermissionRefused(self.host)
            await super().arename(path, free_path)

    diary = Diary()
    with pytest.raises(PermissionRefused):
        move_file(ORDER, source, files(root, Refusing, replace="swap"), diary)

    assert contents(root) == {"b": OLD}
    assert diary.on_record == []


def test_an_old_file_goes_back_only_once_its_path_is_locked(source, root):
    """Without the mark another job may have the path, and may just be swapping."""
    (root / "b").rename(root / ".data_mover-7-0-1-old")
    task = replace(ORDER, attempt=2, temporary_files=(ASIDE,))

    with pytest.raises(PathBusy):
        move_file(task, source, files(root), Diary(PathBusy(), at="placed"))
    assert contents(root) == {".data_mover-7-0-1-old": OLD}

    with pytest.raises(ChecksumMismatch):
        move_file(replace(task, checksum="0" * 64), source, files(root), Diary())
    assert contents(root) == {"b": OLD}


def test_a_swap_that_died_half_way_gives_the_old_file_back(source, root):
    (root / "b").rename(root / ".data_mover-7-0-1-old")
    (root / ".data_mover-7-0-1-x").write_bytes(NEW)
    task = replace(
        ORDER, attempt=2, publishing_sha256=NEW_SHA256, temporary_files=(TEMPORARY, ASIDE), checksum="0" * 64
    )

    with pytest.raises(ChecksumMismatch):
        move_file(task, source, files(root, CannotReplaceFiles, replace="swap"), Diary())

    assert contents(root) == {"b": OLD}


def test_a_swap_that_died_at_its_end_is_ended(source, root):
    (root / "b").rename(root / ".data_mover-7-0-1-old")
    (root / "b").write_bytes(NEW)
    task = replace(ORDER, attempt=2, publishing_sha256=NEW_SHA256, temporary_files=(TEMPORARY, ASIDE))

    move_file(task, source, files(root, CannotReplaceFiles, replace="swap"), Diary())

    assert contents(root) == {"b": NEW}


@pytest.mark.parametrize("breaks", ["before", "after"])
def test_a_connection_that_breaks_at_the_rename_leaves_it_to_the_next_attempt_to_look(source, root, breaks):
    first, second = Diary(), Diary()
    breaking = files(root, BreakingFiles)
    breaking.breaks = breaks
    with pytest.raises(ConnectionLost):
        move_file(ORDER, source, breaking, first)
    assert "not published" not in first.words

    task = replace(ORDER, attempt=2, publishing_sha256=NEW_SHA256, temporary_files=tuple(first.on_record))
    move_file(task, source, files(root), second)

    assert contents(root) == {"b": NEW}
    assert ("publishing" in second.words) == (breaks == "before")


def test_what_a_dead_attempt_left_is_removed_before_anything_else(source, root):
    (root / ".data_mover-7-0-1-x").write_bytes(b"half")
    diary = Diary()

    move_file(replace(ORDER, attempt=2, temporary_files=(TEMPORARY,)), source, files(root), diary)

    assert contents(root) == {"b": NEW}
    assert diary.words[:3] == ["removed", "placed", "creating"]


def test_an_attempt_that_wakes_up_after_it_was_fenced_finds_nothing_to_publish(source, root):
    """The old one is about to rename when the new one takes its file away."""
    first, second = Diary(), Diary()

    class Sleepy(LocalFiles):
        async def areplace(self, path, final_path):
            task = replace(ORDER, attempt=2, publishing_sha256=NEW_SHA256, temporary_files=tuple(first.on_record))
            with pytest.raises(NoSuchFile):
                move_file(replace(task, source_path="/nothing"), source, files(root), second)
            await super().areplace(path, final_path)

    with pytest.raises(NoSuchFile):
        move_file(ORDER, source, files(root, Sleepy), first)

    assert contents(root) == {"b": OLD}
    assert second.on_record == []


def test_a_connection_that_breaks_within_a_swap_leaves_on_record_what_gives_the_old_file_back(source, root):
    class Breaking(CannotReplaceFiles):
        async def arename(self, path, free_path):
            if free_path == "/b":
                raise ConnectionLost(self.host)
            await super().arename(path, free_path)

    diary = Diary()
    with pytest.raises(ConnectionLost):
        move_file(ORDER, source, files(root, Breaking, replace="swap"), diary)
    assert not (root / "b").exists()

    for temporary_file in diary.on_record:
        clear(files(root), temporary_file, at_leisure)

    assert contents(root) == {"b": OLD}


@pytest.mark.ordinary_user
def test_a_folder_is_cleared_whatever_the_modes_of_its_directories(root):
    (root / ".tree" / "closed").mkdir(parents=True)
    (root / ".tree" / "closed" / "file").write_bytes(NEW)
    for directory in (root / ".tree" / "closed", root / ".tree"):
        directory.chmod(0o555)

    clear(files(root), TemporaryFile("/.tree", FileKind.DIRECTORY), at_leisure)

    assert contents(root) == {"b": OLD}


class Vanishing(LocalFiles):
    """Somebody else removes a directory just before it is listed."""

    def list(self, path):
        if path.endswith("/sub"):
            shutil.rmtree(f"{self.options.root}{path}")
        yield from super().list(path)


def test_a_folder_that_somebody_else_clears_too_is_gone_in_the_end(root):
    (root / ".tree" / "sub" / "deeper").mkdir(parents=True)

    clear(files(root, Vanishing), TemporaryFile("/.tree", FileKind.DIRECTORY), at_leisure)

    assert contents(root) == {"b": OLD}


def test_a_folder_is_cleared_however_deep_and_wide_it_is(root):
    deep = root / ".tree"
    for _ in range(1200):
        deep.mkdir()
        deep = deep / "d"
    for number in range(100):
        (root / ".tree" / f"directory-{number}").mkdir()
        (root / ".tree" / f"file-{number}").touch()

    clear(files(root), TemporaryFile("/.tree", FileKind.DIRECTORY), at_leisure)

    assert contents(root) == {"b": OLD}


class Endless(LocalFiles):
    """A host that has a directory in each directory, or names without end."""

    directories = True

    def set_attributes(self, path, mode, modified_at):
        pass

    def remove(self, path):
        pass

    def list(self, path):
        kind = FileKind.DIRECTORY if self.directories else FileKind.FILE
        return (Entry(str(number), kind, None, None, None) for number in itertools.count())


def test_a_folder_that_has_no_bottom_is_given_up(root):
    (root / ".tree").mkdir()

    with pytest.raises(HostFailed):
        clear(files(root, Endless), TemporaryFile("/.tree", FileKind.DIRECTORY), at_leisure)


def test_a_folder_with_names_without_end_is_cleared_for_as_long_as_there_is_time(root, monkeypatch):
    monkeypatch.setattr(Endless, "directories", False)
    (root / ".tree").mkdir()
    left = iter(range(1000))

    def alive():
        if next(left, None) is None:
            raise Stalled

    with pytest.raises(Stalled):
        clear(files(root, Endless), TemporaryFile("/.tree", FileKind.DIRECTORY), alive)


def at_leisure():
    """There is time for everything."""


@pytest.mark.parametrize("there", [OLD, None])
def test_with_the_mark_and_another_file_at_the_path_nobody_claims_to_know(source, root, there):
    (root / "b").unlink()
    if there:
        (root / "b").write_bytes(there)
    task = replace(ORDER, attempt=2, publishing_sha256=NEW_SHA256)

    with pytest.raises(UnknownOutcome):
        move_file(task, source, files(root), Diary())


def test_a_source_that_has_more_than_it_reports_is_not_taken_for_complete(tmp_path, root):
    """What the kernel makes up as it is read has no size."""
    proc = LocalFiles.connect("proc", LocalOptions(protocol="local", root="/proc", roles=("source",)))

    with pytest.raises(SourceChanged):
        move_file(replace(ORDER, source_path="/version"), proc, files(root), Diary())

    assert contents(root) == {"b": OLD}


class Unsized(LocalFiles):
    """A source that does not tell the size of a file."""

    def stat(self, path):
        found = super().stat(path)
        return found and replace(found, size_bytes=None)

    def open(self, path):
        reader = super().open(path)
        reader.stat = replace(reader.stat, size_bytes=None)
        return reader


class NeedsSize(LocalFiles):
    """A host that must know the size of a file before it is written."""

    needs_size = True


def test_what_is_spooled_and_read_back_is_reported_in_bytes(source, root):
    diary = Diary()
    os.utime(root.parent / "source" / "a", (1, 1))

    move_file(ORDER, files(root.parent / "source", Unsized), files(root, NeedsSize), diary)

    assert sum(entry[1] for entry in diary.entries if entry[0] == "read") == 2 * len(NEW)
