"""What every backend guarantees of directories, on every kind of host."""

import os
import stat
import threading
from contextlib import closing
from pathlib import Path

import pytest

from data_mover.backends import PROTOCOLS, connect, writable
from data_mover.backends.api import NewFile
from data_mover.domain.errors import (
    HostFailed,
    MoveFailure,
    NoRoot,
    NoSuchFile,
    NotAllowed,
    NotAtomic,
    PermissionRefused,
)
from data_mover.domain.states import FileKind
from tests.protocols.test_conformance import MODIFIED, NAMES, content, get, need_name, put
from tests.servers.processes import eventually
from tests.servers.s3 import Bucket
from tests.servers.small_disk import small_disk

#: more than a page of a listing: of S3 that has 1000 keys, each of which takes a request to make
MANY, MANY_KEYS = 3000, 1100
NOT_UTF8 = b"not \xff\xfe UTF-8"


def many(host):
    return MANY_KEYS if isinstance(host.root, Bucket) else MANY


def listed(files, path):
    """The entries by their names."""
    entries = list(files.list(path))
    by_name = {entry.name: entry for entry in entries}
    assert len(by_name) == len(entries)
    return by_name


def test_an_empty_directory_holds_nothing(files, host):
    (host.root / "directory").mkdir()

    assert listed(files, "/directory") == {}


def test_an_empty_root_holds_nothing(files):
    assert listed(files, "/") == {}


def test_a_directory_lists_what_it_contains_and_not_what_is_below(files, host):
    host.fill({"a": b"12345", "directory/below/deep": b"", ".hidden": b"1", "..hidden": b""})

    found = listed(files, "/")

    assert {name: (entry.kind, entry.size_bytes) for name, entry in found.items()} == {
        "a": (FileKind.FILE, 5),
        "directory": (FileKind.DIRECTORY, None),
        ".hidden": (FileKind.FILE, 1),
        "..hidden": (FileKind.FILE, 0),
    }
    assert [*listed(files, "/directory")] == ["below"]
    assert [*listed(files, "/directory/below")] == ["deep"]


def test_entries_have_modes_and_times_as_a_stat_does(files, host):
    host.fill({"a": b"12345", "directory/b": b""})
    host.needs("directories")
    os.utime(host.root / "a", (MODIFIED, MODIFIED))
    os.utime(host.root / "directory", (MODIFIED + 1, MODIFIED + 1))
    (host.root / "a").chmod(0o604)
    (host.root / "directory").chmod(0o710)

    found = listed(files, "/")

    assert {name: entry.modified_at for name, entry in found.items()} == {"a": MODIFIED, "directory": MODIFIED + 1}
    for name, entry in found.items():
        assert (entry.mode, entry.kind) == (files.stat(f"/{name}").mode, files.stat(f"/{name}").kind)
    host.needs("modes")
    assert {name: entry.mode for name, entry in found.items()} == {"a": 0o604, "directory": 0o710}


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_name_is_reported_literally(files, host, name):
    need_name(host, name)
    host.fill({f"{name}/{name}": b"mine"})

    assert [*listed(files, "/")] == [name]
    assert [*listed(files, f"/{name}")] == [name]


def test_names_of_all_bytes_are_distinguished(files, host):
    host.needs("control characters")
    host.needs("links")
    names = {b"%c" % byte + tail for byte in range(1, 256) for tail in (b"", b"\n", b" x")}
    names -= {name for name in names if b"/" in name or name == b"."}
    for name in names:
        (host.root / os.fsdecode(name)).touch()

    assert {os.fsencode(name) for name in listed(files, "/")} == names


def test_a_name_that_is_not_utf_8_leaves_the_others_be(files, host):
    host.needs("links")
    host.fill({"a": b"1", "z": b"22"})
    (host.root / os.fsdecode(NOT_UTF8)).write_bytes(b"333")

    found = listed(files, "/")

    assert {name: entry.size_bytes for name, entry in found.items()} == {"a": 1, "z": 2, os.fsdecode(NOT_UTF8): 3}


