"""What only an object store does: uploads that are completed or aborted, signatures, certificates."""

import hashlib
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager

import pytest

from data_mover.backends import connect
from data_mover.backends.api import NewFile
from data_mover.backends.s3 import backend
from data_mover.backends.s3.backend import PART_BYTES, RANGE_BYTES, S3Files
from data_mover.backends.s3.options import S3Options
from data_mover.domain.errors import (
    BadName,
    CertificateRefused,
    ConnectionLost,
    HostUnreachable,
    IsADirectory,
    LoginRefused,
    MoveFailure,
    NoSuchFile,
    SourceChanged,
    Stalled,
    VerifyFailed,
)
from data_mover.domain.selection import Selection
from data_mover.domain.states import FileKind
from data_mover.transfer import list_source
from data_mover.transfer.cleanup import clear
from data_mover.transfer.tasks import TemporaryFile
from tests.protocols.test_conformance import MODIFIED, content, get, put
from tests.servers.processes import LOOPBACK, free_port
from tests.servers.proxy import Fault, proxy

LARGE = 2 * PART_BYTES + 1
RACERS = 6


@pytest.fixture
def bucket(ceph, request):
    return ceph.make_bucket(f"s3-{hashlib.sha256(request.node.name.encode()).hexdigest()[:16]}")


@pytest.fixture
def connected(ceph, bucket):
    """Connects to the bucket, as another process would, with what the registry says changed."""

    def open_(**changes):
        table = {"connect_timeout_seconds": 2, "idle_timeout_seconds": 2, **ceph.options(bucket), **changes}
        return opened.enter_context(connect("store", S3Options.model_validate(table)))

    with ExitStack() as opened:
        yield open_


@pytest.fixture
def files(connected):
    return connected()


class Stopped(Exception):
    """Raised in place of a process that stops for good."""


def stopping(files, operation):
    """A backend whose process stops when it has been answered to the operation."""
    ask = files._client._call

    def call(name, path, **arguments):
        answer = ask(name, path, **arguments)
        if name == operation:
            raise Stopped
        return answer

    files._client._call = call
    return files


@contextmanager
def frozen_at(files, operation, act):
    """A process that stops before it asks for the operation; what is yielded wakes it, and returns its failure."""
    ask, reached, woken = files._client._call, threading.Event(), threading.Event()

    def call(name, path, **arguments):
        if name == operation:
            reached.set()
            assert woken.wait(30)
        return ask(name, path, **arguments)

    def awake():
        woken.set()
        return acting.exception(timeout=30)

    files._client._call = call
    with ThreadPoolExecutor(1) as process:
        acting = process.submit(act)
        try:
            assert reached.wait(30)
            yield awake
        finally:
            woken.set()


@pytest.mark.parametrize("size", [0, 1, PART_BYTES - 1, PART_BYTES, PART_BYTES + 1, LARGE])
def test_a_file_of_any_number_of_parts_gets_its_name_with_its_bytes_and_time(files, bucket, size):
    put(files, "/.tmp", content(size))

    files.replace("/.tmp", "/maps/final")

    assert bucket.names() == ["maps/final"]
    assert (bucket / "maps/final").read_bytes() == content(size)
    assert files.stat("/maps/final").modified_at == MODIFIED


