"""Nothing but the public internet is read where the web is open: no connection is attempted to what is not public."""

import socket
from contextlib import ExitStack

import pytest

from data_mover.errors import ConnectionLost, HostUnreachable, MoveFailure, NotAllowed, Refusal
from data_mover.locations import parse_source
from data_mover.protocols import connect
from data_mover.protocols import http_connections as connections
from data_mover.registry import OPEN_WEB, load_registry
from tests.servers.web import web_server

#: what a name server says of names, which it may say otherwise the next time
NAMES = {
    "inside.example.org": ["127.0.0.1"],
    "metadata.example.org": ["169.254.169.254"],
    "both.example.org": ["192.0.2.1", "127.0.0.1"],
    "mapped.example.org": ["::ffff:127.0.0.1"],
}


@pytest.fixture
def listener():
    """What must not be connected to; it takes connections on every loopback address."""
    with ExitStack() as stack:
        port, listening = 0, []
        for family, address in ((socket.AF_INET, "127.0.0.1"), (socket.AF_INET6, "::1")):
            one = stack.enter_context(socket.socket(family))
            one.bind((address, port))
            port = one.getsockname()[1]
            one.listen()
            one.setblocking(False)
            listening.append(one)
        yield port
        for one in listening:
            with pytest.raises(BlockingIOError):
                one.accept()


@pytest.fixture
def registry(tmp_path):
    (tmp_path / "registry.toml").write_text("")
    return load_registry(tmp_path / "registry.toml", open_web=True)


@pytest.fixture
def name_server(monkeypatch):
    """A name server that tests rule."""
    real, asked = socket.getaddrinfo, []

    def look_up(name, port, *arguments, **options):
        asked.append(name)
        numbers = NAMES.get(name, [name])
        return [found for number in numbers for found in real(number, port, *arguments, **options)]

    monkeypatch.setattr(socket, "getaddrinfo", look_up)
    return asked


def read(registry, url):
    [endpoint] = registry.resolve_sources((parse_source(url),))
    with connect(endpoint.host, registry.every_host[endpoint.host]) as source, source.open(endpoint.path) as reader:
        return b"".join(reader.blocks())


@pytest.mark.parametrize(
    "host",
    [
        "127.0.0.1",
        "127.1",
        "2130706433",
        "0x7f000001",
        "0x7f.1",
        "017700000001",
        "0177.0.0.1",
        "127.0.0.1.",
        "0.0.0.0",
        "0",
        "localhost",
        "LOCALHOST.",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[2002:7f00:1::1]",
        "10.0.0.1",
        "169.254.169.254",
        "2852039166",
        "0xa9fea9fe",
        "[::ffff:169.254.169.254]",
        "[fe80::1%25lo]",
        "[fd00:ec2::254]",
        "inside.example.org",
        "inside.example.org.",
        "metadata.example.org",
        "both.example.org",
        "mapped.example.org",
    ],
)
def test_what_is_not_public_is_not_connected_to(registry, listener, name_server, host):
    with pytest.raises((NotAllowed, Refusal, HostUnreachable)):
        read(registry, f"http://{host}:{listener}/latest/meta-data/")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://h/a", "gopher://h/a", "FILE:///etc/passwd", "dict://h/a"])
def test_other_schemes_are_refused_when_they_are_asked_for(registry, url):
    scheme = url.partition(":")[0].lower()

    with pytest.raises(Refusal, match=f"^Unknown source URL scheme '{scheme}'$"):
        registry.resolve_sources((parse_source(url),))
    with pytest.raises(Refusal, match=f"^Unknown source URL scheme '{scheme}'$"):
        parse_source({"type": "url", "url": url})


def test_a_web_that_is_not_open_has_only_the_servers_of_the_registry(tmp_path):
    (tmp_path / "registry.toml").write_text('[hosts.data]\nprotocol = "https"\naddress = "data.example.org"\n')
    registry = load_registry(tmp_path / "registry.toml", open_web=False)

    assert registry.resolve_sources((parse_source("https://data.example.org/a?b"),))[0].host == "data"
    for url in ("https://example.org/a?secret", "http://data.example.org/a", "https://data.example.org:8443/a"):
        with pytest.raises(Refusal, match=r"^Unknown source 'https?://[a-z.]+(:8443)?': name it") as refused:
            registry.resolve_sources((parse_source(url),))
        assert "secret" not in refused.value.reason


def test_nobody_names_the_open_web_as_a_host(registry):
    with pytest.raises(Refusal, match="Unknown source"):
        registry.resolve_sources((parse_source({"host": OPEN_WEB, "path": "/a"}),))


@pytest.fixture
def public_loopback(monkeypatch):
    """A network in which 127.0.0.1 is the only public address."""
    monkeypatch.setattr(connections, "is_public", lambda address: address == "127.0.0.1")


@pytest.fixture
def server(tmp_path):
    with web_server(tmp_path / "web") as running:
        yield running


def test_the_address_that_was_judged_is_the_one_that_is_connected_to(
    registry, server, name_server, public_loopback, monkeypatch
):
    """A name that is looked up again may be that of another machine by then."""
    server.faults["/a"] = lambda handler: handler.answer(200, b"mine")
    answers = iter([["127.0.0.1"], ["127.0.0.2"]])
    monkeypatch.setitem(NAMES, "rebinding.example.org", Rebinding(answers))

    assert read(registry, f"http://rebinding.example.org:{server.port}/a") == b"mine"
    assert name_server.count("rebinding.example.org") == 1
    assert server.requests[0][1]["Host"] == f"rebinding.example.org:{server.port}"

    with pytest.raises(NotAllowed):
        read(registry, f"http://rebinding.example.org:{server.port}/a")


class Rebinding:
    """Each time it is looked up, the next answer."""

    def __init__(self, answers):
        self._answers = answers

    def __iter__(self):
        return iter(next(self._answers))


@pytest.mark.parametrize(
    "location",
    [
        "http://127.0.0.2:{port}/a",
        "http://[::1]:{port}/a",
        "http://169.254.169.254/",
        "//10.0.0.1/",
        "file:///etc/passwd",
    ],
)
def test_a_redirect_to_what_is_not_public_is_not_followed(registry, server, listener, public_loopback, location):
    server.faults["/led"] = lambda handler: handler.answer(302, Location=location.format(port=listener))

    with pytest.raises(NotAllowed):
        read(registry, f"http://127.0.0.1:{server.port}/led")


def test_what_is_public_is_read_and_what_fails_there_counts(registry, server, public_loopback):
    server.faults["/a"] = lambda handler: handler.answer(200, b"mine")

    assert read(registry, f"http://127.0.0.1:{server.port}/a?key") == b"mine"
    with pytest.raises(MoveFailure) as failed:
        read(registry, "http://127.0.0.1:1/a?secret")
    assert isinstance(failed.value, HostUnreachable | ConnectionLost)
    assert "secret" not in failed.value.reason
