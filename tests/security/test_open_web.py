"""Nothing but the public internet is read where the web is open: no connection is attempted to what is not public."""

import os
import shlex
import socket
import subprocess
import sys
from contextlib import ExitStack
from ipaddress import ip_network
from pathlib import Path

import pytest

from data_mover.backends import connect
from data_mover.backends.http import client as connections
from data_mover.config.registry import OPEN_WEB
from data_mover.config.registry_file import load_registry
from data_mover.domain.errors import ConnectionLost, HostUnreachable, MoveFailure, NotAllowed, Refusal
from data_mover.domain.locations import parse_source
from tests.servers.web import web_server

#: what a name server says of names, which it may say otherwise the next time
NAMES = {
    "inside.example.org": ["127.0.0.1"],
    "metadata.example.org": ["169.254.169.254"],
    "both.example.org": ["192.0.2.1", "127.0.0.1"],
    "mapped.example.org": ["::ffff:127.0.0.1"],
    "translated.example.org": ["64:ff9b::a9fe:a9fe"],
}


@pytest.fixture(scope="module")
def all_attempts():
    """Where this process has begun to connect to, as the interpreter reports, which forgets no hook."""
    attempts = []
    sys.addaudithook(lambda event, reported: attempts.append(reported[1]) if event == "socket.connect" else None)
    return attempts


@pytest.fixture
def attempts(all_attempts):
    """Where the test has begun to connect to."""
    all_attempts.clear()
    return all_attempts


@pytest.fixture
def nowhere(attempts):
    """Nothing is connected to."""
    yield
    assert attempts == []


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
        "0000000177.0.1",
        "0x7F.0.0x0.01",
        "127.0.0.1.",
        "127.0.0.1..",
        "%31%32%37.0.0.1",
        "127%2e0%2E0%2e1",
        "\uff11\uff12\uff17.\uff10.\uff10.\uff11",
        "127\u30020\u30020\u30021",
        "\u2460\u2461\u2466.0.0.1",
        "1%EF%BC%92%EF%BC%97.0.0.1",
        "0.0.0.0",
        "0",
        "localhost",
        "LOCALHOST.",
        "loc%61lhost",
        "\uff4c\uff4fcalhost",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:FFFF:7F00:0001]",
        "[::ffff:0:127.0.0.1]",
        "[::127.0.0.1]",
        "[64:ff9b::127.0.0.1]",
        "[64:ff9b:1::127.0.0.1]",
        "[2002:7f00:1::1]",
        "[2001:0:7f00:1::1]",
        "10.0.0.1",
        "167772161",
        "012.1",
        "172.16.0.1",
        "172.31.255.254",
        "192.168.1.1",
        "0xc0.0xa8.0x101",
        "100.64.0.1",
        "100.100.100.200",
        "[::ffff:10.0.0.1]",
        "[64:ff9b::a00:1]",
        "[2002:a00:1::1]",
        "[fc00::1]",
        "169.254.0.1",
        "169.254.169.254",
        "169.254.169.254.",
        "2852039166",
        "0xa9fea9fe",
        "0xa9.0xfe.0xa9.0xfe",
        "0251.0376.0251.0376",
        "169.254.43518",
        "169.0xfea9fe",
        "%3169.254.169.254",
        "\uff11\uff16\uff19.254.169.254",
        "[::ffff:169.254.169.254]",
        "[::ffff:a9fe:a9fe]",
        "[64:ff9b::169.254.169.254]",
        "[2002:a9fe:a9fe::1]",
        "168.63.129.16",
        "2822734096",
        "0xa83f8110",
        "0xa8.0x3f.0x81.0x10",
        "0250.077.0201.020",
        "168.63.33040",
        "%3168.63.129.16",
        "\uff11\uff16\uff18.63.129.16",
        "[::ffff:168.63.129.16]",
        "[::ffff:a83f:8110]",
        "[64:ff9b::168.63.129.16]",
        "[2002:a83f:8110::1]",
        "[2001:0:a83f:8110::1]",
        "192.0.0.192",
        "3221225664",
        "0xc00000c0",
        "0300.0.0.0300",
        "[::ffff:192.0.0.192]",
        "[64:ff9b::c000:c0]",
        "[2002:c000:c0::1]",
        "192.88.99.1",
        "[3fff::1]",
        "[fe80::1]",
        "[fe80::1%25lo]",
        "[fd00:ec2::254]",
        "224.0.0.1",
        "255.255.255.255",
        "inside.example.org",
        "inside.example.org.",
        "metadata.example.org",
        "both.example.org",
        "mapped.example.org",
        "translated.example.org",
        "public.example.org@127.0.0.1",
        "127.0.0.1#@public.example.org",
        "127.0.0.1\\@public.example.org",
    ],
    ids=ascii,
)
def test_what_is_not_public_is_not_connected_to(registry, listener, name_server, nowhere, host):
    with pytest.raises((NotAllowed, Refusal, HostUnreachable)):
        read(registry, f"http://{host}:{listener}/latest/meta-data/")


@pytest.mark.parametrize("url", ["file:///etc/passwd", "ftp://h/a", "gopher://h/a", "FILE:///etc/passwd", "dict://h/a"])
def test_other_schemes_are_refused_when_they_are_asked_for(registry, nowhere, url):
    scheme = url.partition(":")[0].lower()

    with pytest.raises(Refusal, match=f"^Unknown source URL scheme '{scheme}'$"):
        registry.resolve_sources((parse_source(url),))
    with pytest.raises(Refusal, match=f"^Unknown source URL scheme '{scheme}'$"):
        parse_source({"type": "url", "url": url})


