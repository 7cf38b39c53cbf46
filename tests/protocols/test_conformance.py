"""What every backend guarantees, on every kind of host."""

import hashlib
import os
import stat
import threading
import time
import unicodedata
from contextlib import suppress

import pytest

from data_mover.backends.api import NewFile
from data_mover.domain.errors import (
    CannotReplace,
    ConnectionLost,
    HostFailed,
    HttpMissing,
    IsADirectory,
    MoveFailure,
    NoSuchFile,
    NotAllowed,
    NotARegularFile,
    PermissionRefused,
    SizeUnknown,
    SourceChanged,
    VerifyFailed,
)
from data_mover.domain.states import FileKind
from tests.servers.processes import eventually

SIZES = [0, 1, 32_767, 32_768, 32_769, 261_120, 261_121, 5 * 2**20]
NAMES = [
    "with space",
    "quote'\"`",
    "$(touch evil);$HOME",
    "line\nbreak",
    "*?[x]",
    "-rf",
    unicodedata.normalize("NFC", "é"),
    unicodedata.normalize("NFD", "é"),
    "back\\slash\ttab",
    "x" * 255,
    "é" * 127,
]
CONNECTIONS = 20
MODIFIED = 1_700_000_000.0


def content(size):
    return hashlib.shake_128(str(size).encode()).digest(size)


def put(files, path, data, mode=0o640):
    with files.create(path, NewFile(len(data), mode, MODIFIED)) as writer:
        for start in range(0, len(data), 100_000):
            writer.write(memoryview(data)[start : start + 100_000])
        writer.commit()
        return writer.acknowledged_bytes


def get(files, path, offset=0):
    with files.open(path) as reader:
        return b"".join(reader.blocks(offset))


@pytest.mark.parametrize("size", SIZES)
def test_what_is_written_is_what_is_read(files, host, size):
    acknowledged = put(files, "/a", content(size))

    assert acknowledged == size
    assert (host.root / "a").read_bytes() == content(size)
    assert get(files, "/a") == content(size)


@pytest.mark.parametrize("size", SIZES)
def test_what_is_there_is_read(source, source_host, size):
    (source_host.root / "a").write_bytes(content(size))
    source_host.set_modified("a", MODIFIED)

    with source.open("/a") as reader:
        assert (reader.stat.kind, reader.stat.size_bytes, reader.stat.modified_at) == (FileKind.FILE, size, MODIFIED)
        assert b"".join(reader.blocks()) == content(size)
        assert source.stat("/a") == reader.stat


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_source_is_named_literally(source, source_host, name):
    need_name(source_host, name)
    (source_host.root / name).write_bytes(b"mine")

    assert source.stat(f"/{name}").size_bytes == 4
    assert get(source, f"/{name}") == b"mine"


def test_a_source_that_is_not_there_is_missed(source):
    assert source.stat("/nothing") is None
    assert source.stat("/nothing/at/all") is None
    with pytest.raises((NoSuchFile, HttpMissing), match="/nothing"):
        source.open("/nothing")


def test_a_file_whose_size_is_not_announced_has_what_was_written(files, host):
    with suppress(SizeUnknown), files.create("/a", NewFile(None, 0o644, MODIFIED)) as writer:
        writer.write(content(300_000))
        writer.commit()
        assert (host.root / "a").read_bytes() == content(300_000)


def need_name(host, name):
    if not name.isprintable():
        host.needs("control characters")


def go_on(files, host, path, data, offset):
    host.needs("offsets")
    with files.resume(path, NewFile(len(data), 0o640, MODIFIED), offset) as writer:
        assert writer.acknowledged_bytes == offset
        for start in range(offset, len(data), 100_000):
            writer.write(memoryview(data)[start : start + 100_000])
        writer.commit()
        return writer.acknowledged_bytes


@pytest.mark.parametrize("offset", [1, 1_000_001])
@pytest.mark.parametrize("there", [3 * 2**20, 5 * 2**20 - 1])
def test_a_file_that_was_begun_is_gone_on_with_from_an_offset(files, host, offset, there):
    """Whatever lies behind the offset is written again."""
    data = content(5 * 2**20)
    (host.root / "a").write_bytes(data[:offset] + bytes(there - offset))

    acknowledged = go_on(files, host, "/a", data, offset)

    assert acknowledged == len(data)
    assert (host.root / "a").read_bytes() == data
    status = (host.root / "a").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime) == (0o640, MODIFIED)


