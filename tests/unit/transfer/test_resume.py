"""What an attempt resumes and what it begins afresh, between two local directories."""

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from data_mover.backends.api import BLOCK_BYTES
from data_mover.backends.local.backend import LocalFiles
from data_mover.domain.errors import (
    Cancelled,
    ConnectionLost,
    Fenced,
    HostFailed,
    InternalError,
    NoSpace,
    NoSuchFile,
    PathBusy,
    PermissionRefused,
    ServiceUnavailable,
    SourceChanged,
    Stalled,
    Stopped,
    VerifyFailed,
)
from data_mover.domain.locations import IfExists
from data_mover.transfer import Checkpoint, FileTask, TemporaryFile
from tests.unit.transfer.diary import Diary, files, move_file

SIZE = 8 * BLOCK_BYTES + 5
CONTENT = hashlib.shake_128(b"content").digest(SIZE)
ORDER = FileTask(
    job_id=7,
    file_number=0,
    attempt=1,
    source_path="/a",
    path="/b",
    checkpoint_bytes=2 * BLOCK_BYTES,
    state_dir=Path("/tmp"),
)
HALF = 4 * BLOCK_BYTES


class Interrupted(Diary):
    """Raises once half of the file has a checkpoint."""

    def checkpoint(self, path, checkpoint):
        super().checkpoint(path, checkpoint)
        if checkpoint.offset_bytes >= HALF:
            raise self._raising


class CountingFiles(LocalFiles):
    """A host that notes what is written to it and read from it."""

    def __init__(self, *arguments):
        super().__init__(*arguments)
        self.written = []

    def create(self, path, new_file):
        return self._counting(super().create(path, new_file), 0)

    def resume(self, path, new_file, offset_bytes):
        return self._counting(super().resume(path, new_file, offset_bytes), offset_bytes)

    def _counting(self, writer, offset):
        self.written.append((offset, writer))
        return writer

    @property
    def sent(self):
        """From which byte to which each file was written."""
        return [(offset, writer.acknowledged_bytes) for offset, writer in self.written]


@pytest.fixture
def source(tmp_path):
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "a").write_bytes(CONTENT)
    return files(tmp_path / "source")


@pytest.fixture
def root(tmp_path):
    (tmp_path / "vis").mkdir()
    return tmp_path / "vis"


@pytest.fixture
def destination(root):
    return files(root, CountingFiles)


@pytest.fixture
def begun(source, root):
    """The order of a second attempt, after the first was interrupted half way."""
    return interrupt(source, root, ConnectionLost("vis"))


def interrupt(source, root, failure):
    diary = Interrupted(failure)
    with pytest.raises(type(failure)):
        move_file(ORDER, source, files(root), diary)
    return replace(ORDER, attempt=2, temporary_files=tuple(diary.on_record))


def temporary_file(root):
    [path] = root.glob(".data_mover-*")
    return path


def go_on(task, source, destination):
    """The diary of an attempt that is to end with the right file, alone."""
    diary = Diary()
    move_file(task, source, destination, diary)
    assert diary.on_record == []
    assert os.listdir(destination.options.root) == ["b"]
    with destination.open("/b") as reader:
        assert b"".join(reader.blocks()) == CONTENT
    return diary


def test_a_checkpoint_is_a_prefix_that_is_on_disk(begun):
    [temporary_file] = begun.temporary_files

    checkpoint = temporary_file.checkpoint
    assert checkpoint.offset_bytes == HALF
    assert checkpoint.sha256 == hashlib.sha256(CONTENT[:HALF]).hexdigest()
    assert checkpoint.source_bytes == SIZE


def test_the_next_attempt_resumes_where_the_checkpoint_is(begun, source, destination):
    diary = go_on(begun, source, destination)

    assert destination.sent == [(HALF, SIZE)]
    assert ("copying from", HALF) in diary.entries
    assert all(entry[1] >= HALF for entry in diary.entries if entry[0] == "moved")
    assert diary.proof.sha256 == hashlib.sha256(CONTENT).hexdigest()


def test_the_file_gets_a_name_of_the_new_attempt_that_is_on_record_first_and_keeps_its_checkpoint(
    begun, source, destination, root
):
    old = temporary_file(root).name
    diary = Diary(ConnectionLost("vis"), at="copying from")
    with pytest.raises(ConnectionLost):
        move_file(begun, source, destination, diary)

    [own] = diary.on_record
    assert temporary_file(root).name == own.path.strip("/") != old
    assert own.path.startswith("/.data_mover-7-0-2-")
    assert own.checkpoint == begun.temporary_files[0].checkpoint
    assert diary.words[:3] == ["creating", "busy", "removed"]

    go_on(replace(begun, attempt=3, temporary_files=tuple(diary.on_record)), source, destination)
    assert destination.sent == [(HALF, HALF), (HALF, SIZE)]


