"""Bodies that break parsers and requests that break servers: refused by the same process, which stays small and awake.

`pytest -s` shows what each one took.
"""

import time
from contextlib import ExitStack, contextmanager
from functools import partial
from itertools import chain, repeat
from xmlrpc.client import Fault, dumps, loads

import pytest

from tests.servers.http import CHECK, answered, call_request, connected
from tests.servers.processes import rss

MEGABYTE = 2**20
#: what one attack may leave in memory for good; most leave nothing
LARGEST_GROWTH = 40 * MEGABYTE
#: what the process may have at last, whatever it was sent
LARGEST_SIZE = 180 * MEGABYTE
#: within which an attack is over on a machine that is busy otherwise; most take a hundredth of a second
LONGEST_SECONDS = 5

PARSE_ERROR, NO_METHOD, BAD_PARAMS = -32700, -32601, -32602
REFUSED = "REJECTED"
CLOSED = None


@pytest.fixture
def attacked(service):
    """A block during which the service is attacked, and after which it is as it was."""

    @contextmanager
    def attack(name):
        before, began = rss(service.web.pid), time.monotonic()
        yield
        seconds, after = time.monotonic() - began, rss(service.web.pid)
        print(f"\n{name}: {seconds:.3f} s, RSS {before / MEGABYTE:.0f} -> {after / MEGABYTE:.0f} MiB")
        assert after - before < LARGEST_GROWTH
        assert after < LARGEST_SIZE
        assert seconds < LONGEST_SECONDS
        assert_awake(service)

    return attack


def assert_awake(service):
    assert outcome(answered(service.port, call_request(), timeout_seconds=5)) == REFUSED
    assert service.web.poll() is None


def outcome(answer):
    """The HTTP status of a refusal, the code of a fault, the status in a struct, or the type of the answer."""
    if answer is None:
        return CLOSED
    if answer.status != 200:
        return answer.status
    try:
        [value] = loads(answer.body)[0]
    except Fault as fault:
        return fault.faultCode
    return value["status"] if isinstance(value, dict) else type(value)


def check_of(value):
    return f"<methodCall><methodName>check</methodName><params><param>{value}</param></params></methodCall>".encode()


def nested(opening, closing, depth, innermost=""):
    return check_of(opening * depth + innermost + closing * depth)


def entities(declarations, text="x"):
    name = f"<methodCall><methodName>{text}</methodName></methodCall>"
    return f'<?xml version="1.0"?><!DOCTYPE x [{declarations}]>{name}'.encode()


def chained_entities(length):
    return entities('<!ENTITY a0 "x">' + "".join(f'<!ENTITY a{i} "&a{i - 1};">' for i in range(1, length)), "&a9;")


def declared(encoding):
    return f'<?xml version="1.0" encoding="{encoding}"?>'.encode() + CHECK.partition(b"?>")[2]


def multicall(call, count):
    values = f"<value>{call}</value>" * count
    array = f"<value><array><data>{values}</data></array></value>"
    return f"<methodCall><methodName>system.multicall</methodName><params><param>{array}</param></params></methodCall>"


def call_of(method):
    return f"<struct><member><name>methodName</name><value>{method}</value></member></struct>"