@pytest.mark.parametrize("name", NAMES[1:6], ids=ascii)
def test_a_file_of_any_name_is_gone_on_with(files, host, name):
    (host.root / name).write_bytes(b"123")

    go_on(files, host, f"/{name}", b"123456", 3)

    assert host.names() == [name]
    assert (host.root / name).read_bytes() == b"123456"


def test_a_file_that_is_longer_than_announced_is_not_committed(files, host):
    (host.root / "a").write_bytes(bytes(100))

    with pytest.raises(VerifyFailed, match="/a"):
        go_on(files, host, "/a", bytes(99), 50)


def test_only_a_file_of_its_own_name_is_gone_on_with(files, host, tmp_path):
    host.needs("offsets")
    (tmp_path / "theirs").write_bytes(b"theirs")
    (host.root / "link").symlink_to(tmp_path / "theirs")
    (host.root / "directory").mkdir()
    os.mkfifo(host.root / "pipe")

    for path in ("/nothing", "/link", "/directory", "/pipe"):
        with pytest.raises(MoveFailure, match=path):
            go_on(files, host, path, b"mine!!!", 3)

    assert (tmp_path / "theirs").read_bytes() == b"theirs"
    assert not (host.root / "nothing").exists()


def test_a_writer_reports_what_is_on_disk(files, host):
    """Nothing at first, and then no more than what was asked for; it is there even if the writer goes no further."""
    host.needs("checkpoints")
    data = content(30 * 2**20)

    with files.create("/a", NewFile(2**40, 0o644, MODIFIED)) as writer:
        writer.write(memoryview(data)[: 2**20])
        assert writer.synced_bytes == 0
        writer.sync()
        reported = set()
        for start in range(2**20, len(data), 250_000):
            writer.write(memoryview(data)[start : start + 250_000])
            reported.add(writer.synced_bytes)

    assert reported - {0} == {2**20}
    assert (host.root / "a").read_bytes()[: 2**20] == data[: 2**20]


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_is_taken_literally(files, host, name):
    need_name(host, name)
    put(files, f"/{name}", b"mine")

    assert host.names() == [name]
    assert files.stat(f"/{name}").size_bytes == 4
    assert get(files, f"/{name}") == b"mine"
    assert files.sha256(f"/{name}") in (hashlib.sha256(b"mine").hexdigest(), None)

    files.replace(f"/{name}", "/other")
    files.rename("/other", f"/{name}")
    assert host.names() == [name]

    files.remove(f"/{name}")
    assert host.names() == []


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_directory_name_is_taken_literally(files, host, name):
    need_name(host, name)
    files.make_directories(f"/{name}/b")
    put(files, f"/{name}/b/c", b"mine")

    assert (host.root / name / "b" / "c").read_bytes() == b"mine"


def test_a_new_file_has_the_mode_and_time_that_were_asked_for(files, host):
    put(files, "/a", b"mine", mode=0o604)

    host.needs("file times")
    assert (host.root / "a").stat().st_mtime == files.stat("/a").modified_at == MODIFIED
    host.needs("modes")
    assert stat.S_IMODE((host.root / "a").stat().st_mode) == 0o604


def test_a_file_is_private_until_it_is_committed(files, host):
    host.needs("modes")
    with files.create("/a", NewFile(4, 0o644, MODIFIED)):
        assert stat.S_IMODE((host.root / "a").stat().st_mode) & 0o077 == 0


@pytest.mark.parametrize("written", [b"", b"12", b"12345", bytes(300_000)], ids=len)
def test_a_file_of_another_size_than_was_announced_is_not_committed(files, written):
    def write_and_commit():
        with files.create("/a", NewFile(3, 0o644, MODIFIED)) as writer:
            writer.write(written)
            writer.commit()

    with pytest.raises(VerifyFailed, match="/a"):
        write_and_commit()


def test_a_stat_returns_kind_size_and_time(files, host):
    began = time.time()
    (host.root / "a").write_bytes(b"12345")
    (host.root / "directory").mkdir()

    assert (files.stat("/a").kind, files.stat("/a").size_bytes) == (FileKind.FILE, 5)
    assert files.stat("/a").modified_at == pytest.approx(began, abs=60)
    assert files.stat("/directory").kind is FileKind.DIRECTORY
    assert files.stat("/").kind is FileKind.DIRECTORY
    assert files.stat("/nothing") is None
    assert files.stat("/nothing/at/all") is None