@pytest.mark.parametrize("word", ["creating", "removed"])
def test_an_attempt_that_dies_while_it_takes_the_file_leaves_it_to_the_one_after(begun, source, destination, word):
    second = Diary(ServiceUnavailable(), at=word)
    with pytest.raises(ServiceUnavailable):
        move_file(begun, source, destination, second)

    both = {each.path: each for each in (*begun.temporary_files, *second.on_record)}
    third = replace(begun, attempt=3, temporary_files=tuple(both.values()))
    go_on(third, source, destination)

    assert destination.sent == [(HALF, SIZE)]


@pytest.mark.parametrize(
    "failure",
    [
        ConnectionLost("vis"),
        Stalled("vis"),
        InternalError(),
        Fenced(),
        HostFailed("vis"),
        PathBusy(),
        Stopped(),
        ServiceUnavailable(),
        RuntimeError(),
        KeyboardInterrupt(),
    ],
    ids=repr,
)
def test_what_the_next_attempt_can_use_is_kept(source, root, destination, failure):
    go_on(interrupt(source, root, failure), source, destination)

    assert destination.sent == [(HALF, SIZE)]


@pytest.mark.parametrize(
    "failure",
    [Cancelled(), NoSpace("vis"), SourceChanged("disk"), VerifyFailed("vis"), PermissionRefused("vis")],
    ids=repr,
)
def test_what_nobody_can_use_is_removed(source, root, failure):
    task = interrupt(source, root, failure)

    assert task.temporary_files == ()
    assert os.listdir(root) == []


def test_without_a_checkpoint_nothing_is_kept(source, root):
    diary = Diary(ConnectionLost("vis"), at="moved")
    with pytest.raises(ConnectionLost):
        move_file(replace(ORDER, checkpoint_bytes=SIZE + 1), source, files(root), diary)

    assert diary.on_record == []
    assert os.listdir(root) == []


def test_a_failure_that_no_retry_can_help_leaves_nothing_of_an_earlier_attempt(begun, source, root, tmp_path):
    (tmp_path / "source" / "a").unlink()
    diary = Diary()

    with pytest.raises(NoSuchFile):
        move_file(begun, source, files(root), diary)

    assert diary.on_record == []
    assert os.listdir(root) == []


@pytest.mark.parametrize("changed", [CONTENT + b"more", CONTENT[:-1], bytes(SIZE)], ids=["longer", "shorter", "other"])
def test_a_source_that_has_changed_is_copied_afresh(begun, source, destination, tmp_path, changed):
    (tmp_path / "source" / "a").write_bytes(changed)
    diary = Diary()

    move_file(begun, source, destination, diary)

    assert destination.sent == [(0, len(changed))]
    assert (tmp_path / "vis" / "b").read_bytes() == changed
    assert os.listdir(tmp_path / "vis") == ["b"]


def test_a_source_that_has_changed_and_does_not_show_it_is_reported_and_then_copied_afresh(
    begun, source, destination, tmp_path
):
    path = tmp_path / "source" / "a"
    modified = path.stat().st_mtime_ns
    changed = b"other" + CONTENT[5:]
    path.write_bytes(changed)
    os.utime(path, ns=(modified, modified))
    diary = Diary()

    with pytest.raises(SourceChanged):
        move_file(begun, source, destination, diary)
    assert diary.on_record == []
    move_file(replace(begun, attempt=3, temporary_files=()), source, destination, Diary())

    assert destination.sent == [(HALF, HALF), (0, SIZE)]
    assert (tmp_path / "vis" / "b").read_bytes() == changed


def tamper(path):
    with path.open("r+b") as file:
        file.seek(HALF - 1)
        file.write(bytes([CONTENT[HALF - 1] ^ 1]))


MISHAPS = {
    "tampered with": tamper,
    "vanished": os.unlink,
    "shorter than the checkpoint": lambda path: os.truncate(path, HALF - 1),
    "longer than the source": lambda path: os.truncate(path, SIZE + 1),
    "empty": lambda path: os.truncate(path, 0),
}


@pytest.mark.parametrize("mishap", MISHAPS.values(), ids=MISHAPS.keys())
def test_a_temporary_file_that_is_not_as_it_was_left_is_written_afresh(begun, source, destination, root, mishap):
    mishap(temporary_file(root))

    go_on(begun, source, destination)

    assert destination.sent == [(0, SIZE)]


def test_a_prefix_that_spoils_after_it_was_found_right_is_noticed_at_the_end(begun, source, root):
    class Spoiling(CountingFiles):
        def resume(self, path, new_file, offset_bytes):
            tamper(root / path.strip("/"))
            return super().resume(path, new_file, offset_bytes)

    destination = files(root, Spoiling)

    with pytest.raises(VerifyFailed):
        move_file(begun, source, destination, Diary())

    assert destination.sent == [(HALF, SIZE)]
    assert os.listdir(root) == []