BODIES = {
    "entities chained 25 000 deep": (chained_entities(25_000), 413),
    "entities chained as deep as the body may be": (chained_entities(8_000), PARSE_ERROR),
    "entities that grow by squares": (entities(f'<!ENTITY a "{"x" * 100_000}">', "&a;" * 30_000), PARSE_ERROR),
    "entities that grow by powers": (
        entities('<!ENTITY a0 "x">' + "".join(f'<!ENTITY a{i} "{f"&a{i - 1};" * 10}">' for i in range(1, 20)), "&a19;"),
        PARSE_ERROR,
    ),
    "an external entity": (entities('<!ENTITY a SYSTEM "file:///etc/passwd">', "&a;"), PARSE_ERROR),
    "an external document type": (b'<!DOCTYPE x SYSTEM "http://127.0.0.1:1/x.dtd">' + CHECK, PARSE_ERROR),
    "a parameter entity": (entities('<!ENTITY % a SYSTEM "file:///etc/passwd"> %a;'), PARSE_ERROR),
    "a bare document type": (b"<!DOCTYPE x>" + CHECK, PARSE_ERROR),
    "a document type in small letters": (b'<!doctype x [<!entity a "b">]>' + CHECK, PARSE_ERROR),
    "UTF-16": (CHECK.decode().encode("utf-16"), PARSE_ERROR),
    "a document type in UTF-16": (chained_entities(3_000).decode().encode("utf-16-le"), PARSE_ERROR),
    "UTF-32": (CHECK.decode().encode("utf-32"), PARSE_ERROR),
    "a NUL byte": (b"\0" + CHECK, PARSE_ERROR),
    "a document type in UTF-7": (declared("utf-7").replace(b"?>", b"?>+ADw-+ACE-DOCTYPE x+AD4-", 1), PARSE_ERROR),
    **{
        f"declared as {encoding}": (declared(encoding), PARSE_ERROR)
        for encoding in [
            "utf-16",
            "utf-7",
            "cp037",
            "koi8-r",
            "unicode_escape",
            "idna",
            "hex",
            "nonsense",
        ]
    },
    "declared by a name of 100 kB": (declared("x" * 100_000), PARSE_ERROR),
    "arrays nested 100 000 deep": (nested("<value><array><data>", "</data></array></value>", 100_000), 413),
    "arrays nested as deep as the body may be": (nested("<array>", "</array>", 17_000), REFUSED),
    "structs nested deeply": (
        nested("<value><struct><member><name>a</name>", "</member></struct></value>", 3_500, "<value/>"),
        REFUSED,
    ),
    "80 000 elements that are never closed": (b"<a>" * 80_000, PARSE_ERROR),
    "11 000 arguments": (check_of("</param><param>".join(["<value/>"] * 11_000)), BAD_PARAMS),
    "9 000 members": (check_of(f"<value><struct>{'<name>a</name><value/>' * 9_000}</struct></value>"), REFUSED),
    "22 000 attributes": (b"<a %s/>" % b" ".join(b"a%d=''" % i for i in range(22_000)), PARSE_ERROR),
    "a comment of 250 kB": (b"<methodCall><!--" + b"x" * 250_000 + b"--></methodCall>", PARSE_ERROR),
    "35 000 comments": (b"<methodCall>" + b"<!---->" * 35_000 + b"</methodCall>", PARSE_ERROR),
    "50 000 character references": (check_of(f"<value>{'&#65;' * 50_000}</value>"), REFUSED),
    "a method name of 200 kB": (check_of("").replace(b"check", b"x" * 200_000), NO_METHOD),
    "an integer of 4 000 digits": (check_of(f"<value><int>{'9' * 4_000}</int></value>"), REFUSED),
    "an integer of 200 000 digits": (check_of(f"<value><int>{'9' * 200_000}</int></value>"), PARSE_ERROR),
    "a decimal of a billion digits": (check_of("<value><bigdecimal>1e999999999</bigdecimal></value>"), REFUSED),
    "a double that is infinite": (check_of("<value><double>1e400</double></value>"), REFUSED),
    "base64 of 200 kB": (check_of(f"<value><base64>{'AAAA' * 50_000}</base64></value>"), REFUSED),
    "a struct without a value": (check_of("<value><struct><name>a</name></struct></value>"), PARSE_ERROR),
    "a struct named by an array": (check_of("<value><struct><array/><value/></struct></value>"), PARSE_ERROR),
    "an answer instead of a call": (dumps((1,), methodresponse=True).encode(), NO_METHOD),
    "a fault instead of a call": (dumps(Fault(1, "x")).encode(), PARSE_ERROR),
    "a multicall of 100 multicalls": (multicall(call_of("system.multicall"), 100).encode(), list),
    "a multicall of 100 calls": (multicall(call_of("hosts"), 100).encode(), list),
    "a multicall of 101 calls": (multicall(call_of("hosts"), 101).encode(), BAD_PARAMS),
    "a multicall of 1 000 multicalls": (multicall(call_of("system.multicall"), 1_000).encode(), BAD_PARAMS),
    "a multicall of 12 000 calls": (multicall("", 12_000).encode(), BAD_PARAMS),
}


@pytest.mark.parametrize(("body", "expected"), BODIES.values(), ids=BODIES)
def test_a_body_that_breaks_parsers_is_refused_and_harms_nobody(service, attacked, request, body, expected):
    with attacked(request.node.callspec.id):
        assert outcome(answered(service.port, call_request(body))) == expected


HEAD = b"POST /data_mover HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\n"
CHUNKED = HEAD + b"Transfer-Encoding: chunked\r\n\r\n"
PIECE = b"x" * MEGABYTE


def sized(length):
    return HEAD + f"Content-Length: {length}\r\n\r\n".encode()


def chunk(content):
    return f"{len(content):x}\r\n".encode() + content + b"\r\n"


def headed(*headers, line="POST /data_mover HTTP/1.1"):
    return call_request(CHECK, *headers, line=line)