def test_links_and_pipes_are_reported_for_what_they_are(files, host, tmp_path):
    host.needs("links")
    host.fill({"directory/a": b"12345"})
    (host.root / "link").symlink_to("directory")
    (host.root / "dangling").symlink_to("nothing")
    (host.root / "loop").symlink_to("loop")
    (host.root / "out").symlink_to(tmp_path)
    os.mkfifo(host.root / "pipe")

    found = listed(files, "/")

    assert {name: (entry.kind, entry.size_bytes) for name, entry in found.items()} == {
        "directory": (FileKind.DIRECTORY, None),
        "link": (FileKind.LINK, None),
        "dangling": (FileKind.LINK, None),
        "loop": (FileKind.LINK, None),
        "out": (FileKind.LINK, None),
        "pipe": (FileKind.OTHER, None),
    }
    assert [*listed(files, "/link")] == ["a"]


def test_many_entries_are_reported_once_each(files, host):
    host.needs("many entries")
    names = {f"{number:05} of many entries with a name that is rather long": b"" for number in range(many(host))}
    host.fill({f"directory/{name}": text for name, text in names.items()})

    assert listed(files, "/directory").keys() == names.keys()


def test_what_is_no_directory_holds_nothing(files, host):
    host.fill({"a": b"mine"})

    for path in ("/a", "/nothing", "/nothing/at/all", "/a/b"):
        with pytest.raises(NoSuchFile, match=path):
            list(files.list(path))
    with pytest.raises(NoSuchFile, match="/a is no directory"):
        list(files.list("/a"))


def test_a_web_server_shows_no_directories(source, source_host):
    if not source_host.name.startswith("http"):
        pytest.skip(f"{source_host.name} is no web server")
    (source_host.root / "directory").mkdir()

    with pytest.raises(NoSuchFile, match="/directory is no directory"):
        list(source.list("/directory"))
    assert source.realpath("/directory/a") == "/directory/a"


def test_a_directory_out_of_the_root_is_not_reported(files, host, tmp_path):
    host.needs("links")
    (tmp_path / "outside" / "deep").mkdir(parents=True)
    (host.root / "out").symlink_to(tmp_path / "outside")

    for act in (
        lambda: list(files.list("/out")),
        lambda: list(files.list("/out/deep")),
        lambda: files.realpath("/out/deep"),
        lambda: files.set_attributes("/out/deep", 0o700, MODIFIED),
        lambda: files.remove_directory("/out/deep"),
        lambda: files.rename("/out/deep", "/mine"),
    ):
        with pytest.raises(NotAllowed):
            act()

    assert os.listdir(tmp_path / "outside") == ["deep"]


def test_no_directory_is_made_where_a_file_stands_or_below_one(files, host):
    host.needs("directories")
    host.fill({"a": b"theirs"})

    for path in ("/a", "/a/b", "/a/b/c"):
        with pytest.raises(NoSuchFile, match="/a is no directory"):
            files.make_directories(path)

    assert (host.root / "a").read_bytes() == b"theirs"


def test_a_directory_that_may_be_written_is_reported_without_being_touched(files, host):
    host.fill({"directory/a": b""})
    before = (host.root / "directory").stat() if isinstance(host.root, Path) else None

    reported = files.may_write("/directory")

    assert reported is (True if host.name == "local" or "digest" not in host.lacks else None)
    assert before is None or (host.root / "directory").stat() == before


@pytest.mark.parametrize("protocol", ["sftp", "scp", "local"])
def test_a_read_only_disk_may_not_be_written(protocol, tmp_path, openssh):
    with small_disk(tmp_path / "root", 2**20, "ro") as root:
        table = {"protocol": "local", "root": str(root), "roles": ["destination"]}
        table = table if protocol == "local" else {**openssh.options(root), "protocol": protocol}

        with connect("vis", PROTOCOLS[protocol].options.model_validate(table)) as source:
            assert writable(source).may_write("/") is False


@pytest.mark.ordinary_user
@pytest.mark.parametrize("mode", [0o000, 0o400, 0o100], ids=oct)
def test_a_directory_that_may_not_be_read_is_reported(files, host, mode):
    """A directory whose names may be read, but not its entries, is not reported as empty."""
    host.needs("modes")
    host.fill({"closed/a": b"mine"})
    (host.root / "closed").chmod(mode)

    with pytest.raises(PermissionRefused):
        list(files.list("/closed"))

    (host.root / "closed").chmod(0o700)


