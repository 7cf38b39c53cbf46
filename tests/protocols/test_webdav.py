"""What only a server that speaks WebDAV does: whole trees that go at one word, answers in XML, certificates."""

import threading
from contextlib import ExitStack, nullcontext, suppress
from functools import partial

import pytest

from data_mover.backends import connect
from data_mover.backends.api import NewFile
from data_mover.backends.webdav.options import WebdavOptions
from data_mover.domain.errors import (
    CannotReplace,
    CertificateRefused,
    ConnectionLost,
    Encoded,
    HostFailed,
    HostUnreachable,
    IsADirectory,
    LoginRefused,
    MoveFailure,
    NoSpace,
    NoSuchFile,
    PermissionRefused,
    SourceChanged,
    Stalled,
)
from data_mover.domain.states import FileKind
from tests.protocols.test_conformance import MODIFIED, content, put
from tests.servers.processes import LOOPBACK, eventually, free_port
from tests.servers.proxy import Fault, proxy
from tests.servers.web import web_server
from tests.servers.webdav import PASSWORD, WebdavServer

LARGE = 10 * 2**20
RACERS = 6


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def connected(root):
    """Connects to a server, as another process would, with what the registry says changed."""

    def open_(server, **changes):
        table = {"connect_timeout_seconds": 2, "idle_timeout_seconds": 2, **server.options(root), **changes}
        return opened.enter_context(connect("cloud", WebdavOptions.model_validate(table)))

    with ExitStack() as opened:
        yield open_


@pytest.fixture(params=["apache", "rclone_webdav"])
def server(request):
    return request.getfixturevalue(request.param)


def names(root):
    return sorted(path.name for path in root.iterdir())


def test_what_a_later_attempt_has_renamed_is_taken_away_from_the_earlier_one(server, connected, root):
    frozen, files = connected(server), connected(server)
    put(files, "/.tmp-1", b"mine")

    files.rename("/.tmp-1", "/.tmp-2")

    with pytest.raises(NoSuchFile, match=r"cloud:/\.tmp-1"):
        frozen.replace("/.tmp-1", "/final")
    assert names(root) == [".tmp-2"]


