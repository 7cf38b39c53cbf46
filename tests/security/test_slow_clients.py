"""Clients that take their time, one or a thousand of them: each has to end in time, and nobody else waits for them."""

import resource
import socket
import threading
import time
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path

import pytest

from tests.security.conftest import few_open_files
from tests.servers.deployment import deployment, host_table
from tests.servers.http import Answer, answered, call_request, connected, next_answer
from tests.servers.processes import eventually

#: what a request may take in these tests, and what comes on top of it on a busy machine
REQUEST_SECONDS = 2
SLACK_SECONDS = 4
#: enough to make a thousand connections
CROWD_SECONDS = 16
#: the same of sixty
SMALL_CROWD_SECONDS = 8
#: within which a call is answered while others trickle
CALL_SECONDS = 8
#: an address that nobody else of a test calls from
NEWCOMER = "127.0.0.9"

HEAD = b"POST /data_mover HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\n"

#: what is sent at once, and what trickles then
TRICKLES = {
    "headers": (HEAD, b"X-Slow: " + b"x" * 1_000),
    "a body": (HEAD + b"Content-Length: 1000\r\n\r\n", b"x" * 1_000),
    "a large body": (HEAD + b"Content-Length: 200000\r\n\r\n" + b"x" * 100_000, b"x" * 1_000),
    "chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n" * 1_000),
    "a body that was asked to continue": (HEAD + b"Expect: 100-continue\r\nContent-Length: 1000\r\n\r\n", b"x" * 1_000),
    "empty lines": (b"", b"\r\n" * 1_000),
    "the beginning of a second request": (call_request(), HEAD + b"x" * 1_000),
}


class Trickle:
    """A connection over which a byte comes at a time."""

    def __init__(self, connection: socket.socket, at_once: bytes, trickling: bytes) -> None:
        connection.sendall(at_once)
        connection.setblocking(False)
        self.connection, self.received, self.closed = connection, b"", False
        self._began = time.monotonic()
        #: how long it was open, once it is closed
        self.seconds = 0.0
        self._left = iter(trickling)

    def go_on(self) -> None:
        """Sends the next byte, and takes what has come."""
        with suppress(ConnectionError, BlockingIOError):
            self.connection.send(bytes([next(self._left)]))
        self.look()

    def look(self) -> bool:
        """Whether the server has closed the connection by now."""
        try:
            while not self.closed:
                piece = self.connection.recv(65_536)
                self.received += piece
                self.closed = not piece
        except BlockingIOError:
            pass
        except ConnectionError:
            self.closed = True
        if self.closed and not self.seconds:
            self.seconds = time.monotonic() - self._began
        return self.closed


@contextmanager
def trickling(trickles):
    """A block while which each of them sends a byte a second."""
    ended = threading.Event()

    def go_on():
        while not ended.wait(1):
            for each in trickles:
                if not each.closed:
                    each.go_on()

    thread = threading.Thread(target=go_on)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