#: what is sent, piece by piece, and what comes back
REQUESTS = {
    "from a page of another site": (lambda: [headed("Origin: http://evil.example")], 403),
    "fetched by a page of another site": (lambda: [headed("Sec-Fetch-Site: cross-site")], 403),
    "2 MB": (lambda: [sized(2_000_000), b"x" * 2_000_000], 413),
    "1 GiB announced": (lambda: [sized(2**30)], 413),
    "1 GiB sent": (lambda: chain([sized(2**30)], repeat(PIECE, 1024)), 413),
    "1 GiB in chunks": (lambda: chain([CHUNKED], repeat(chunk(PIECE), 1024)), 413),
    "1 GiB in one chunk": (lambda: chain([CHUNKED, b"40000000\r\n"], repeat(PIECE, 1024)), 413),
    "1 GiB after being asked to continue": (
        lambda: chain([sized(2**30).replace(b"\r\n\r\n", b"\r\nExpect: 100-continue\r\n\r\n")], repeat(PIECE, 1024)),
        413,
    ),
    "a chunk size without end": (lambda: chain([CHUNKED], repeat(b"0" * MEGABYTE, 100)), 413),
    "a chunk extension without end": (lambda: chain([CHUNKED, b"5;"], repeat(PIECE, 100)), 413),
    "a trailer without end": (lambda: chain([CHUNKED, b"0\r\n"], repeat(b"a: b\r\n" * 100_000, 100)), 413),
    "200 000 chunks": (lambda: [CHUNKED, chunk(b"x") * 200_000, b"0\r\n\r\n"], 413),
    "40 000 chunks": (lambda: [CHUNKED, chunk(b"x") * 40_000, b"0\r\n\r\n"], PARSE_ERROR),
    "a length of 5 000 digits": (lambda: [sized("9" * 4_000)], 413),
    **{
        f"the length {length!r}": (partial(list, [sized(length), CHECK]), 400)
        for length in ["-1", "+5", "0x10", "5, 5", "5\r\nContent-Length: 6", "", "1e3", "5 5", "\u0661"]
    },
    "chunks and a length": (
        lambda: [HEAD, b"Content-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n", chunk(CHECK), b"0\r\n\r\n"],
        REFUSED,
    ),
    **{
        f"the transfer encoding {coding!r}": (
            partial(list, [HEAD, f"Transfer-Encoding: {coding}\r\n\r\n".encode(), chunk(CHECK), b"0\r\n\r\n"]),
            status,
        )
        for coding, status in [
            ("identity", 501),
            ("gzip, chunked", 501),
            ("xchunked", 501),
            ("chunked\x0b", 400),
            ("chunked\r\nTransfer-Encoding: identity", 501),
        ]
    },
    **{
        f"the chunk size {size!r}": (partial(list, [CHUNKED, f"{size}\r\nhello\r\n0\r\n\r\n".encode()]), 400)
        for size in ["-5", "+5", "0x5", " 5", "5 ", "zz", ""]
    },
    "a chunk that is longer than it says": (lambda: [CHUNKED, b"5\r\nhelloGET / HTTP/1.1\r\n\r\n"], 400),
    "a space before a colon": (lambda: [headed("Content-Length : 5")], 400),
    "a NUL in a header": (lambda: [headed("X: a\0b")], 400),
    "two hosts": (lambda: [headed("Host: evil.example.org")], 403),
    "1 000 header lines": (lambda: [headed(*[f"X-{i}: {i}" for i in range(1_000)])], REFUSED),
    "10 000 header lines": (lambda: [headed(*[f"X-{i}: {i}" for i in range(10_000)])], 431),
    "a header line without end": (lambda: chain([HEAD, b"X: "], repeat(PIECE, 100)), 431),
    "a request line without end": (lambda: chain([b"POST /"], repeat(PIECE, 100)), 431),
    "no HTTP at all": (lambda: [b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n"], 400),
    **{
        f"the method {method}": (partial(list, [headed(line=f"{method} /data_mover HTTP/1.1")]), 405)
        for method in ["GET", "PUT", "DELETE", "OPTIONS", "TRACE", "CONNECT", "PROPFIND"]
    },
    "a method in small letters": (lambda: [headed(line="post /data_mover HTTP/1.1")], 400),
    "a query string": (lambda: [headed(line="POST /data_mover?id=1 HTTP/1.1")], 400),
    "a form": (lambda: [call_request(b"id=1").replace(b"text/xml", b"application/x-www-form-urlencoded")], 415),
    "a form with files": (lambda: [call_request(b"--x").replace(b"text/xml", b"multipart/form-data; boundary=x")], 415),
    "plain text": (lambda: [call_request().replace(b"text/xml", b"text/plain")], 415),
    "two media types": (lambda: [headed("Content-Type: text/plain")], 415),
    "gzip": (lambda: [headed("Content-Encoding: gzip")], 415),
    "nothing at all": (lambda: [sized(0)], PARSE_ERROR),
}


@pytest.mark.parametrize(("pieces", "expected"), REQUESTS.values(), ids=REQUESTS)
def test_a_request_that_breaks_servers_is_refused_and_harms_nobody(service, attacked, request, pieces, expected):
    with attacked(request.node.callspec.id):
        assert outcome(answered(service.port, *pieces())) == expected


HALVES = {
    "500 connections that say nothing": b"",
    "500 connections that stop in the header": HEAD,
    "500 connections that stop in the body": sized(1_000) + b"half",
    "500 connections that stop in a large body": sized(250_000) + b"x" * 200_000,
    "500 connections that stop in a chunk": CHUNKED + b"100\r\nhalf",
    "500 connections that wait to be asked to continue": HEAD + b"Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n",
}


@pytest.mark.parametrize("half", HALVES.values(), ids=HALVES)
def test_half_a_request_keeps_nobody_waiting(service, attacked, request, half):
    with attacked(request.node.callspec.id), ExitStack() as connections:
        for _ in range(500):
            connections.enter_context(connected(service.port)).sendall(half)
        assert_awake(service)
