"""Web servers, as they should be and as they are."""

import gzip
import os
import socket
import threading
import time
from functools import partial
from itertools import chain, repeat
from urllib.parse import unquote

import pytest

from data_mover.backends import connect
from data_mover.backends.http import backend
from data_mover.backends.http.allowed_sites import Web
from data_mover.backends.http.options import HttpOptions
from data_mover.domain.errors import (
    CertificateRefused,
    ConnectionLost,
    Encoded,
    HostFailed,
    HostUnreachable,
    HttpFailed,
    HttpLoginRefused,
    HttpMissing,
    HttpRefused,
    LoginRefused,
    MoveFailure,
    NotAllowed,
    SizeUnknown,
    SourceChanged,
    Stalled,
    TooLarge,
    TooSlow,
)
from tests.servers.processes import free_port
from tests.servers.web import web_server

CONTENT = bytes(range(256)) * 4096
SECRET = "correct-horse-battery-staple"
DAY = "Tue, 24 Nov 2026 00:00:00 GMT"


@pytest.fixture(scope="module", params=[False, True], ids=["http", "https"])
def server(request, tmp_path_factory):
    with web_server(tmp_path_factory.mktemp("web"), tls=request.param) as running:
        yield running


@pytest.fixture(scope="module")
def tls_server(tmp_path_factory):
    with web_server(tmp_path_factory.mktemp("web"), tls=True) as running:
        yield running


def source(server, web=None, **more):
    table = server.options(**{"connect_timeout_seconds": 2, "idle_timeout_seconds": 1, **more})
    options = HttpOptions.model_validate(table)
    return connect("data", options.within(web or Web({"data": options})))


def read(server, path, offset_bytes=0, **more):
    with source(server, **more) as connected, connected.open(path) as reader:
        return b"".join(reader.blocks(offset_bytes))


def cut(handler):
    handler.answer(200, CONTENT[:1000], Content_Length=len(CONTENT))
    handler.close_connection = True


def cut_while_it_is_encrypted_or_not(handler):
    handler.answer(200, CONTENT[:1000], Content_Length=len(CONTENT))
    handler.connection.close()


def stall(handler):
    handler.answer(200, CONTENT[:1000], Content_Length=len(CONTENT))
    handler.server.web.ended.wait(10)


def say_nothing(handler):
    handler.server.web.ended.wait(10)
    handler.close_connection = True


def drop_out_of_chunks(handler):
    handler.answer(200, b"8\r\n12345678\r\n", Content_Length=None, Transfer_Encoding="chunked")
    handler.close_connection = True


def answer_without_an_end(handler):
    handler.answer(200, CONTENT, Content_Length=None, Connection="close")


def lead_in_a_circle(handler):
    handler.answer(301, Location=handler.path)


def compress(handler):
    handler.answer(200, gzip.compress(bytes(10**7), 1), Content_Encoding="gzip")


def compress_on_the_way(handler):
    handler.answer(200, b"3\r\nabc\r\n0\r\n\r\n", Content_Length=None, Transfer_Encoding="gzip, chunked")


def speak_of_other_lengths(handler):
    handler.answer(200, CONTENT, Content_Length=f"{len(CONTENT)}x")