def test_of_many_attempts_to_move_a_file_exactly_one_succeeds(server, connected, root):
    racers = [connected(server) for _ in range(RACERS)]
    for number in range(5):
        source = f"/.tmp-{number}"
        put(racers[0], source, b"mine")
        winners: list[str] = []
        losses: list[str] = []
        ready = threading.Barrier(RACERS)

        def race(files, target, source=source, winners=winners, losses=losses, ready=ready):
            ready.wait()
            try:
                files.replace(source, target)
            except MoveFailure as failure:
                losses.append(type(failure))
            else:
                winners.append(target)

        threads = [
            threading.Thread(target=race, args=(files, f"/final-{number}-{each}")) for each, files in enumerate(racers)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

        assert [f"/{name}" for name in names(root) if name.startswith(f"final-{number}-")] == winners
        assert len(winners) == 1
        assert set(losses) <= {NoSuchFile, HostFailed}  # rclone locks what it moves, and says so


def test_a_directory_never_goes_with_what_it_holds(server, connected, root):
    files = connected(server)
    (root / "directory").mkdir()
    (root / "directory" / "kept").write_bytes(b"theirs")
    put(files, "/mine", b"mine")

    for act, failure in (
        (partial(files.replace, "/mine", "/directory"), IsADirectory),
        (partial(files.rename, "/mine", "/directory"), PermissionRefused),
        (partial(files.remove, "/directory"), IsADirectory),
        (partial(files.remove_directory, "/directory"), HostFailed),
    ):
        with pytest.raises(failure, match="cloud:/directory"):
            act()

    assert (root / "directory" / "kept").read_bytes() == b"theirs"
    assert names(root) == ["directory", "mine"]


def test_what_appears_under_the_final_name_meanwhile_is_not_replaced(server, connected, root):
    files = connected(server)
    put(files, "/mine", b"mine")
    look, files.stat = files.stat, lambda path: None if path == "/final" else look(path)
    (root / "final").write_bytes(b"theirs")

    with pytest.raises(CannotReplace, match="cloud:/final"):
        files.replace("/mine", "/final")

    assert (root / "final").read_bytes() == b"theirs"


def test_a_name_that_is_taken_is_not_written_to(apache, connected, root):
    (root / "a").write_bytes(b"theirs")

    with pytest.raises(PermissionRefused, match="cloud:/a is there already"):
        put(connected(apache), "/a", b"mine")

    assert (root / "a").read_bytes() == b"theirs"


def test_what_is_not_committed_is_gone_when_the_writer_is_closed(apache, connected, root):
    with connected(apache).create("/a", NewFile(LARGE, 0o644, MODIFIED)) as writer:
        writer.write(content(2**20))

    assert names(root) == []


def test_a_host_is_one_path_lock_under_whichever_root(apache, connected, root):
    whole = connected(apache, root="/")

    assert (
        whole.lock_name(f"{root}/a b")
        == connected(apache).lock_name("/a b")
        == f"webdav:{LOOPBACK}:{apache.port}{root}/a%20b"
    )


@pytest.mark.parametrize(
    ("key", "value"), [("password", "file:{}/wrong"), ("password", "env:NOT_SET"), ("username", "somebody")]
)
def test_a_wrong_login_is_refused_and_not_reported(apache, connected, tmp_path, key, value):
    (tmp_path / "wrong").touch(mode=0o600)
    (tmp_path / "wrong").write_text("hunter2-hunter2")

    with pytest.raises(LoginRefused, match="cloud") as refused:
        connected(apache, **{key: value.format(tmp_path)})

    assert "hunter2" not in refused.value.reason
    assert PASSWORD not in refused.value.reason


def test_a_certificate_must_be_trusted(apache, connected):
    with pytest.raises(CertificateRefused):
        connected(apache, ca_file=None)


def test_a_server_that_is_away_cannot_be_reached(apache, connected):
    with pytest.raises(HostUnreachable):
        connected(apache, endpoint=f"https://{LOOPBACK}:{free_port()}")


def test_a_missing_root_is_reported(server, connected, root):
    files = connected(server, root=f"{root}/nothing")

    assert files.stat("/") is files.stat("/a") is None
    for act in (
        lambda: files.open("/a"),
        lambda: files.make_directories("/"),
        lambda: files.make_directories("/a"),
        lambda: put(files, "/a", b"x"),
        lambda: list(files.list("/")),
    ):
        with pytest.raises(NoSuchFile):
            act()
    assert names(root) == []


@pytest.mark.parametrize(
    ("fault", "failure"), [(Fault.SWALLOW, Stalled), (Fault.CUT, ConnectionLost), (Fault.RESET, ConnectionLost)]
)
@pytest.mark.parametrize("after", [1000, 3 * 2**20], ids=["at its beginning", "in a file"])
def test_a_network_that_fails_is_reported_and_leaves_what_can_be_cleared(
    rclone_webdav, connected, root, fault, failure, after
):
    with proxy(rclone_webdav.port) as network:
        files = connected(rclone_webdav, endpoint=f"http://{LOOPBACK}:{network.port}", connect_timeout_seconds=0.5)
        network.strike(fault, after)
        with pytest.raises(failure, match="cloud"):
            put(files, "/a", content(LARGE))
        network.heal()
        files.close()

    def is_cleared():
        """While the server thinks that the file is still coming, it is locked."""
        with suppress(HostFailed):
            connected(rclone_webdav).remove("/a")
        return names(root) == []

    eventually(is_cleared, "the file is gone")


def test_abort_ends_a_call_of_another_thread(rclone_webdav, connected):
    with proxy(rclone_webdav.port) as network:
        files = connected(rclone_webdav, endpoint=f"http://{LOOPBACK}:{network.port}", idle_timeout_seconds=600)
        network.strike(Fault.SWALLOW, 1)
        failures, before = [], network.sent_bytes

        def look():
            try:
                files.stat("/a")
            except MoveFailure as failure:
                failures.append(type(failure))

        thread = threading.Thread(target=look)
        thread.start()
        eventually(lambda: network.sent_bytes > before, "it asks")
        files.abort()
        thread.join(timeout=30)

        assert failures == [ConnectionLost]
        with pytest.raises(ConnectionLost):
            files.stat("/a")
        files.close()


@pytest.mark.parametrize("fault", [Fault.CUT, Fault.RESET])
def test_a_server_that_has_closed_the_connection_is_asked_once_more(rclone_webdav, connected, root, fault):
    (root / "a").write_bytes(b"mine")
    with proxy(rclone_webdav.port) as network:
        files = connected(rclone_webdav, endpoint=f"http://{LOOPBACK}:{network.port}")
        network.strike(fault)

        assert files.stat("/a").size_bytes == 4
        files.close()


def test_a_file_that_is_replaced_before_it_is_read_is_reported(server, connected, root):
    (root / "a").write_bytes(b"old")
    files = connected(server)

    with files.open("/a") as reader:
        (root / "new").write_bytes(b"newer")
        (root / "new").rename(root / "a")
        with pytest.raises(SourceChanged, match="cloud:/a"):
            b"".join(reader.blocks())


# What a server says that is none, or fails.


@pytest.fixture(scope="module")
def liar(tmp_path_factory):
    with web_server(tmp_path_factory.mktemp("liar")) as running:
        yield running


@pytest.fixture
def answering(liar, connected):
    """Connects to a server that answers with these statuses and bodies at these paths."""

    def connect_(**answers):
        liar.faults = {"/": partial(say, 207, listing(response(b"/", DIRECTORY)))}
        liar.faults |= {f"/{path}": partial(say, *answer) for path, answer in answers.items()}
        return connected(WebdavServer(liar.port), root="/")

    return connect_


def say(status, body, handler):
    handler.close_connection = True
    handler.answer(status, body)


def listing(*responses):
    return b'<?xml version="1.0"?><D:multistatus xmlns:D="DAV:">%s</D:multistatus>' % b"".join(responses)


def response(href, properties=b"<D:getcontentlength>4</D:getcontentlength>", status=b"200 OK"):
    group = b"<D:propstat><D:prop>%s</D:prop><D:status>HTTP/1.1 %s</D:status></D:propstat>" % (properties, status)
    return b"<D:response><D:href>%s</D:href>%s</D:response>" % (href, group)


DIRECTORY = b"<D:resourcetype><D:collection/></D:resourcetype>"
BOMB = b'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b "cccc">]><D:multistatus xmlns:D="DAV:">&b;</D:multistatus>'


@pytest.mark.parametrize(
    "body",
    [
        b"Welcome",
        b"",
        listing(response(b"/a"))[:-5],
        BOMB,
        listing(response(b"/a", b"<D:getcontentlength>four</D:getcontentlength>")),
        listing(response(b"a")),
        listing(response(b"/a", b"<D:getetag>%s</D:getetag>" % bytes(2**20).replace(b"\0", b"x"))),
    ],
    ids=["no XML", "nothing", "cut off", "entities", "no number", "no path", "without an end"],
)
def test_an_answer_that_is_none_is_reported(answering, body):
    with pytest.raises(HostFailed, match="cloud:/a"):
        answering(a=(207, body)).stat("/a")


def pour(beginning, endless, sent, handler):
    """An answer without an end, and how much of it was sent before the client had enough."""
    handler.close_connection = True
    handler.send_response(207 if handler.command == "PROPFIND" else 200)
    handler.end_headers()
    handler.wfile.write(beginning)
    with suppress(OSError):
        while not handler.server.web.ended.is_set():
            handler.wfile.write(endless)
            sent.append(len(endless))


@pytest.mark.parametrize(
    ("endless", "failure"),
    [(response(b"/a"), None), (b" " * 1000, HostFailed), (b"<D:x>" * 200, HostFailed)],
    ids=["resources", "spaces", "depth"],
)
def test_an_answer_about_one_resource_that_has_no_end_is_not_read(liar, answering, endless, failure):
    files = answering()
    sent: list[int] = []
    liar.faults["/a"] = partial(pour, listing(response(b"/a")).removesuffix(b"</D:multistatus>"), endless, sent)

    with pytest.raises(failure, match="cloud:/a") if failure else nullcontext():
        assert files.stat("/a").size_bytes == 4

    assert sum(sent) < 16 * 2**20


def test_what_comes_beyond_the_announced_size_is_cut_off(liar, answering):
    """4 bytes were announced, and there is no Content-Length."""
    reader = answering(a=(207, listing(response(b"/a")))).open("/a")
    sent: list[int] = []
    came: list[int] = []
    liar.faults["/a"] = partial(pour, b"mine", b"more" * 1000, sent)

    with pytest.raises(HostFailed, match="cloud:/a: more came than the server had announced"):
        came.extend(map(len, reader.blocks()))
    reader.close()

    assert sum(came) <= 4
    assert sum(sent) < 16 * 2**20


def test_names_that_lead_elsewhere_lead_nowhere(answering):
    hrefs = [b"/a/", b"/a/b", b"http://elsewhere/a/c", b"/a/%2e%2e", b"/etc/passwd", b"/a/d/e", b"/a/%FF"]
    body = listing(response(hrefs[0], DIRECTORY), *map(response, hrefs[1:]))
    files = answering(a=(207, body), **{"a/": (207, body)})

    reported_entries = {entry.name: entry.kind for entry in files.list("/a")}

    assert {name for name, kind in reported_entries.items() if kind is FileKind.FILE} == {"b", "c", "\udcff"}
    assert {kind for name, kind in reported_entries.items() if name not in ("b", "c", "\udcff")} == {FileKind.OTHER}


def test_a_listing_of_another_directory_is_not_taken_for_an_empty_one(answering):
    """A proxy may give a server another path than the one that it names."""
    elsewhere = listing(response(b"/dav/a/", DIRECTORY))
    files = answering(a=(207, listing(response(b"/a", DIRECTORY))), **{"a/": (207, elsewhere)})

    with pytest.raises(HostFailed, match="cloud:/a: the server lists another directory"):
        list(files.list("/a"))


def test_what_is_said_to_be_missing_is_missing(answering):
    missing = b"<D:response><D:href>/a</D:href><D:status>HTTP/1.1 404 Not Found</D:status></D:response>"
    unknown = response(b"/b", status=b"404 Not Found")
    files = answering(a=(207, listing(missing)), b=(207, listing(unknown)))

    assert files.stat("/a") is None
    assert files.stat("/b").kind is FileKind.OTHER


@pytest.mark.parametrize(
    ("status", "failure"),
    [(401, LoginRefused), (403, PermissionRefused), (423, HostFailed), (500, HostFailed), (507, NoSpace)],
)
def test_a_status_is_reported_by_its_code(answering, status, failure):
    with pytest.raises(failure, match=f"cloud:/a is answered with {status}"):
        answering(a=(status, b"because")).stat("/a")


def test_a_server_that_wants_no_more_of_a_file_is_heard(answering):
    files = answering(a=(507, b""))

    with pytest.raises(NoSpace, match="cloud:/a"):
        put(files, "/a", content(LARGE))


def test_what_comes_compressed_is_refused(liar, answering):
    files = answering(a=(207, listing(response(b"/a"))))
    reader = files.open("/a")
    liar.faults["/a"] = lambda handler: handler.answer(200, b"1234", Content_Encoding="gzip")

    with pytest.raises(Encoded, match="cloud:/a"):
        b"".join(reader.blocks())


def test_a_server_that_gives_no_ranges_is_read_from_its_beginning(liar, answering):
    files = answering(a=(207, listing(response(b"/a", b"<D:getcontentlength>300000</D:getcontentlength>"))))
    reader = files.open("/a")
    liar.faults["/a"] = lambda handler: handler.answer(200, content(300_000))

    assert b"".join(reader.blocks(290_000)) == content(300_000)[290_000:]


def test_a_move_that_leads_elsewhere_is_reported(liar, answering):
    """WsgiDAV takes a `?` in the new name for the beginning of a query, and says that all is well."""
    files = answering(a=(207, listing(response(b"/a"))))
    tell = liar.faults["/a"]
    liar.faults["/a"] = lambda handler: say(201, b"", handler) if handler.command == "MOVE" else tell(handler)

    with pytest.raises(HostFailed, match="cloud:/b is not where it was moved to"):
        files.replace("/a", "/b")


@pytest.mark.parametrize(("reported_before", "reported_with_it"), [('W/"1"', '"1"'), ("1", '"1"'), ('"1"', 'W/"1"')])
def test_a_version_is_the_same_however_it_is_spelt(liar, answering, reported_before, reported_with_it):
    properties = f"<D:getcontentlength>4</D:getcontentlength><D:getetag>{reported_before}</D:getetag>"
    files = answering(a=(207, listing(response(b"/a", properties.encode()))))
    reader = files.open("/a")
    liar.faults["/a"] = lambda handler: handler.answer(200, b"mine", ETag=reported_with_it)

    assert b"".join(reader.blocks()) == b"mine"


def test_a_modification_time_is_sent_along(liar, answering):
    """As Nextcloud and ownCloud keep it; others do not look at it."""
    files = answering(a=(201, b""))
    liar.requests.clear()
    put(files, "/a", b"mine")

    fields = liar.requests[-1][1]
    assert (fields["X-OC-MTime"], fields["If-None-Match"], fields["Content-Length"]) == ("1700000000", "*", "4")