def test_between_two_entries_the_connection_does_other_work(files, host):
    host.needs("many entries")
    host.fill({f"directory/{number}": content(number) for number in range(300)})
    reported = {}

    for entry in files.list("/directory"):
        reported[entry.name] = get(files, f"/directory/{entry.name}")
        if entry.name.endswith("7"):
            put(files, f"/{entry.name}", b"mine")
            reported |= {each.name: reported.get(each.name, b"") for each in files.list("/directory")}

    assert reported == {str(number): content(number) for number in range(300)}


def test_stopping_early_leaves_nothing_open(files, host):
    host.needs("many entries")
    host.fill({f"directory/{number}": b"" for number in range(many(host))})
    before = len(os.listdir("/proc/self/fd")), threading.active_count()

    for _ in range(30):
        with closing(files.list("/directory")) as entries:
            next(entries)

    assert len(listed(files, "/directory")) == many(host)
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= before[0], "no descriptor is left")
    eventually(lambda: threading.active_count() <= before[1], "no thread is left")


def test_the_real_path_reports_a_loop(files, host):
    host.needs("links")
    host.fill({"a/b/c": b""})
    (host.root / "a" / "b" / "up").symlink_to("..")
    (host.root / "root").symlink_to(host.root)

    assert files.realpath("/a/b") == files.realpath("/a/b/up/b") == files.realpath("/root/a/b") == "/a/b"
    assert files.realpath("/") == files.realpath("/root") == "/"


def test_a_path_without_links_is_its_own_real_path(files, host):
    host.fill({"a/b/c": b""})

    assert [files.realpath(path) for path in ("/", "/a", "/a/b")] == ["/", "/a", "/a/b"]


def test_a_finished_directory_has_its_mode_and_time(files, host):
    files.make_directories("/a/b")
    put(files, "/a/b/c", b"mine")

    files.set_attributes("/a/b", None, MODIFIED)
    files.set_attributes("/a/b", 0o705, None)
    files.set_attributes("/a", 0o750, MODIFIED + 1)

    host.needs("directories")
    host.needs("directory times")
    assert (host.root / "a" / "b").stat().st_mtime == MODIFIED
    assert (host.root / "a").stat().st_mtime == MODIFIED + 1
    host.needs("modes")
    assert stat.S_IMODE((host.root / "a" / "b").stat().st_mode) == 0o705
    assert stat.S_IMODE((host.root / "a").stat().st_mode) == 0o750


def test_a_link_to_a_directory_gives_it_no_other_mode_or_time(files, host):
    host.needs("links")
    host.needs("modes")
    host.fill({"other/file": b""})
    (host.root / "link").symlink_to("other")
    other = host.root / "other"
    before = (other.stat().st_mode, other.stat().st_mtime)

    with pytest.raises(NotAllowed):
        files.set_attributes("/link", 0o711, MODIFIED)

    assert (other.stat().st_mode, other.stat().st_mtime) == before


def test_only_what_is_there_is_finished(files, host):
    host.needs("directories")
    with pytest.raises(NoSuchFile, match="/nothing"):
        files.set_attributes("/nothing", 0o755, MODIFIED)

    assert host.names() == []


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_an_empty_directory_is_removed(files, host, name):
    need_name(host, name)
    files.make_directories(f"/{name}/{name}")

    files.set_attributes(f"/{name}/{name}", 0o755, MODIFIED)
    files.remove_directory(f"/{name}/{name}")
    files.remove_directory(f"/{name}")
    files.remove_directory(f"/{name}")

    assert host.names() == []


def test_removing_a_directory_that_is_not_there_is_fine(files):
    files.remove_directory("/nothing")
    files.remove_directory("/nothing/at/all")


def test_a_directory_that_holds_something_is_not_removed(files, host):
    host.fill({"directory/a": b"mine", "file": b"mine"})
    host.needs("directories")

    with pytest.raises((HostFailed, PermissionRefused), match="/directory"):
        files.remove_directory("/directory")
    with pytest.raises(MoveFailure, match="/file"):
        files.remove_directory("/file")

    assert sorted(host.names()) == ["directory", "file"]
    assert (host.root / "directory" / "a").read_bytes() == b"mine"


def test_the_root_is_not_removed(files, host):
    host.needs("directories")
    with pytest.raises(PermissionRefused):
        files.remove_directory("/")

    assert host.root.is_dir()