@pytest.mark.parametrize(
    "text", ["file:/etc/passwd", "file:", "gopher:h", "http:127.0.0.1", "http:/127.0.0.1/a", "data:,a"]
)
def test_what_is_hardly_a_url_is_none(registry, nowhere, text):
    with pytest.raises(Refusal):
        registry.resolve_sources((parse_source(text),))
    with pytest.raises(Refusal):
        parse_source({"type": "url", "url": text})


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
        "http://2130706434:{port}/a",
        "http://0x7f.2:{port}/a",
        "http://127.0.0.2.:{port}/a",
        "http://%31%32%37.0.0.2:{port}/a",
        "http://[::1]:{port}/a",
        "http://[::ffff:127.0.0.1]:{port}/a",
        "http://[64:ff9b::127.0.0.1]:{port}/a",
        "http://[2002:7f00:1::1]:{port}/a",
        "http://metadata.example.org:{port}/a",
        "http://169.254.169.254/",
        "//2852039166/",
        "//10.0.0.1/",
        "file:///etc/passwd",
        "ftp://127.0.0.1/a",
        "gopher://127.0.0.1/a",
    ],
    ids=ascii,
)
def test_a_redirect_to_what_is_not_public_is_not_followed(
    registry, server, listener, name_server, public_loopback, attempts, location
):
    server.faults["/led"] = lambda handler: handler.answer(302, Location=location.format(port=listener))

    with pytest.raises(NotAllowed):
        read(registry, f"http://127.0.0.1:{server.port}/led")

    assert attempts == [("127.0.0.1", server.port)]


def test_what_is_public_is_read_and_what_fails_there_counts(registry, server, public_loopback):
    server.faults["/a"] = lambda handler: handler.answer(200, b"mine")

    assert read(registry, f"http://127.0.0.1:{server.port}/a?key") == b"mine"
    with pytest.raises(MoveFailure) as failed:
        read(registry, "http://127.0.0.1:1/a?secret")
    assert isinstance(failed.value, HostUnreachable | ConnectionLost)
    assert "secret" not in failed.value.reason


def test_a_network_that_the_operator_denies_is_not_connected_to_in_any_spelling(tmp_path, name_server, nowhere):
    (tmp_path / "registry.toml").write_text("")
    denied = (ip_network("93.184.0.0/16"), ip_network("2606:4700::/32"))
    registry = load_registry(tmp_path / "registry.toml", open_web=True, denied=denied)

    for host in ("93.184.216.34", "0x5db8d822", "[::ffff:93.184.216.34]", "[64:ff9b::5db8:d822]", "[2606:4700::1111]"):
        with pytest.raises(NotAllowed, match="network that the operator denies"):
            read(registry, f"http://{host}/a")


def test_a_redirect_from_the_open_web_gains_neither_rights_nor_login_of_a_registered_host(
    tmp_path, server, public_loopback, monkeypatch
):
    """The registered host is at an address that only the registry may lead to."""
    monkeypatch.setenv("WEB_SECRET", "hunter2")
    with web_server(tmp_path / "inner", tls=True, named="localhost") as inner:
        table = inner.options(address="localhost", bearer="env:WEB_SECRET")
        lines = [f"{key} = {str(value)!r}" for key, value in table.items() if key not in ("roles", "port")]
        text = "\n".join(["[hosts.inner]", f"port = {inner.port}", 'roles = ["source"]', *lines])
        (tmp_path / "registry.toml").write_text(text)
        registry = load_registry(tmp_path / "registry.toml", open_web=True)
        inner.faults["/a"] = lambda handler: handler.answer(200, b"inner")
        server.faults["/led"] = lambda handler: handler.answer(302, Location=f"https://localhost:{inner.port}/a")
        inner.faults["/out"] = lambda handler: handler.answer(302, Location=f"{server.url}/led")
        monkeypatch.setattr(connections, "is_public", lambda address: False)

        assert read(registry, f"https://localhost:{inner.port}/a") == b"inner"
        with pytest.raises(NotAllowed):
            read(registry, f"https://localhost:{inner.port}/out")
        inner.requests.clear()
        monkeypatch.setattr(connections, "is_public", lambda address: True)
        with pytest.raises(MoveFailure, match="certificate"):
            read(registry, f"http://127.0.0.1:{server.port}/led")
        assert inner.requests == []


#: in a network of its own, with an address there that would be public
_ON_A_PUBLIC_ADDRESS = """
ip link set lo up && ip address add 93.184.216.34/32 dev lo && ip -6 address add 2606:4700::34/128 dev lo nodad &&
exec {python} -c '
from data_mover.backends.http.allowed_sites import is_public
addresses = "93.184.216.34 ::ffff:93.184.216.34 64:ff9b::5db8:d822 2002:5db8:d822::1 2606:4700::34".split()
print([address for address in addresses if is_public(address)], is_public("93.184.216.35"), is_public("2606:4700::35"))
'
"""


def test_a_public_address_of_this_machine_is_not_public_for_it():
    script = _ON_A_PUBLIC_ADDRESS.format(python=shlex.quote(sys.executable))
    reported = subprocess.run(
        ["unshare", "--user", "--map-root-user", "--net", "sh", "-ec", script],
        cwd=Path(__file__).parents[2],
        env=dict(os.environ),
        capture_output=True,
        text=True,
        check=True,
    )

    assert reported.stdout == "[] True True\n"