def speak_of_two_lengths(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 6\r\n\r\nabcdef")
    handler.close_connection = True


def speak_of_a_length_and_send_chunks(handler):
    handler.answer(200, b"5\r\nabcde\r\n0\r\n\r\n", Content_Length=5, Transfer_Encoding="chunked")


def send_more_than_it_says(handler):
    handler.answer(200, CONTENT, Content_Length=len(CONTENT) - 1)


def send_more_than_it_says_in_the_end(handler):
    handler.answer(200, CONTENT)
    handler.server.web.ended.wait(0.2)
    handler.wfile.write(b"and more")


def send_more_than_nothing(handler):
    handler.answer(200, b"a page", Content_Length=0)


def speak_of_less_than_nothing(handler):
    handler.answer(200, CONTENT, Content_Length=-1)


def send_endless_fields(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while not handler.server.web.ended.is_set():
        handler.wfile.write(b"X-Field: " + b"x" * 1000 + b"\r\n")


def send_an_endless_field(handler):
    handler.wfile.write(b"HTTP/1.1 200 OK\r\nX-Field: ")
    while not handler.server.web.ended.is_set():
        handler.wfile.write(b"x" * 1000)


def send_no_http(handler):
    handler.wfile.write(b"SSH-2.0-OpenSSH_9.2\r\n")
    handler.close_connection = True


def send_without_end(handler):
    handler.answer(200, Content_Length=None, Transfer_Encoding="chunked")
    while not handler.server.web.ended.is_set():
        handler.wfile.write(b"8000\r\n" + bytes(0x8000) + b"\r\n")


def status(number):
    return lambda handler: handler.answer(number, b"a page that is not the file")


@pytest.mark.parametrize(
    ("fault", "failure", "code"),
    [
        (status(404), HttpMissing, "http-404"),
        (status(410), HttpMissing, "http-410"),
        (status(401), HttpLoginRefused, "http-401"),
        (status(101), HostFailed, "host-failed"),
        (status(204), HttpRefused, "http-204"),
        (status(206), HttpRefused, "http-206"),
        (status(300), HttpRefused, "http-300"),
        (status(301), HttpRefused, "http-301"),
        (status(429), HttpFailed, "http-429"),
        (status(500), HttpFailed, "http-500"),
        (status(599), HttpFailed, "http-599"),
        (lead_in_a_circle, HttpRefused, "http-301"),
        (cut, ConnectionLost, "connection-lost"),
        (cut_while_it_is_encrypted_or_not, ConnectionLost, "connection-lost"),
        (drop_out_of_chunks, ConnectionLost, "connection-lost"),
        (stall, Stalled, "stalled"),
        (say_nothing, Stalled, "stalled"),
        (answer_without_an_end, SizeUnknown, "size-unknown"),
        (compress, Encoded, "encoded"),
        (compress_on_the_way, Encoded, "encoded"),
        (speak_of_other_lengths, HostFailed, "host-failed"),
        (speak_of_two_lengths, HostFailed, "host-failed"),
        (speak_of_a_length_and_send_chunks, HostFailed, "host-failed"),
        (send_more_than_it_says, HostFailed, "host-failed"),
        (send_more_than_it_says_in_the_end, HostFailed, "host-failed"),
        (send_more_than_nothing, HostFailed, "host-failed"),
        (speak_of_less_than_nothing, HostFailed, "host-failed"),
        (send_endless_fields, HostFailed, "host-failed"),
        (send_an_endless_field, HostFailed, "host-failed"),
        (send_no_http, HostFailed, "host-failed"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_is_no_whole_file_fails_with_its_own_code(server, fault, failure, code):
    server.faults["/fault"] = fault

    with pytest.raises(MoveFailure) as failed:
        read(server, f"{server.url}/fault?key={SECRET}")

    assert (type(failed.value), failed.value.code) == (failure, code)
    assert SECRET not in failed.value.reason


def test_a_file_is_larger_than_the_registry_allows(server):
    server.faults["/announced"] = lambda handler: handler.answer(200, CONTENT)
    server.faults["/endless"] = send_without_end

    for path in ("/announced", "/endless"):
        with pytest.raises(TooLarge):
            read(server, path, max_size="1MB")
    assert read(server, "/announced", max_size="2MB") == CONTENT


def test_a_file_whose_size_nobody_tells_has_an_end(server, monkeypatch):
    monkeypatch.setattr(backend, "MOST_UNSIZED_BYTES", 10**6)
    server.faults["/announced"] = lambda handler: handler.answer(200, CONTENT)
    server.faults["/endless"] = send_without_end

    with pytest.raises(TooLarge, match="1000000"):
        read(server, "/endless")
    with pytest.raises(TooLarge, match="2000000"):
        read(server, "/endless", max_size="2MB")
    assert read(server, "/announced") == CONTENT


def test_a_slow_stream_that_moves_survives_unless_it_takes_too_long(server):
    def drip(handler):
        handler.answer(200, Content_Length=20)
        for _ in range(20):
            handler.wfile.write(b"x")
            handler.server.web.ended.wait(0.06)

    server.faults["/slow"] = drip

    assert read(server, "/slow", idle_timeout_seconds=0.5) == b"x" * 20
    with pytest.raises(TooSlow):
        read(server, "/slow", total_timeout_seconds=0.5)


def test_chunks_are_a_whole_file_of_unknown_size(server):
    server.faults["/chunks"] = lambda handler: handler.answer(
        200, b"3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", Content_Length=None, Transfer_Encoding="chunked"
    )

    with source(server) as connected, connected.open("/chunks") as reader:
        assert reader.stat.size_bytes is None
        assert b"".join(reader.blocks()) == b"abcde"
        assert connected.stat("/chunks") == reader.stat


def test_what_is_reported_ahead_of_an_answer_is_passed_over(server):
    def hint(handler):
        handler.wfile.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\nContent-Length: 5\r\nETag: x\r\n\r\n" * 2)
        handler.answer(200, CONTENT)

    server.faults["/hinted"] = hint

    with source(server) as connected, connected.open("/hinted") as reader:
        assert (reader.stat.size_bytes, reader.stat.version) == (len(CONTENT), None)
        assert b"".join(reader.blocks()) == CONTENT


@pytest.mark.parametrize("content", [b"", CONTENT], ids=["nothing", "something"])
def test_a_server_that_does_not_hang_up_is_not_waited_for_long(server, content):
    def stay(handler):
        handler.answer(200, content)
        handler.server.web.ended.wait(30)

    server.faults["/stays"] = stay

    assert read(server, "/stays", idle_timeout_seconds=20, total_timeout_seconds=10) == content


@pytest.mark.parametrize("time", ["Fri, 01 Jan 1960 00:00:00 GMT", "Fri, 01 Jan 2200 00:00:00 GMT", "yesterday"])
def test_a_time_that_no_file_can_have_is_not_reported(server, time):
    server.faults["/timed"] = lambda handler: handler.answer(200, CONTENT, Last_Modified=time)

    with source(server) as connected:
        assert connected.stat("/timed").modified_at is None


def test_ranges_are_of_the_same_version_or_fail(server):
    version = ['"one"']

    def changing(handler):
        wanted = handler.headers.get("Range")
        if wanted is None or handler.headers.get("If-Range") != version[0]:
            return handler.answer(200, CONTENT, ETag=version[0], Last_Modified=DAY)
        offset = int(wanted[6:-1])
        whole = f"bytes {offset}-{len(CONTENT) - 1}/{len(CONTENT)}"
        return handler.answer(206, CONTENT[offset:], ETag=version[0], Content_Range=whole)

    server.faults["/changing"] = changing

    assert read(server, "/changing", 1000) == CONTENT[1000:]
    with source(server) as connected, connected.open("/changing") as reader:
        version[0] = '"two"'
        with pytest.raises(SourceChanged):
            next(reader.blocks(1000))
        assert connected.stat("/changing") != reader.stat


@pytest.mark.parametrize("fields", [{}, {"ETag": 'W/"weak"'}, {"Last_Modified": DAY}], ids=str)
def test_a_server_without_ranges_is_read_from_the_first_byte(server, fields):
    server.faults["/whole"] = lambda handler: handler.answer(200, CONTENT, **fields)

    assert read(server, "/whole", 300_001) == CONTENT[300_001:]
    assert read(server, "/whole", len(CONTENT)) == b""


@pytest.mark.parametrize(
    "framing", [{"Content_Length": 5 * 10**10}, {"Content_Length": None, "Transfer_Encoding": "chunked"}], ids=str
)
def test_the_rest_of_a_file_is_no_longer_than_its_range(server, framing):
    def go_on(handler):
        if "Range" not in handler.headers:
            handler.answer(200, CONTENT, ETag='"one"')
            return
        whole = f"bytes 1000-{len(CONTENT) - 1}/{len(CONTENT)}"
        handler.answer(206, ETag='"one"', Content_Range=whole, **framing)
        while not handler.server.web.ended.is_set():
            handler.wfile.write(b"8000\r\n" + bytes(0x8000) + b"\r\n")

    def take(reader):
        taken_bytes = 0
        for block in reader.blocks(1000):
            taken_bytes += len(block)
            assert taken_bytes <= len(CONTENT) - 1000

    server.faults["/endless"] = go_on

    with source(server) as connected, connected.open("/endless") as reader, pytest.raises(HostFailed):
        take(reader)


@pytest.mark.parametrize(
    ("status", "content_range", "failure"),
    [
        (206, f"bytes 0-{len(CONTENT) - 1}/{len(CONTENT)}", HostFailed),
        (206, "bytes 1000-1009/1010", SourceChanged),
        (206, None, HostFailed),
        (206, f"bytes 1000-{'9' * 5000}/{len(CONTENT)}", HostFailed),
        (206, f"bytes 1000-{len(CONTENT) - 2}/{len(CONTENT)}", HostFailed),
        (416, "bytes */10", SourceChanged),
        (404, None, HttpMissing),
    ],
)
def test_another_range_than_was_asked_for_is_not_taken(server, status, content_range, failure):
    def ranging(handler):
        if "Range" in handler.headers:
            handler.answer(status, CONTENT[1000:], Content_Range=content_range)
        else:
            handler.answer(200, CONTENT)

    server.faults["/ranging"] = ranging

    with pytest.raises(failure):
        read(server, "/ranging", 1000)


LARGE = os.urandom(3 * 2**20)


def hanging_up_after(count, versions, has_ranges=True, pause_seconds=0):
    """Sends so many bytes with each answer, of a file that has the next version each time it is asked for."""

    def answer(handler):
        version, wanted = next(versions), handler.headers.get("Range")
        offset = int(wanted[6:-1]) if wanted and has_ranges and handler.headers.get("If-Range") == version else 0
        rest = f"bytes {offset}-{len(LARGE) - 1}/{len(LARGE)}" if offset else None
        handler.answer(206 if offset else 200, Content_Length=len(LARGE) - offset, ETag=version, Content_Range=rest)
        handler.wfile.write(LARGE[offset : offset + count])
        handler.server.web.ended.wait(pause_seconds)
        handler.close_connection = True

    return answer


def ranges(server):
    return [fields.get("Range") for _, fields in server.requests]


def test_a_connection_that_breaks_is_followed_by_one_for_the_rest_of_the_same_version(server):
    server.faults["/parts"] = hanging_up_after(2**20, repeat('"one"'))
    server.requests.clear()

    assert read(server, "/parts") == LARGE

    assert ranges(server) == [None, "bytes=1048576-", "bytes=2097152-"]
    assert {fields.get("If-Range") for _, fields in server.requests[1:]} == {'"one"'}


def test_a_server_without_ranges_begins_anew_and_what_is_there_already_is_dropped(server):
    counts = chain([2**20], repeat(len(LARGE)))
    server.faults["/whole"] = lambda handler: hanging_up_after(next(counts), repeat('"one"'), has_ranges=False)(handler)

    assert read(server, "/whole") == LARGE


def test_a_server_without_ranges_that_never_comes_further_is_given_up(server):
    server.faults["/whole"] = hanging_up_after(2**20, repeat('"one"'), has_ranges=False)

    with pytest.raises(ConnectionLost):
        read(server, "/whole")


def test_parts_of_two_versions_are_not_put_together(server):
    server.faults["/parts"] = hanging_up_after(2**20, iter(['"one"', '"one"', '"two"']))

    with pytest.raises(SourceChanged):
        read(server, "/parts")


@pytest.mark.parametrize(
    ("count", "version"),
    [(2**20, None), (2**20, 'W/"weak"'), (2**20, '""'), (2**20, '"a", "b"'), (1000, '"one"'), (0, '"one"')],
)
def test_a_connection_is_lost_that_brings_too_little_or_of_a_version_that_is_not_exact(server, count, version):
    server.faults["/parts"] = hanging_up_after(count, repeat(version))
    server.requests.clear()

    with pytest.raises(ConnectionLost):
        read(server, "/parts")

    assert ranges(server) == [None]


def test_a_server_that_hangs_up_has_no_more_time_for_a_file_than_another(server):
    server.faults["/parts"] = hanging_up_after(2**20, repeat('"one"'), pause_seconds=0.4)

    with pytest.raises(TooSlow):
        read(server, "/parts", total_timeout_seconds=0.6)


def test_a_file_has_the_last_name_of_its_url_unless_the_server_may_name_it(server):
    named = partial(_answer, Content_Disposition="attachment; filename*=UTF-8''..%2Fnam%C3%A9d.csv")
    for path in ("/a/é b.csv", "/a/", "/line\nbreak"):
        server.faults[path] = named

    def name(path, **more):
        with source(server, **more) as connected, connected.open(path) as reader:
            return reader.name

    assert name("/a/é b.csv") is None
    assert name(f"{server.url}/a/%C3%A9%20b.csv?format=pdf") == "é b.csv"
    assert name(f"{server.url}/a/é b.csv") == "é b.csv"
    assert name(f"{server.url}/a/") == "download"
    assert name(f"{server.url}/line%0Abreak") == "line_break"
    assert name(f"{server.url}/a/", content_disposition=True) == "naméd.csv"


@pytest.mark.parametrize(
    ("disposition", "name"),
    [
        ('filename="été.csv"'.encode(), "été.csv"),
        ('filename="à été.csv"'.encode(), "à été.csv"),
        ('filename="été.csv"'.encode("latin-1"), "été.csv"),
        (b"filename*=UTF-8''%C3%A9t%C3%A9.csv", "été.csv"),
        ("filename=\"été.csv\"; filename*=UTF-8''%C3%A9t%C3%A9.csv".encode(), "été.csv"),
    ],
)
def test_a_name_is_read_as_utf_8_where_it_is_that(server, disposition, name):
    server.faults["/named"] = partial(_write, b"200 OK\r\nContent-Disposition: attachment; " + disposition)

    with source(server, content_disposition=True) as connected, connected.open("/named") as reader:
        assert reader.name == name


@pytest.mark.parametrize(
    ("location", "path"),
    [("/été.csv?à".encode(), "/%C3%A9t%C3%A9.csv?%C3%A0"), ("/été".encode("latin-1"), "/%C3%A9t%C3%A9")],
)
def test_a_redirect_is_read_as_utf_8_where_it_is_that(server, location, path):
    server.faults["/led"] = partial(_write, b"302 Found\r\nLocation: " + location)
    server.faults["/été.csv"] = server.faults["/été"] = lambda handler: handler.answer(200, CONTENT)

    assert read(server, "/led") == CONTENT
    assert server.requests[-1][0] == path


def _write(head, handler):
    handler.wfile.write(b"HTTP/1.1 " + head + b"\r\nContent-Length: 0\r\n\r\n")
    handler.close_connection = True


def _answer(handler, **fields):
    handler.answer(200, CONTENT, **fields)


@pytest.mark.parametrize(
    ("keys", "field", "value"),
    [
        ({"bearer": "env:WEB_SECRET"}, "Authorization", f"Bearer {SECRET}"),
        ({"username": "me", "password": "env:WEB_SECRET"}, "Authorization", "Basic "),
        ({"cookie": "env:WEB_SECRET"}, "Cookie", SECRET),
        ({"headers": {"X-Api-Key": "env:WEB_SECRET"}}, "X-Api-Key", SECRET),
    ],
    ids=["bearer", "basic", "cookie", "header"],
)
def test_the_login_goes_to_its_server_alone(tls_server, tmp_path, monkeypatch, keys, field, value):
    monkeypatch.setenv("WEB_SECRET", SECRET)
    with web_server(tmp_path, tls=True) as other:
        tls_server.faults["/led"] = lambda handler: handler.answer(302, Location=f"{other.url}/there")
        other.faults["/there"] = lambda handler: handler.answer(302, Location=f"{tls_server.url}/back")
        tls_server.faults["/back"] = lambda handler: handler.answer(200, CONTENT)
        sites = Web({"other": HttpOptions.model_validate(other.options())})
        tls_server.requests.clear()

        assert read(tls_server, "/led", web=sites, **keys) == CONTENT

        assert [fields.get(field, "").startswith(value) for _, fields in tls_server.requests] == [True, True]
        [(_, fields)] = other.requests
        assert field not in fields


def test_a_secret_that_is_not_there_is_reported_before_anything_is_asked(tls_server, monkeypatch):
    monkeypatch.setenv("WEB_SECRET", "line\nbreak")
    tls_server.requests.clear()

    for reference in ("env:NOT_SET", "env:WEB_SECRET"):
        with pytest.raises(LoginRefused, match="bearer") as refused:
            source(tls_server, bearer=reference)
        assert "line" not in refused.value.reason
    assert tls_server.requests == []


@pytest.mark.parametrize(
    "location",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/a",
        "gopher://127.0.0.1/a",
        "https://user:hunter2@127.0.0.1/a",
        "http://127.0.0.1:1/a",
        "//127.0.0.1:1/a",
        "https:///a",
        "/elsewhere/%2e%2e/a",
    ],
)
def test_a_redirect_to_what_nobody_has_named_is_not_followed(server, location):
    server.faults["/root/led"] = lambda handler: handler.answer(302, Location=location)

    with pytest.raises(NotAllowed) as refused:
        read(server, "/led", root="/root")

    assert server.requests[-1][0] == "/root/led"
    assert "hunter2" not in refused.value.reason


@pytest.mark.parametrize("bearer", [None, "env:WEB_SECRET"], ids=["nobody", "login"])
@pytest.mark.parametrize(
    "step", ["..;/x", "..%5Cx", "%252e%252e/x", "..%c0%afx", "x%00", "%u002e./x", "..%ef%bc%8fx", ".%09./x"]
)
def test_a_path_that_some_server_reads_as_a_step_up_is_sent_to_none(tls_server, monkeypatch, step, bearer):
    monkeypatch.setenv("WEB_SECRET", SECRET)
    tls_server.faults["/public/led"] = lambda handler: handler.answer(302, Location=f"/public/{step}")
    tls_server.requests.clear()

    with pytest.raises(NotAllowed):
        read(tls_server, f"{tls_server.url}/public/{step}", root="/public", bearer=bearer)
    with pytest.raises(NotAllowed):
        read(tls_server, f"/{unquote(step, errors='surrogateescape')}", root="/public", bearer=bearer)
    assert tls_server.requests == []
    with pytest.raises(NotAllowed):
        read(tls_server, "/led", root="/public", bearer=bearer)
    assert [path for path, _ in tls_server.requests] == ["/public/led"]


def test_a_head_that_drips_stalls(server):
    def drip(handler):
        for byte in b"HTTP/1.1 200 OK\r\nX-Slow: " + bytes(100):
            handler.wfile.write(bytes([byte or 0x78]))
            if handler.server.web.ended.wait(0.1):
                return

    server.faults["/drip"] = drip
    begun = time.monotonic()

    with pytest.raises(Stalled):
        read(server, "/drip", idle_timeout_seconds=0.5)
    assert time.monotonic() - begun < 5


def test_a_redirect_out_of_the_root_is_not_followed(server):
    server.faults["/root/led"] = lambda handler: handler.answer(302, Location="/rooted/a")

    with pytest.raises(NotAllowed):
        read(server, "/led", root="/root")
    assert server.requests[-1][0] == "/root/led"
    with pytest.raises(NotAllowed):
        read(server, f"{server.url}/elsewhere", root="/root")


def test_a_redirect_never_leads_out_of_tls(tls_server, tmp_path):
    with web_server(tmp_path) as plain:
        tls_server.faults["/led"] = lambda handler: handler.answer(302, Location=f"{plain.url}/there")
        with pytest.raises(NotAllowed):
            read(tls_server, "/led", web=Web({"plain": HttpOptions.model_validate(plain.options())}))
        assert plain.requests == []


@pytest.mark.parametrize("redirects", [5, 6])
def test_five_redirects_are_followed(server, redirects):
    for number in range(redirects):
        server.faults[f"/{number}"] = partial(_lead, f"/{number + 1}")
    server.faults[f"/{redirects}"] = lambda handler: handler.answer(200, CONTENT)

    if redirects <= 5:
        assert read(server, "/0") == CONTENT
    else:
        with pytest.raises(HttpRefused, match="more than 5 redirects"):
            read(server, "/0")


def _lead(location, handler):
    handler.answer(307, Location=location)


def test_a_certificate_is_verified(tls_server, tmp_path):
    with pytest.raises(CertificateRefused, match="unable to get local issuer certificate"):
        source(tls_server, ca_file=None)
    for problem, reason in (({"named": "other.example.org"}, "mismatch"), ({"ends_in_days": -1}, "has expired")):
        with web_server(tmp_path, tls=True, **problem) as other, pytest.raises(CertificateRefused, match=reason):
            source(other)


def test_a_server_that_is_not_there_is_unreachable(server):
    class Nobody:
        port = free_port()

        def options(self, **more):
            return {**server.options(**more), "port": self.port}

    with pytest.raises(HostUnreachable):
        source(Nobody())


def test_what_is_led_to_and_out_of_reach_is_unreachable(server):
    gone = HttpOptions.model_validate({**server.options(), "port": free_port()})
    server.faults["/led"] = lambda handler: handler.answer(302, Location=f"{gone.origin}/a")

    with pytest.raises(HostUnreachable):
        read(server, "/led", web=Web({"gone": gone}))


def test_abort_ends_what_waits_for_the_server(server):
    server.faults["/stalled"] = stall
    failures = []

    def wait(reader, begun):
        try:
            begun.set()
            list(reader.blocks())
        except MoveFailure as failure:
            failures.append(failure)

    with source(server, idle_timeout_seconds=60) as connected, connected.open("/stalled") as reader:
        begun = threading.Event()
        waiting = threading.Thread(target=wait, args=(reader, begun))
        waiting.start()
        begun.wait()
        connected.abort()
        waiting.join(10)
        assert not waiting.is_alive()
        with pytest.raises(ConnectionLost):
            connected.open("/stalled")

    assert [type(failure) for failure in failures] == [ConnectionLost]


def test_what_is_aborted_connects_to_nothing_any_more(server, monkeypatch):
    def stall_after_a_while(handler):
        handler.answer(200, LARGE[: 2**20], Content_Length=len(LARGE), ETag='"one"')
        handler.server.web.ended.wait(10)

    server.faults["/stalled"] = stall_after_a_while
    with source(server, idle_timeout_seconds=60) as connected, connected.open("/stalled") as reader:
        blocks = reader.blocks()
        next(blocks)
        looked_up, look_up = [], socket.getaddrinfo

        def record(*arguments, **named):
            looked_up.append(arguments)
            return look_up(*arguments, **named)

        monkeypatch.setattr(socket, "getaddrinfo", record)
        threading.Timer(0.5, connected.abort).start()

        with pytest.raises(ConnectionLost):
            list(blocks)

    assert looked_up == []


def test_connections_leave_no_descriptor(server):
    server.faults["/file"] = lambda handler: handler.answer(200, CONTENT)
    server.faults["/fault"] = status(404)
    read(server, "/file")
    before = len(os.listdir("/proc/self/fd"))

    with source(server) as connected:
        for _ in range(10):
            connected.stat("/file")
            assert connected.stat("/fault") is None

    assert len(os.listdir("/proc/self/fd")) <= before + 2  # those of the server's own last answers


def test_an_answer_that_has_waited_is_asked_for_again(server, monkeypatch):
    monkeypatch.setattr(backend, "_FRESH_SECONDS", 0)
    versions = iter(['"one"', '"one"', '"one"', '"two"'])
    server.faults["/waiting"] = lambda handler: handler.answer(200, CONTENT, ETag=next(versions))

    assert read(server, "/waiting") == CONTENT
    with pytest.raises(SourceChanged):
        read(server, "/waiting")
