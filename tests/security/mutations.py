"""Requests that are changed at random, from a seed: each is answered, and never by an error of ours.

    python -m tests.security.mutations --requests 1000000 [--seed 7] [--seconds 1800]

A request is a call of the corpus of which some bytes were changed, left out, repeated or exchanged for a part of
another one. The process must answer each, with nothing but a refusal, a fault or an HTTP status below 500, and must
not grow.
"""

import json
import random
import socket
import tempfile
import time
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from xmlrpc.client import dumps

import click

from tests.servers.deployment import Deployment, deployment, host_table
from tests.servers.processes import rss
from tests.servers.redis import redis_server

MEBIBYTE = 2**20
#: how many bytes the process may have grown after all of them
LARGEST_GROWTH = 40 * MEBIBYTE
#: the longest time to an answer: a changed request may be a `wait` of 30 s
LONGEST_SECONDS = 60
#: faults of ours: the answer of a view that broke
BROKEN = (b"-32500",)
_ODD = [b"\0", b"\xff", b"\xc3", b"<", b">", b"&", b"]]>", b"%00", b"%", b"..", b"/", b'"', b"{", b"]", b"-1", b"1e999"]
_ODD += [b"2147483648", b"nan", b"null", b"<nil/>", b"\r\n", b"\n\n", b"\xef\xbb\xbf", b"\xed\xa0\x80", b"x" * 3000]


def corpus() -> list[bytes]:
    """Requests that are right, over XML-RPC and JSON."""
    source, destination = {"host": "disk", "path": "/a"}, {"host": "inbox", "path": "/b/"}
    options = {"key": "k", "label": "l", "priority": "low", "match": ["*.tif"], "deadline": 60, "atomic": True}
    calls = [
        ((source, destination, options), "move"),
        (("species", 12), "move"),
        (([source, "https://example.org/x?y=1"], "inbox:/c/"), "move"),
        ((7,), "check"),
        (({"status": "FAILED", "limit": 3, "since": "2027-01-01T00:00:00Z"},), "jobs"),
        (([1, "2", 3],), "check_many"),
        ((1, {"state": "failed", "after": 3}), "files"),
        ((1, 0), "wait"),
        (([{"methodName": "check", "params": [1]}, {"methodName": "hosts", "params": []}],), "system.multicall"),
    ]
    found = [_http("POST /data_mover", "text/xml", dumps(arguments, method).encode()) for arguments, method in calls]
    move = json.dumps({"source": source, "destination": destination, "options": options}).encode()
    found.append(_http("POST /api/v1/moves", "application/json", move))
    found += [_http("POST /api/v1/moves/1/cancel", "application/json", b"")]
    paths = ["moves?status=FAILED&limit=3&before=9", "moves/1?wait=0", "moves/1/files?state=failed&after=1", "hosts"]
    found += [_http(f"GET {path}", "", b"", *_WATCHES) for path in _PAGES]
    found += [_http(f"POST {path}", "application/x-www-form-urlencoded", body) for path, body in _FORMS]
    return found + [
        _http(f"GET /api/v1/{path}", "application/json", b"") for path in [*paths, "moves/1/events?after=1"]
    ]


#: pages, what a browser sends that watches one, and forms
_PAGES = ["/?q=status:failed+host:disk+since:1d+label:%22a%20b%22&before=9", "/moves/1?state=failed&after=1", "/hosts"]
_PAGES += ["/new?source=species:1&destination=inbox:/", "/failures", "/login?next=%2Fmoves%2F1", "/static/page.css"]
_WATCHES = ["Accept: text/html", 'If-None-Match: "0123456789abcdef"', "Cookie: data_mover=AAAA", "X-Watches: 1"]
_FORMS = [
    ("/moves/cancel", b"csrf_token=a&move=1&move=2&back=%2F"),
    ("/login", b"csrf_token=a&name=n&token=t&next=%2F"),
]
_FORMS += [("/new", b"csrf_token=a&source=disk:/a&destination=inbox:/&priority=low"), ("/hosts/pause", b"host=disk")]