def test_a_link_to_a_directory_is_not_removed_with_it(files, host):
    host.needs("links")
    (host.root / "directory").mkdir()
    (host.root / "link").symlink_to("directory")

    with pytest.raises(MoveFailure, match="/link"):
        files.remove_directory("/link")

    assert (host.root / "directory").is_dir()
    assert (host.root / "link").is_symlink()


@pytest.mark.parametrize("name", NAMES, ids=ascii)
def test_a_directory_is_renamed_with_all_that_it_holds(files, host, name):
    need_name(host, name)
    host.needs("directories")
    files.make_directories("/.temporary/b")
    put(files, "/.temporary/b/c", b"mine")
    files.make_directories("/taken/there")

    files.rename("/.temporary", f"/taken/there/{name}")

    assert host.names() == ["taken"]
    assert (host.root / "taken" / "there" / name / "b" / "c").read_bytes() == b"mine"
    assert get(files, f"/taken/there/{name}/b/c") == b"mine"


def test_a_directory_never_replaces_another(files, host):
    host.needs("directories")
    host.fill({"mine/a": b"mine", "theirs/b": b"theirs", "file": b"theirs"})
    (host.root / "empty").mkdir()

    for taken in ("/theirs", "/file", "/empty"):
        with pytest.raises(MoveFailure, match=taken):
            files.rename("/mine", taken)

    assert (host.root / "mine" / "a").read_bytes() == b"mine"
    assert (host.root / "file").read_bytes() == b"theirs"
    assert os.listdir(host.root / "theirs") == ["b"]
    assert os.listdir(host.root / "empty") == []


@pytest.mark.parametrize("path", ["/", "/a", "/a/b"])
def test_below_a_root_that_is_missing_nothing_is_made(host, path):
    host.needs("directories")

    with (
        pytest.raises(NoRoot, match=rf"^There is no directory at the registered root: {host.name}$"),
        host.changed(root=f"{host.options.root}/lost").connect() as files,
    ):
        files.make_directories(path)

    assert host.names() == []


def test_a_directory_that_is_not_there_is_not_renamed(files, host):
    with pytest.raises(NoSuchFile):
        files.rename("/nothing", "/final")

    assert host.names() == []


def test_a_store_cannot_rename_a_directory(files, host):
    if "directories" not in host.lacks:
        pytest.skip(f"{host.name} has directories")
    host.fill({"mine/a": b"mine"})

    with pytest.raises(NotAtomic, match="/mine"):
        files.rename("/mine", "/final")

    assert host.names() == ["mine/a"]


def test_what_was_renamed_or_removed_is_not_believed_to_be_there(files, host):
    host.needs("directories")
    files.make_directories("/a/b")
    put(files, "/a/b/c", b"mine")
    files.rename("/a", "/moved")

    with pytest.raises(MoveFailure):
        put(files, "/a/b/c", b"mine")
    files.make_directories("/a/b")
    put(files, "/a/b/c", b"again")
    files.remove("/a/b/c")
    files.remove_directory("/a/b")
    files.make_directories("/a/b")

    assert (host.root / "moved" / "b" / "c").read_bytes() == b"mine"
    assert os.listdir(host.root / "a") == ["b"]
    assert os.listdir(host.root / "a" / "b") == []


def test_a_link_that_was_removed_is_not_followed_any_more(files, host):
    host.needs("links")
    (host.root / "theirs").mkdir()
    (host.root / "link").symlink_to("theirs")
    put(files, "/link/a", b"mine")

    files.remove("/link")
    files.make_directories("/link")
    put(files, "/link/b", b"mine")

    assert os.listdir(host.root / "theirs") == ["a"]
    assert os.listdir(host.root / "link") == ["b"]


def test_a_directory_that_somebody_else_removes_is_missed_once(files, host):
    host.needs("directories")
    files.make_directories("/a/b")
    put(files, "/a/b/c", b"mine")
    (host.root / "a" / "b" / "c").unlink()
    (host.root / "a" / "b").rmdir()
    (host.root / "a").rmdir()

    with pytest.raises(NoSuchFile):
        files.create("/a/b/c", NewFile(4, 0o644, MODIFIED))
    files.make_directories("/a/b")
    put(files, "/a/b/c", b"mine")

    assert (host.root / "a" / "b" / "c").read_bytes() == b"mine"
