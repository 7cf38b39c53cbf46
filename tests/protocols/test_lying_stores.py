"""Object stores whose answers have no end, or are made to take all memory."""

import threading
import time
from contextlib import suppress
from functools import partial

import pytest

from data_mover.backends import connect
from data_mover.backends.s3 import answers
from data_mover.backends.s3.answers import MOST_BYTES
from data_mover.backends.s3.options import S3Options
from data_mover.domain.errors import ConnectionLost, HostFailed, PermissionRefused, Stalled
from tests.servers.processes import LOOPBACK
from tests.servers.web import web_server

ENTRY = b"<Contents><Key>a</Key><Size>1</Size></Contents>"
ENTITIES = b'<!DOCTYPE a [<!ENTITY a "aaaaaaaaaa">%s]>' % b"".join(
    b'<!ENTITY %c "%s">' % (letter, b"&%c;" % (letter - 1) * 10) for letter in b"bcdefghi"
)


@pytest.fixture
def liar(tmp_path):
    with web_server(tmp_path / "liar") as running:
        running.faults["/bucket"] = partial(say, 200, listing(ENTRY))
        yield running


@pytest.fixture
def files(liar, monkeypatch):
    monkeypatch.setenv("KEY", "key")
    options = {
        "protocol": "s3",
        "root": "/",
        "roles": ["source"],
        "endpoint": f"http://{LOOPBACK}:{liar.port}",
        "bucket": "bucket",
        "access_key": "env:KEY",
        "secret_key": "env:KEY",
        "connect_timeout_seconds": 2,
        "idle_timeout_seconds": 5,
    }
    with connect("store", S3Options.model_validate(options)) as connected:
        yield connected


def say(status, body, handler):
    handler.answer(status, body)


def listing(*parts, more=b""):
    return b'<?xml version="1.0"?><ListBucketResult>%s%s</ListBucketResult>' % (b"".join(parts), more)


def more(token):
    text = b"<IsTruncated>true</IsTruncated><NextContinuationToken>%s</NextContinuationToken>"
    return text % token.encode()


def test_chained_entities_are_refused_before_they_are_parsed(liar, files):
    body = b'<?xml version="1.0"?>%s<ListBucketResult><Name>&i;</Name></ListBucketResult>' % ENTITIES
    liar.faults["/bucket"] = partial(say, 200, body)

    with pytest.raises(HostFailed, match="a document type"):
        list(files.list("/"))


def test_a_refusal_with_a_document_type_is_reported_by_its_status(liar, files):
    liar.faults["/bucket"] = partial(say, 403, b"<!DOCTYPE html><html>no</html>")

    with pytest.raises(PermissionRefused):
        list(files.list("/"))


@pytest.mark.parametrize("status", [200, 403])
def test_an_answer_without_an_end_is_cut_off(liar, files, status):
    sent: list[int] = []

    def pour(handler):
        handler.close_connection = True
        handler.send_response(status)
        handler.end_headers()
        with suppress(OSError):
            while not handler.server.web.ended.is_set():
                handler.wfile.write(ENTRY * 1000)
                sent.append(len(ENTRY) * 1000)

    liar.faults["/bucket"] = pour

    with pytest.raises(HostFailed, match="an answer of more than"):
        list(files.list("/"))
    assert sum(sent) < 4 * MOST_BYTES


def test_an_answer_that_drips_is_cut_off(liar, files, monkeypatch):
    def drip(handler):
        handler.answer(200, Content_Length=10_000)
        while not handler.server.web.ended.wait(0.05):
            handler.wfile.write(b" ")

    liar.faults["/bucket"] = drip
    monkeypatch.setattr(answers, "LONGEST_SECONDS", 1)
    began = time.monotonic()

    with pytest.raises(Stalled, match="takes more than 1 s"):
        list(files.list("/"))
    assert time.monotonic() - began < 5


def test_an_answer_that_ends_early_is_none(liar, files):
    def cut(handler):
        handler.answer(200, Content_Length=100)
        handler.close_connection = True

    liar.faults["/bucket"] = cut

    with pytest.raises(ConnectionLost):
        list(files.list("/"))


@pytest.mark.parametrize(
    "says", [b"", b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n<", b"HTTP/1.1 200 OK\r\n"], ids=repr
)
def test_an_abort_ends_what_waits_for_a_store(liar, files, says):
    asked = threading.Event()

    def stall(handler):
        handler.wfile.write(says)
        asked.set()
        handler.server.web.ended.wait(30)

    def abort():
        asked.wait(10)
        files.abort()

    liar.faults["/bucket"] = stall
    began, thread = time.monotonic(), threading.Thread(target=abort)
    thread.start()

    with pytest.raises(ConnectionLost):
        list(files.list("/"))
    thread.join()
    assert time.monotonic() - began < 4  # the idle time-out is 5 s


@pytest.mark.parametrize(
    "page",
    [b"<Contents><Key>a</Key></Contents>" * 1001, b"<Contents><Key>%s</Key></Contents>" % (b"a" * 7_000_000)],
    ids=["many", "long"],
)
def test_names_that_are_kept_are_bounded(liar, files, page):
    liar.faults["/bucket"] = lambda handler: handler.answer(200, listing(page, more=more(f"page-{len(liar.requests)}")))

    with pytest.raises(HostFailed, match="too large ones"):
        files._client.keys("/a", "a")
    assert len(liar.requests) < 8


def test_an_answer_of_too_many_elements_is_refused(liar, files):
    liar.faults["/bucket"] = partial(say, 200, listing(b"<Contents/>" * 100_000))

    with pytest.raises(HostFailed, match="more than 50000 elements"):
        list(files.list("/"))


def test_a_listing_that_leads_back_to_itself_is_reported(liar, files):
    liar.faults["/bucket"] = partial(say, 200, listing(ENTRY, more=more("again")))

    with pytest.raises(HostFailed, match="comes to no end"):
        list(files.list("/"))
    assert len(liar.requests) < 10


def test_a_listing_of_empty_pages_without_an_end_is_reported(liar, files):
    def next_page(handler):
        handler.answer(200, listing(more=more(f"page-{len(liar.requests)}")))

    liar.faults["/bucket"] = next_page

    with pytest.raises(HostFailed, match="comes to no end"):
        list(files.list("/"))