def test_a_file_whose_mode_changes_is_the_same_file(files, host):
    host.needs("modes")
    (host.root / "a").write_bytes(b"12345")
    before = files.stat("/a")
    (host.root / "a").chmod(0o604)

    assert files.stat("/a").mode == 0o604
    assert files.stat("/a") == before


def test_a_stat_is_that_of_what_a_link_leads_to(files, host):
    host.needs("links")
    (host.root / "a").write_bytes(b"12345")
    (host.root / "link").symlink_to("a")
    (host.root / "dangling").symlink_to("nothing")
    os.mkfifo(host.root / "pipe")

    assert files.stat("/link").size_bytes == 5
    assert files.stat("/dangling").kind is FileKind.OTHER
    assert files.stat("/pipe").kind is FileKind.OTHER


def test_a_file_can_be_read_from_an_offset(source, source_host):
    (source_host.root / "a").write_bytes(content(1_000_000))

    assert get(source, "/a", offset=300_001) == content(1_000_000)[300_001:]
    assert get(source, "/a", offset=1_000_000) == b""


def test_a_file_that_grows_is_read_as_it_was_or_not_to_its_end_and_reports_so(source, source_host):
    """Who writes a file anew begins by cutting it off: a web server may have sent nothing of it by then."""
    (source_host.root / "a").write_bytes(content(1000))
    read = []

    with source.open("/a") as reader:
        (source_host.root / "a").write_bytes(content(1000) + b"more")
        try:
            read.extend(reader.blocks())
        except (SourceChanged, ConnectionLost):
            read.clear()
        assert source.stat("/a") != reader.stat

    assert b"".join(read) in (content(1000), b"")


def test_a_file_that_vanishes_while_it_is_read_is_missed(source, source_host):
    (source_host.root / "a").write_bytes(content(20 * 2**20))

    with source.open("/a") as reader:
        next(reader.blocks())
        (source_host.root / "a").unlink()
        assert source.stat("/a") is None

    (source_host.root / "b").write_bytes(b"")
    assert source.stat("/b") is not None


def test_two_files_are_read_and_written_at_a_time(files, host):
    (host.root / "a").write_bytes(content(5 * 2**20))
    (host.root / "b").write_bytes(content(5 * 2**20 + 1))

    with files.open("/a") as a, files.open("/b") as b, files.create("/c", NewFile(5 * 2**20, 0o644, MODIFIED)) as c:
        second = b.blocks()
        start = next(second)
        for block in a.blocks():
            c.write(block)
        c.commit()
        rest = b"".join(second)

    assert (host.root / "c").read_bytes() == content(5 * 2**20)
    assert bytes(start) + rest == content(5 * 2**20 + 1)


def test_a_file_that_shrinks_ends_early_and_reports_so(source, source_host):
    """What the host had read before counts as read; nothing is made up."""
    (source_host.root / "a").write_bytes(content(20 * 2**20))

    with source.open("/a") as reader:
        (source_host.root / "a").write_bytes(content(20 * 2**20)[:100])
        try:
            read = b"".join(reader.blocks())
        except (SourceChanged, HostFailed, ConnectionLost):
            read = b""
        assert source.stat("/a") != reader.stat

    assert content(20 * 2**20).startswith(read)
    assert len(read) < 20 * 2**20


def test_what_cannot_be_read_is_refused_by_its_kind(files, host):
    (host.root / "directory").mkdir()

    for path, failure in (("/nothing", NoSuchFile), ("/directory", IsADirectory)):
        with pytest.raises(failure, match=path):
            files.open(path)


def test_a_pipe_is_not_read(files, host):
    host.needs("directories")
    host.needs("pipes")
    os.mkfifo(host.root / "pipe")

    with pytest.raises(NoSuchFile if "links" in host.lacks else NotARegularFile, match="/pipe"):
        files.open("/pipe")


@pytest.fixture
def guarded(host):
    """A file that may not be read, and a directory that may not be written."""
    host.needs("modes")
    (host.root / "secret").write_bytes(b"x")
    (host.root / "secret").chmod(0)
    (host.root / "closed").mkdir(mode=0o500)