@pytest.mark.parametrize(("quick_seconds", "streams", "at_a_time"), [(60, 8, 4), (60, 2, 2), (60, 1, 1), (0, 8, 1)])
def test_parts_that_are_sent_quickly_are_sent_several_at_a_time(
    quick_seconds, streams, at_a_time, connected, bucket, monkeypatch
):
    monkeypatch.setattr(backend, "QUICK_SECONDS", quick_seconds)
    whole, counts = content(10 * PART_BYTES + 1), [0]
    with connected(streams=streams).create("/a", NewFile(len(whole), 0o644, MODIFIED)) as writer:
        for start in range(0, len(whole), PART_BYTES // 2):
            writer.write(whole[start : start + PART_BYTES // 2])
            counts.append(sum(thread.name.startswith("part") for thread in threading.enumerate()))
        writer.commit()

        assert writer.acknowledged_bytes == len(whole)
    assert max(counts) == at_a_time
    assert (bucket / "a").read_bytes() == whole
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("part")]


def test_a_network_that_fails_while_several_parts_are_sent_leaves_what_can_be_cleared(
    ceph, connected, bucket, monkeypatch
):
    monkeypatch.setattr(backend, "QUICK_SECONDS", 60)
    whole = content(10 * PART_BYTES)
    with proxy(ceph.port) as network:
        files = connected(endpoint=f"http://{LOOPBACK}:{network.port}")
        with files.create("/a", NewFile(len(whole), 0o644, MODIFIED)) as writer:
            network.strike(Fault.CUT, 7 * PART_BYTES)
            with pytest.raises(ConnectionLost, match="store"):
                written(writer, whole)
        network.heal()

        assert not (bucket / "a").exists()
        connected().remove("/a")
        assert bucket.names() == []


def written(writer, whole):
    writer.write(whole)
    writer.commit()


@pytest.mark.parametrize("size", [0, 1, LARGE])
def test_a_file_whose_size_nobody_reports_is_as_long_as_what_is_written(files, bucket, size):
    with files.create("/a", NewFile(None, 0o644, MODIFIED)) as writer:
        writer.write(content(size))
        writer.commit()

    assert (bucket / "a").read_bytes() == content(size)


def test_the_root_is_a_prefix(connected, bucket):
    files = connected(root="/some/where")
    files.make_directories("/a")
    put(files, "/a/b", b"mine")

    assert bucket.names() == ["some/where/a/b"]
    assert files.stat("/a").kind is FileKind.DIRECTORY
    assert files.lock_name("/a/b").endswith(f"/{bucket.name}/some/where/a/b")


def test_what_is_not_committed_is_not_seen_and_leaves_with_remove(files, bucket):
    with files.create("/a", NewFile(LARGE, 0o644, MODIFIED)) as writer:
        writer.write(content(LARGE))
    assert files.stat("/a") is None
    assert len(bucket.uploads()) == 1

    files.remove("/a")

    assert bucket.names() == []


@pytest.mark.parametrize("operation", ["put_object", "upload_part_copy", "complete_multipart_upload"])
def test_what_a_frozen_process_was_about_to_publish_is_taken_away_from_it(connected, bucket, operation):
    """The later attempt has the file; the earlier one that wakes up finds that it may not publish."""
    frozen, files = connected(), connected()
    put(files, "/.tmp-1", content(LARGE))
    with frozen_at(frozen, operation, lambda: frozen.replace("/.tmp-1", "/final")) as awake:
        files.rename("/.tmp-1", "/.tmp-2")
        assert isinstance(awake(), MoveFailure)

    assert bucket.names() == [".tmp-2"]
    assert get(files, "/.tmp-2") == content(LARGE)


@pytest.mark.parametrize("operation", ["complete_multipart_upload", "delete_object"])
def test_what_a_process_has_published_is_distinguished_from_what_it_has_not(connected, bucket, operation):
    dead, files = stopping(connected(), operation), connected()
    put(files, "/.tmp-1", content(LARGE))
    with pytest.raises(Stopped):
        dead.replace("/.tmp-1", "/final")

    with pytest.raises(NoSuchFile):
        files.rename("/.tmp-1", "/.tmp-2")

    assert bucket.names() == ["final"]
    assert get(files, "/final") == content(LARGE)


@pytest.mark.parametrize("operation", ["put_object", "upload_part_copy", "complete_multipart_upload", "delete_object"])
def test_nothing_is_left_of_a_publication_that_was_given_up(connected, bucket, operation):
    dead, files = stopping(connected(), operation), connected()
    put(files, "/.tmp", content(LARGE))
    with pytest.raises(Stopped):
        dead.replace("/.tmp", "/final")

    files.remove("/.tmp")

    assert set(bucket.names()) <= {"final"}
    assert bucket.uploads() == []


def anywhere(path):
    """Lets every directory be listed."""


def test_of_a_folder_that_is_moved_the_marks_of_publications_are_no_part(connected):
    dead, files = stopping(connected(), "put_object"), connected()
    put(files, "/.tmp", b"a")
    with pytest.raises(Stopped):
        dead.replace("/.tmp", "/final")

    assert len(list(files.list("/"))) == 2
    assert [item.name for item in list_source(files, "/", Selection(), lambda: None, anywhere)] == ["", ".tmp"]


def test_of_many_attempts_to_move_a_file_one_succeeds_at_most(connected, bucket):
    racers = [connected() for _ in range(RACERS)]
    for number in range(3):
        source = f"/.tmp-{number}"
        put(racers[0], source, content(LARGE))
        winners: list[str] = []
        ready = threading.Barrier(RACERS)

        def race(files, target, source=source, winners=winners, ready=ready):
            ready.wait()
            try:
                files.replace(source, target)
            except MoveFailure:
                return
            winners.append(target)

        threads = [
            threading.Thread(target=race, args=(files, f"/final-{number}-{each}")) for each, files in enumerate(racers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        finals = [f"/{name}" for name in bucket.names() if name.startswith(f"final-{number}-")]
        assert finals == winners
        assert len(winners) <= 1
        racers[0].remove(source)
        assert bucket.uploads() == []


def test_another_s_object_with_a_longer_name_is_left_alone(files, bucket):
    for name in ("a", "a.txt", "a-to-b", ".data_mover-to-b"):
        (bucket / name).write_bytes(b"theirs")

    files.remove("/a")

    assert sorted(bucket.names()) == [".data_mover-to-b", "a-to-b", "a.txt"]


@pytest.mark.parametrize("name", ["a\x01b", "a\x1f", "\ufffe", "d\uffff/a"])
def test_a_new_name_that_a_store_cannot_return_is_refused_as_soon_as_it_is_met(files, bucket, name):
    put(files, "/.tmp", b"a")

    for meet in (files.stat, files.make_directories, files.lock_name, lambda path: list(files.list(path))):
        with pytest.raises(BadName, match=f"store:/{name}$"):
            meet(f"/{name}")
    for move in (files.replace, files.rename):
        with pytest.raises(BadName, match=f"store:/{name}$"):
            move("/.tmp", f"/{name}")

    assert bucket.names() == [".tmp"]
    assert bucket.uploads() == []


def test_nothing_has_to_be_cleared_under_a_name_that_a_store_cannot_return(files):
    clear(files, TemporaryFile("/.data_mover-a\x01b"), lambda: None)


def test_an_object_of_another_s_whose_name_the_store_cannot_tell_is_read(files, bucket):
    (bucket / "directory/a\x01b").write_bytes(b"theirs")

    assert [entry.name for entry in files.list("/directory")] == ["a\x01b"]
    assert get(files, "/directory/a\x01b") == b"theirs"


def test_an_object_that_is_replaced_between_two_ranges_is_not_read_on(files, bucket):
    (bucket / "a").write_bytes(content(3 * RANGE_BYTES))

    with files.open("/a") as reader:
        blocks = reader.blocks()
        next(blocks)
        (bucket / "a").write_bytes(bytes(3 * RANGE_BYTES))
        with pytest.raises(SourceChanged, match="store:/a"):
            b"".join(blocks)


def test_an_object_that_vanishes_between_two_ranges_is_reported(files, bucket):
    (bucket / "a").write_bytes(content(3 * RANGE_BYTES))

    with files.open("/a") as reader:
        blocks = reader.blocks()
        next(blocks)
        (bucket / "a").unlink()
        with pytest.raises(SourceChanged, match="store:/a"):
            b"".join(blocks)


def test_a_prefix_that_holds_objects_is_not_replaced(files, bucket):
    (bucket / "a/b").write_bytes(b"theirs")
    put(files, "/.tmp", b"mine")

    with pytest.raises(IsADirectory):
        files.replace("/.tmp", "/a")


def test_keys_that_no_path_can_name_are_reported_as_nothing_to_follow(files, bucket):
    for key in ("a/b", "a//c", "a/./d", "a/../e", "a/.", "a/directory/", "a/both", "a/both/f", "a/"):
        (bucket / key).write_bytes(b"1234")

    reported = {(entry.name, entry.kind, entry.size_bytes) for entry in files.list("/a")}

    assert reported == {
        ("b", FileKind.FILE, 4),
        ("", FileKind.OTHER, None),
        (".", FileKind.OTHER, None),
        ("..", FileKind.OTHER, None),
        ("directory", FileKind.DIRECTORY, None),
        ("both", FileKind.FILE, 4),
        ("both", FileKind.DIRECTORY, None),
    }
    assert list(files.list("/a/directory")) == []
    assert files.stat("/a/directory").kind is FileKind.DIRECTORY


def test_entries_are_those_below_the_root(connected, bucket):
    for key in ("a", "some/where/b", "some/where/c/d", "some/whereelse"):
        (bucket / key).write_bytes(b"mine")

    assert [entry.name for entry in connected(root="/some/where").list("/")] == ["b", "c"]
    assert [entry.name for entry in connected(root="/some/where").list("/c")] == ["d"]
    assert list(connected(root="/else/where").list("/")) == []


@pytest.mark.parametrize("key", ["access_key", "secret_key"])
def test_a_wrong_key_is_a_refused_login(connected, tmp_path, key):
    (tmp_path / "wrong").touch(mode=0o600)
    (tmp_path / "wrong").write_text("something-else")

    with pytest.raises(LoginRefused) as refused:
        connected(**{key: f"file:{tmp_path}/wrong"})

    assert "something-else" not in refused.value.reason


def test_the_user_s_own_configuration_is_not_asked(connected, tmp_path, monkeypatch):
    (tmp_path / "config").write_text("[default]\nregion = nowhere-1\nendpoint_url = http://127.0.0.1:1\n")
    for name, value in {
        "AWS_PROFILE": "not-there",
        "AWS_CONFIG_FILE": str(tmp_path / "config"),
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "HTTP_PROXY": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "not-ours",
    }.items():
        monkeypatch.setenv(name, value)

    assert connected().stat("/").kind is FileKind.DIRECTORY


def test_a_missing_key_is_a_refused_login(connected):
    with pytest.raises(LoginRefused):
        connected(secret_key="env:NOT_SET_ANYWHERE")


def test_a_young_object_is_read_once_for_its_version_is_made_of_its_bytes(files, bucket):
    stats = []
    for written in (b"first", b"other"):
        (bucket / "a").write_bytes(written)
        (bucket / "a").set_modified(MODIFIED)
        stats.append(files.stat("/a"))

    assert stats[0] != stats[1]
    assert files.settling_seconds(stats[1]) == 0


def test_a_missing_bucket_is_reported(connected):
    files = connected(bucket="not-there")

    assert files.stat("/") is files.stat("/a") is None
    for act in (
        lambda: files.open("/a"),
        lambda: files.make_directories("/"),
        lambda: put(files, "/a", b"x"),
        lambda: list(files.list("/")),
    ):
        with pytest.raises(NoSuchFile):
            act()


def test_a_store_that_is_away_cannot_be_reached(connected):
    with pytest.raises(HostUnreachable):
        connected(endpoint=f"http://{LOOPBACK}:{free_port()}")


def test_a_certificate_must_be_trusted(connected, ceph):
    with pytest.raises(CertificateRefused):
        connected(endpoint=f"https://localhost:{ceph.tls_port}")
    with pytest.raises(CertificateRefused):
        connected(endpoint=f"https://{LOOPBACK}:{ceph.tls_port}", ca_file=str(ceph.directory / "tls.pem"))

    files = connected(endpoint=f"https://localhost:{ceph.tls_port}", ca_file=str(ceph.directory / "tls.pem"))
    put(files, "/a", content(LARGE))

    assert get(files, "/a") == content(LARGE)


@pytest.mark.parametrize(
    ("fault", "failure"), [(Fault.SWALLOW, Stalled), (Fault.CUT, ConnectionLost), (Fault.RESET, ConnectionLost)]
)
@pytest.mark.parametrize("after", [0, 3 * 2**20], ids=["at once", "in a part"])
def test_a_network_that_fails_is_reported_and_leaves_what_can_be_cleared(
    ceph, connected, bucket, fault, failure, after
):
    with proxy(ceph.port) as network:
        files = connected(endpoint=f"http://{LOOPBACK}:{network.port}")
        with files.create("/a", NewFile(LARGE, 0o644, MODIFIED)) as writer:
            network.strike(fault, after)
            with pytest.raises(failure, match="store"):
                writer.write(content(LARGE))
        network.heal()

        assert bucket.names() in ([], ["a"])
        connected().remove("/a")
        assert bucket.names() == []


def test_a_bit_that_flips_on_its_way_is_noticed_by_the_store(ceph, connected, bucket):
    with proxy(ceph.port) as network:
        files = connected(endpoint=f"http://{LOOPBACK}:{network.port}")
        with files.create("/a", NewFile(LARGE, 0o644, MODIFIED)) as writer:
            network.strike(Fault.FLIP, 3 * 2**20)
            with pytest.raises(VerifyFailed):
                writer.write(content(LARGE))

    assert not (bucket / "a").exists()


def test_a_connection_that_was_given_up_answers_no_more(files):
    files.abort()

    with pytest.raises(ConnectionLost):
        files.stat("/a")
    assert isinstance(files, S3Files)


def test_uploads_beyond_one_page_are_given_up_too(connected):
    """A store lists a thousand at a time."""
    files = connected(idle_timeout_seconds=20)
    for _ in range(1002):
        files._client.begin("/a", "a", {})
    assert len(files._client.uploads("/a", "a")) == 1002

    files.remove("/a")

    assert files._client.uploads("/a", "a") == []