@pytest.fixture(scope="module", autouse=True)
def _many_open_files():
    """The clients are in this process."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture(scope="module")
def start(tmp_path_factory, redis_url):
    """Starts a service with these settings of its server beside the usual ones."""
    root = tmp_path_factory.mktemp("root")
    registry = host_table("disk", {"protocol": "local", "root": root, "roles": ["source", "destination"]})
    with ExitStack() as stack:

        def start(**settings):
            service = stack.enter_context(deployment(tmp_path_factory.mktemp("service"), redis_url, registry))
            lines = "".join(f"{key} = {value}\n" for key, value in settings.items())
            service.ini.write_text(service.ini.read_text().replace("[server:main]\n", f"[server:main]\n{lines}"))
            with few_open_files():
                service.web = service.start_web()
            return service

        yield start


@pytest.fixture(scope="module")
def service(start):
    """As it comes, but for the time."""
    return start(request_seconds=REQUEST_SECONDS)


@pytest.fixture(scope="module")
def small_service(start):
    return start(request_seconds=SMALL_CROWD_SECONDS, connection_limit=20, connections_per_address=10)


def assert_answers(port, source=NEWCOMER):
    assert answered(port, call_request(), timeout_seconds=CALL_SECONDS, source=source).status == 200


def test_a_thousand_trickling_connections_keep_nobody_waiting_and_end_in_time(start):
    service = start(request_seconds=CROWD_SECONDS)
    assert_a_crowd_keeps_nobody_waiting(service.port, ["127.0.0.1"], 1_200, most=500, seconds=CROWD_SECONDS)


def test_trickling_connections_from_many_addresses_keep_nobody_waiting_and_end_in_time(small_service):
    addresses = [f"127.0.0.{i}" for i in range(1, 7)]
    assert_a_crowd_keeps_nobody_waiting(small_service.port, addresses, 60, most=20, seconds=SMALL_CROWD_SECONDS)


def assert_a_crowd_keeps_nobody_waiting(port, addresses, count, most, seconds):
    kinds = list(TRICKLES.values())
    with ExitStack() as connections:
        trickles = [
            Trickle(
                connections.enter_context(connected(port, source=addresses[i % len(addresses)])), *kinds[i % len(kinds)]
            )
            for i in range(count)
        ]
        with trickling(trickles):
            for source in (NEWCOMER, *addresses):
                assert_answers(port, source)
            assert 0 < sum(not each.look() for each in trickles) <= most

            eventually(lambda: all(each.closed for each in trickles), "all are closed", seconds + SLACK_SECONDS)
        assert_answers(port)


@pytest.fixture(scope="module")
def trickled(service):
    """A trickle of each kind, all begun together, once they are closed or had the time for it."""
    with ExitStack() as connections:
        trickles = {
            kind: Trickle(connections.enter_context(connected(service.port)), *parts)
            for kind, parts in TRICKLES.items()
        }
        deadline = time.monotonic() + REQUEST_SECONDS + SLACK_SECONDS
        with trickling(trickles.values()):
            while time.monotonic() < deadline and not all(each.closed for each in trickles.values()):
                time.sleep(0.02)
    return trickles


@pytest.mark.parametrize("kind", TRICKLES)
def test_a_request_that_is_not_there_in_time_is_answered_408_and_ends_the_connection(trickled, kind):
    slow = trickled[kind]

    assert slow.closed
    assert slow.seconds > REQUEST_SECONDS / 2
    assert b"HTTP/1.1 408 Request Timeout\r\n" in slow.received


def test_a_client_that_takes_no_answer_is_closed_in_time(service):
    """The answers are more than the system keeps for a client, which cannot see when it is closed."""
    before = open_files(service)
    with socket.socket() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
        connection.connect(("127.0.0.1", service.port))
        connection.sendall(b"GET /api/v1/openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n" * 140)
        eventually(lambda: open_files(service) > before, "it is connected")

        eventually(lambda: open_files(service) == before, "it is closed", 2 * (REQUEST_SECONDS + SLACK_SECONDS))


def open_files(service):
    return len(list(Path(f"/proc/{service.web.pid}/fd").iterdir()))


def test_the_oldest_idle_connection_gives_way_where_an_address_has_too_many(small_service):
    eventually(lambda: not connections(small_service.port), "those of the test before are gone")
    with ExitStack() as stack:
        kept = [Kept(stack, small_service.port, "127.0.0.1") for _ in range(10)]
        assert [each.ask() for each in kept] == [200] * 10
        assert kept[0].ask() == 200  # and now the second has been idle for longest

        assert Kept(stack, small_service.port, "127.0.0.1").ask() == 200

        assert kept[1].ask() is None
        assert [each.ask() for each in kept[2:]] == [200] * 8
        assert Kept(stack, small_service.port, NEWCOMER).ask() == 200


def test_the_oldest_idle_connection_of_all_gives_way_where_there_are_too_many(small_service):
    eventually(lambda: not connections(small_service.port), "those of the test before are gone")
    with ExitStack() as stack:
        kept = [Kept(stack, small_service.port, f"127.0.0.{i // 5 + 1}") for i in range(20)]
        assert [each.ask() for each in kept] == [200] * 20

        assert Kept(stack, small_service.port, NEWCOMER).ask() == 200

        assert kept[0].ask() is None
        assert [each.ask() for each in kept[1:]] == [200] * 19
    assert "more than 20 connections" in small_service.log("web")


def connections(port):
    """How many connections the server has not closed yet, whatever their clients have done."""
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(line[1].endswith(f":{port:04X}") and line[3] in ("01", "08") for line in lines)


class Kept:
    """A connection over which one call comes after the other."""

    def __init__(self, stack, port, source) -> None:
        self._connection = stack.enter_context(connected(port, CALL_SECONDS, source))
        self._answers = stack.enter_context(self._connection.makefile("rb"))

    def ask(self, request: bytes = call_request()) -> int | None:
        """The status of the answer, or None if the connection was closed."""
        self.send(request)
        return self.status()

    def send(self, request: bytes) -> None:
        with suppress(ConnectionError):
            self._connection.sendall(request)

    def status(self) -> int | None:
        answer: Answer | None = next_answer(self._answers)
        return answer.status if answer else None