@pytest.mark.ordinary_user
@pytest.mark.usefixtures("guarded")
def test_a_connection_continues_after_what_was_not_permitted(files):
    for _ in range(20):
        with pytest.raises(PermissionRefused):
            files.open("/secret")
        with pytest.raises(PermissionRefused):
            files.create("/closed/a", NewFile(1, 0o644, MODIFIED))


@pytest.mark.ordinary_user
@pytest.mark.usefixtures("guarded")
def test_what_is_not_permitted_is_reported(files):
    assert files.may_write("/closed") is not True
    with pytest.raises(PermissionRefused):
        files.open("/secret")
    with pytest.raises(PermissionRefused):
        files.create("/closed/a", NewFile(1, 0o644, MODIFIED))


def test_creating_never_touches_what_is_there(files, host, tmp_path):
    host.needs("exclusive")
    outside = tmp_path / "outside"
    outside.write_bytes(b"theirs")
    (host.root / "a").write_bytes(b"theirs")
    (host.root / "link").symlink_to(outside)
    (host.root / "dangling").symlink_to(tmp_path / "made")

    for path in ("/a", "/link", "/dangling"):
        with pytest.raises(MoveFailure):
            put(files, path, b"mine")

    assert (host.root / "a").read_bytes() == outside.read_bytes() == b"theirs"
    assert not (tmp_path / "made").exists()


def test_a_link_that_leads_out_of_the_root_is_not_followed(files, host, tmp_path):
    host.needs("links")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "a").write_bytes(b"theirs")
    (tmp_path / "root-sibling").mkdir()
    (host.root / "out").symlink_to(tmp_path / "outside")
    (host.root / "sibling").symlink_to(tmp_path / "root-sibling")
    (host.root / "file").symlink_to(tmp_path / "outside" / "a")
    put(files, "/mine", b"mine")

    for act in (
        lambda: files.stat("/out/a"),
        lambda: files.stat("/out"),
        lambda: files.open("/file"),
        lambda: files.open("/out/a"),
        lambda: files.create("/out/b", NewFile(0, 0o644, MODIFIED)),
        lambda: files.create("/sibling/b", NewFile(0, 0o644, MODIFIED)),
        lambda: files.make_directories("/out/deep/er"),
        lambda: files.replace("/mine", "/out/a"),
        lambda: files.remove("/out/a"),
    ):
        with pytest.raises(NotAllowed):
            act()

    assert os.listdir(tmp_path / "outside") == ["a"]
    assert (tmp_path / "outside" / "a").read_bytes() == b"theirs"


def test_replacing_puts_the_new_file_at_the_path_of_the_old_or_of_nothing(files, host):
    (host.root / "old").write_bytes(b"old")
    put(files, "/one", b"one")
    put(files, "/two", b"two")

    files.replace("/two", "/fresh")
    assert (host.root / "fresh").read_bytes() == b"two"

    host.needs("replacing")
    assert files.replaces
    files.replace("/one", "/old")
    assert (host.root / "old").read_bytes() == b"one"
    assert sorted(host.names()) == ["fresh", "old"]


def test_a_host_that_cannot_replace_says_so_and_loses_nothing(files, host):
    if "replacing" not in host.lacks:
        pytest.skip(f"{host.name} can replace")
    (host.root / "old").write_bytes(b"old")
    put(files, "/one", b"one")

    assert not files.replaces
    with pytest.raises(CannotReplace):
        files.replace("/one", "/old")

    assert (host.root / "old").read_bytes() == b"old"
    assert (host.root / "one").read_bytes() == b"one"


def test_replacing_a_link_replaces_the_link_itself(files, host, tmp_path):
    host.needs("replacing")
    host.needs("replacing links")
    (host.root / "target").write_bytes(b"theirs")
    (host.root / "link").symlink_to("target")
    put(files, "/mine", b"mine")

    files.replace("/mine", "/link")

    assert not (host.root / "link").is_symlink()
    assert (host.root / "target").read_bytes() == b"theirs"


def test_replacing_a_link_to_a_directory_replaces_the_link_itself_or_is_refused(files, host):
    host.needs("directories")
    (host.root / "directory").mkdir()
    (host.root / "link").symlink_to("directory")
    put(files, "/mine", b"mine")

    try:
        files.replace("/mine", "/link")
    except (CannotReplace, IsADirectory):
        assert host.lacks & {"replacing", "replacing links", "replacing links to directories"}
        assert (host.root / "mine").read_bytes() == b"mine"
    else:
        assert (host.root / "link").read_bytes() == b"mine"
    assert os.listdir(host.root / "directory") == []