@pytest.mark.parametrize("there", [HALF, HALF + 1, SIZE - 1, SIZE])
def test_what_lies_behind_the_checkpoint_is_written_again(begun, source, destination, root, there):
    path = temporary_file(root)
    os.truncate(path, HALF)
    os.truncate(path, there)

    go_on(begun, source, destination)

    assert destination.sent == [(HALF, SIZE)]


def test_what_a_host_does_not_let_be_read_back_is_written_afresh(begun, source, root):
    class WriteOnly(CountingFiles):
        def open(self, path):
            if ".data_mover-" in path:
                raise PermissionRefused(self.host)
            return super().open(path)

    destination = files(root, WriteOnly, verify="size")
    go_on(begun, source, destination)

    assert destination.sent == [(0, SIZE)]


def test_where_a_host_cannot_resume_a_file_it_is_written_afresh(begun, source, root):
    class Limited(CountingFiles):
        def resume(self, path, new_file, offset_bytes):
            raise HostFailed(self.host)

    destination = files(root, Limited)
    go_on(begun, source, destination)

    assert destination.sent == [(0, SIZE)]


@pytest.mark.parametrize(("failure", "kept"), [(HostFailed("vis"), False), (ConnectionLost("vis"), True)], ids=repr)
def test_a_host_that_fails_before_it_has_gone_on_at_all_gets_the_file_afresh(begun, source, root, failure, kept):
    diary = Diary(failure, at="moved")

    with pytest.raises(type(failure)):
        move_file(replace(begun, checkpoint_bytes=SIZE), source, files(root), diary)

    assert bool(diary.on_record) == kept == bool(os.listdir(root))


def test_a_file_that_is_found_to_be_there_already_needs_no_partial_file(begun, source, destination, root):
    (root / "b").write_bytes(CONTENT)

    diary = Diary()
    move_file(replace(begun, if_exists=IfExists.VERIFY), source, destination, diary)

    assert os.listdir(root) == ["b"]
    assert diary.on_record == []
    assert destination.sent == []


def test_where_the_size_is_proof_enough_a_prefix_is_read_back_all_the_same(begun, source, root):
    tamper(temporary_file(root))
    destination = files(root, CountingFiles, verify="size")

    go_on(begun, source, destination)

    assert destination.sent == [(0, SIZE)]


def test_the_furthest_of_several_is_gone_on_with_and_the_others_go(begun, source, destination, root):
    prefix = CONTENT[: 2 * BLOCK_BYTES]
    (root / ".data_mover-7-0-1-y").write_bytes(prefix)
    (root / ".data_mover-7-0-1-z").write_bytes(b"without a checkpoint")
    file_stat = source.stat("/a")
    nearer = Checkpoint(len(prefix), hashlib.sha256(prefix).hexdigest(), SIZE, file_stat.modified_at)
    temporary_files = (
        TemporaryFile("/.data_mover-7-0-1-y", checkpoint=nearer),
        *begun.temporary_files,
        TemporaryFile("/.data_mover-7-0-1-z"),
    )

    go_on(replace(begun, temporary_files=temporary_files), source, destination)

    assert destination.sent == [(HALF, SIZE)]


def test_a_file_that_was_about_to_be_published_is_gone_on_with(source, destination, root):
    first = Diary(ServiceUnavailable(), at="publishing")
    with pytest.raises(ServiceUnavailable):
        move_file(ORDER, source, files(root), first)
    marked = replace(ORDER, attempt=2, publishing_sha256=first.proof.sha256)

    diary = go_on(replace(marked, temporary_files=tuple(first.on_record)), source, destination)

    assert diary.words.index("not published") < diary.words.index("copying from")
    assert destination.sent[0][0] >= SIZE - 2 * ORDER.checkpoint_bytes


def test_a_publication_that_died_between_its_link_and_the_removal_of_the_old_name_has_happened(
    source, destination, root
):
    first = Diary(ServiceUnavailable(), at="publishing")
    refusing = replace(ORDER, if_exists=IfExists.REFUSE)
    with pytest.raises(ServiceUnavailable):
        move_file(refusing, source, files(root), first)
    os.link(temporary_file(root), root / "b")
    marked = replace(refusing, attempt=2, publishing_sha256=first.proof.sha256)

    diary = go_on(replace(marked, temporary_files=tuple(first.on_record)), source, destination)

    assert diary.words[-1] == "published"
    assert destination.sent == []


def test_an_older_attempt_that_has_the_file_open_publishes_nothing(source, root):
    """A later attempt takes the file, resumes it and publishes it before the older one comes to its end."""
    first = Diary()

    class Sleepy(LocalFiles):
        def stat(self, path):
            task = replace(ORDER, attempt=2, temporary_files=tuple(first.on_record))
            go_on(task, source, files(root))
            return super().stat(path)

    with pytest.raises(VerifyFailed):
        move_file(ORDER, files(root.parent / "source", Sleepy), files(root), first)

    assert (root / "b").read_bytes() == CONTENT
    assert os.listdir(root) == ["b"]