def _http(line: str, content_type: str, body: bytes, *more: str) -> bytes:
    head = [
        f"{line} HTTP/1.1",
        "Host: localhost",
        f"Content-Type: {content_type}",
        f"Content-Length: {len(body)}",
        *more,
    ]
    return "\r\n".join([*head, "Connection: close"]).encode() + b"\r\n\r\n" + body


def mutated(chance: random.Random, known: list[bytes]) -> bytes:
    """One of the requests with a few changes; its length is right again in most."""
    request = bytearray(chance.choice(known))
    for _ in range(chance.randint(1, 6)):
        at, length = chance.randrange(len(request) + 1), chance.choice([1, 1, 2, 8, 40])
        match chance.randrange(5):
            case 0:
                request[at : at + length] = chance.randbytes(length)
            case 1:
                del request[at : at + length]
            case 2:
                request[at:at] = request[at : at + length] * chance.choice([1, 2, 50])
            case 3:
                other = chance.choice(known)
                begin = chance.randrange(len(other))
                request[at : at + length] = other[begin : begin + chance.choice([10, 100])]
            case _:
                request[at : at + length] = chance.choice(_ODD)
    head, blank, body = bytes(request).partition(b"\r\n\r\n")
    if blank and chance.random() < 0.9:
        lines = [line for line in head.split(b"\r\n") if not line.lower().startswith(b"content-length")]
        head = b"\r\n".join([*lines, b"Content-Length: %d" % len(body)])
    return head + blank + body


@dataclass
class Outcome:
    """What came back: how often each status, and the requests that were answered by an error of ours."""

    statuses: dict[int | None, int] = field(default_factory=dict)
    broken: list[bytes] = field(default_factory=list)


def send_all(service: Deployment, count: int, seed: int, seconds: float) -> Outcome:
    """Send so many requests, or as many as are answered within the seconds."""
    chance, known, outcome, until = random.Random(seed), corpus(), Outcome(), time.monotonic() + seconds
    for _ in range(count):
        request = mutated(chance, known)
        status, body = answer(service.port, request)
        outcome.statuses[status] = outcome.statuses.get(status, 0) + 1
        if ((status or 0) >= 500 and status not in (501, 505)) or any(mark in body for mark in BROKEN):
            outcome.broken.append(request)
        if time.monotonic() > until:
            break
    return outcome


def answer(port: int, request: bytes) -> tuple[int | None, bytes]:
    """The status and the body of the answer; None if the connection was closed without one."""
    with socket.create_connection(("127.0.0.1", port), timeout=LONGEST_SECONDS) as connection:
        with suppress(ConnectionError):
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
        response = HTTPResponse(connection)
        try:
            response.begin()
            return response.status, response.read()
        except (HTTPException, ConnectionError):
            return None, b""


@click.command(help=__doc__)
@click.option("--requests", default=100_000, show_default=True)
@click.option("--seed", default=0, show_default=True)
@click.option("--seconds", default=10.0**9, help="end after so long, however many were sent")
def main(requests: int, seed: int, seconds: float) -> None:
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(redis_server(base))
        roles = {"protocol": "local", "root": base, "roles": ["source", "destination"]}
        registry = host_table("disk", roles) + host_table("inbox", roles)
        service = stack.enter_context(deployment(base / "service", url, registry))
        web = service.start_web()
        send_all(service, 500, seed + 1, seconds)  # until all that is loaded on demand is
        before = rss(web.pid)
        outcome = send_all(service, requests, seed, seconds)
        growth = rss(web.pid) - before
        click.echo(f"{sum(outcome.statuses.values())} requests: {outcome.statuses}")
        click.echo(f"the process has grown by {growth / MEBIBYTE:.1f} MiB")
        for request in outcome.broken:
            click.echo(repr(request))
        has_traceback = "Traceback" in service.log("web")
        is_right = not outcome.broken and not has_traceback and growth < LARGEST_GROWTH
        click.echo("no error of ours" if is_right else service.log("web")[-2000:])
    if not is_right:
        raise SystemExit(1)


if __name__ == "__main__":
    main()