def test_whoever_reads_meanwhile_sees_the_old_file_or_the_new_one(files, host):
    host.needs("replacing")
    (host.root / "final").write_bytes(b"old")
    put(files, "/mine", b"new")
    reading = (host.root / "final").open("rb")

    files.replace("/mine", "/final")

    with reading:
        assert reading.read() == b"old"
    assert (host.root / "final").read_bytes() == b"new"


def test_renaming_never_overwrites(files, host):
    (host.root / "theirs").write_bytes(b"theirs")
    put(files, "/mine", b"mine")

    with pytest.raises(MoveFailure):
        files.rename("/mine", "/theirs")

    assert (host.root / "theirs").read_bytes() == b"theirs"
    assert (host.root / "mine").read_bytes() == b"mine"


def test_a_directory_is_not_replaced(files, host):
    (host.root / "directory").mkdir()
    (host.root / "directory" / "kept").write_bytes(b"")
    put(files, "/mine", b"mine")

    with pytest.raises(IsADirectory):
        files.replace("/mine", "/directory")

    assert (host.root / "directory" / "kept").exists()
    assert (host.root / "mine").read_bytes() == b"mine"


def test_replacing_with_what_is_gone_keeps_the_old_file(files, host):
    (host.root / "old").write_bytes(b"old")

    with pytest.raises(CannotReplace if "replacing" in host.lacks else NoSuchFile):
        files.replace("/nothing", "/old")

    assert (host.root / "old").read_bytes() == b"old"


def test_missing_directories_are_made_with_their_mode(files, host):
    files.make_directories("/a/b/c")
    files.make_directories("/a/b/c")
    files.make_directories("/")

    host.needs("directories")
    assert stat.S_IMODE((host.root / "a" / "b" / "c").stat().st_mode) == 0o755


def test_a_file_in_the_way_of_a_directory_is_reported(files, host):
    (host.root / "a").write_bytes(b"")

    with pytest.raises(MoveFailure, match="/a"):
        files.make_directories("/a/b")


def test_removing_what_is_not_there_is_fine(files, host):
    files.remove("/nothing")
    files.remove("/nothing/at/all")


def test_free_space_is_reported(files, host):
    if "free space" in host.lacks:
        assert files.free_bytes("/") is None
    else:
        status = os.statvfs(host.root)
        assert files.free_bytes("/") == pytest.approx(status.f_bavail * status.f_frsize, rel=0.2)


def test_a_digest_comes_from_the_host_or_not_at_all(files, host):
    put(files, "/a", content(100_000))

    digest = files.sha256("/a")

    assert digest == (None if "digest" in host.lacks else hashlib.sha256(content(100_000)).hexdigest())
    assert get(files, "/a") == content(100_000)


@pytest.mark.parametrize("count", [0, 1, 65_537, 100_000])
def test_so_does_the_digest_of_the_first_bytes(files, host, count):
    put(files, "/$(it's)", content(100_000))

    digest = files.sha256("/$(it's)", count)

    assert digest in (None, hashlib.sha256(content(100_000)[:count]).hexdigest())
    assert (digest is None) == (files.sha256("/$(it's)") is None)


def test_many_files_one_after_another_leave_nothing_open(files, host):
    for number in range(8):
        put(files, f"/{number}", b"x")
        get(files, f"/{number}")

    with files.create("/abandoned", NewFile(1000, 0o644, MODIFIED)) as writer:
        writer.write(b"x")

    assert sorted({*host.names()} - {"abandoned"}) == [str(number) for number in range(8)]


def test_connections_leave_no_thread_and_no_descriptor(host):
    before = len(os.listdir("/proc/self/fd")), threading.active_count()

    for _ in range(CONNECTIONS):
        connected = host.connect()
        put(connected, "/a", b"x")
        connected.remove("/a")
        connected.close()
        connected.close()

    eventually(lambda: len(os.listdir("/proc/self/fd")) <= before[0], "no descriptor is left")
    eventually(lambda: threading.active_count() <= before[1], "no thread is left")
