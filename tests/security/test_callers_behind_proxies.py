"""Callers over TLS and through nginx or Apache, as docs/how-to/behind-a-proxy.md has it."""

import json
import re
import socket
import ssl
import subprocess
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace
from xmlrpc.client import dumps

import pytest

from tests.functional.test_clients import SCRIPTS, moved_by
from tests.servers.apache import apache_proxy
from tests.servers.deployment import XmlRpc, deployment, host_table
from tests.servers.http import answered, call_request
from tests.servers.nginx import nginx
from tests.servers.processes import eventually, program
from tests.servers.web import make_certificates

DOCUMENT = (Path(__file__).parents[2] / "docs" / "how-to" / "behind-a-proxy.md").read_text()
TOKEN, NEAR = "dm_portal_a-token-of-the-portal", "dm_near_a-token-for-one-address"
CALLERS = f"""
[callers.portal]
token_sha256 = ["{sha256(TOKEN.encode()).hexdigest()}"]
sources      = ["disk:/"]
destinations = ["archive:/"]

[callers.near]
token_sha256 = ["{sha256(NEAR.encode()).hexdigest()}"]
networks     = ["127.0.0.2/32"]
"""


def documented(opening, closing):
    """The lines of the document between two others."""
    return DOCUMENT.partition(opening)[2].partition(closing)[0]


@pytest.fixture(scope="module")
def world(tmp_path_factory, redis_url):
    base = tmp_path_factory.mktemp("proxied")
    roots = SimpleNamespace(disk=base / "disk", archive=base / "archive")
    local = {"protocol": "local", "roles": ["source", "destination"]}
    registry = ""
    for name, root in vars(roots).items():
        root.mkdir()
        registry += host_table(name, {**local, "root": root})
    certificate = make_certificates(base, "localhost")
    with deployment(base / "service", redis_url, registry) as service:
        callers = service.directory / "callers.toml"
        callers.touch(0o600)
        callers.write_text(CALLERS)
        text = service.ini.read_text().replace("callers = none", f"callers = {callers}")
        settings = documented("```ini tests/security/test_callers_behind_proxies.py\n", "```")
        assert "trusted_proxy = 127.0.0.1" in settings
        service.ini.write_text(text.replace("[server:main]", f"[server:main]\n{settings}"))
        service.start_web()
        service.start_worker()
        service.start_sweeper()
        location = documented("location / {", "}").replace("6543", str(service.port))
        lines = documented("    SSLCertificateFile /etc/ssl/mover.pem\n", "</VirtualHost>")
        with (
            nginx(base / "nginx", location, certificate=certificate) as of_nginx,
            apache_proxy(base / "apache", lines.replace("6543", str(service.port)), certificate) as of_apache,
        ):
            ports = {"nginx": of_nginx, "apache": of_apache}
            yield SimpleNamespace(
                service=service, roots=roots, port=of_nginx, ports=ports, authority=base / "ca.pem", base=base
            )


def test_an_unmodified_client_of_python_calls_with_name_and_token(world):
    (world.roots.disk / "a").write_text("content")
    context = ssl.create_default_context(cafile=world.authority)
    with XmlRpc(f"https://portal:{TOKEN}@localhost:{world.port}/data_mover", context=context) as proxy:
        job_id = proxy.move("disk:/a", "archive:/")["id"]
        eventually(lambda: proxy.check(job_id)["status"] == "COMPLETED", "it has arrived")


@pytest.mark.parametrize("language", SCRIPTS)
@pytest.mark.parametrize("proxy", ["nginx", "apache"])
def test_an_unmodified_client_of_another_language_calls_with_name_and_token(world, language, proxy):
    (world.roots.disk / "é.txt").write_text("from elsewhere")
    authority = str(world.authority)
    trust = {"SSL_CERT_FILE": authority, "PERL_LWP_SSL_CA_FILE": authority, "NODE_EXTRA_CA_CERTS": authority}

    reported = moved_by(language, f"https://portal:{TOKEN}@localhost:{world.ports[proxy]}/data_mover", **trust)

    assert reported["job"]["status"] == "COMPLETED"


def test_curl_calls_with_a_bearer_token(world):
    command = [program("curl"), "-sS", "--cacert", str(world.authority), "-H", f"Authorization: Bearer {TOKEN}"]

    done = subprocess.run([*command, f"https://localhost:{world.port}/api/v1/hosts"], capture_output=True, check=True)

    assert {host["name"] for host in json.loads(done.stdout)["hosts"]} == {"disk", "archive"}


def test_the_network_of_a_token_is_that_of_the_client_and_not_of_the_proxy(world, tmp_path):
    login = f"Authorization: Bearer {NEAR}"
    location = documented("location / {", "}").replace("6543", str(world.service.port))
    with nginx(tmp_path / "nginx", location) as port:
        forged = call_request(b"", login, "X-Forwarded-For: 127.0.0.2")

        assert answered(port, call_request(b"x", login), source="127.0.0.2").status == 200
        assert answered(port, call_request(b"x", login)).status == 401
        assert answered(port, forged).status == 401
        assert answered(world.service.port, call_request(b"x", login), source="127.0.0.3").status == 401


def test_the_audit_trail_has_the_address_of_the_client_and_that_of_the_proxy(world, tmp_path):
    login = f"Authorization: Bearer {NEAR}"
    move = call_request(dumps(("disk:/a", "archive:/"), "move").encode(), login)
    location = documented("location / {", "}").replace("6543", str(world.service.port))
    with nginx(tmp_path / "nginx", location) as port:
        answered(port, move, source="127.0.0.2")
        through_proxy = lines_of(world)[-1]
        answered(port, move, source="127.0.0.4")
        refused = lines_of(world)[-1]
    answered(world.service.port, call_request(b"x", login), source="127.0.0.3")
    directly = lines_of(world)[-1]

    assert (through_proxy["event"], through_proxy["code"]) == ("call", "unknown-source")
    assert (through_proxy["address"], through_proxy["peer"]) == ("127.0.0.2", "127.0.0.1")
    assert (refused["event"], refused["address"], refused["peer"]) == ("login-refused", "127.0.0.4", "127.0.0.1")
    assert (directly["event"], directly["address"], directly["peer"]) == ("login-refused", "127.0.0.3", "127.0.0.3")


def test_what_a_client_says_of_its_address_is_not_believed(world):
    """Apache appends the client's address to what the client has said."""
    forged = call_request(b"x", f"Authorization: Bearer {NEAR}", "X-Forwarded-For: 127.0.0.2")

    assert answered_by(world, world.ports["apache"], forged) == 401


#: requests of which a proxy and a server could differ in where they end; the second one would be the attacker's
INNER = b"POST /api/v1/hosts/disk/pause HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer %s\r\n\r\n"
AMBIGUOUS = {
    "both lengths": "Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": "Content-Length: 0\r\nContent-Length: 5\r\n\r\n",
    "a length with a sign": "Content-Length: +0\r\n\r\n",
    "a list of lengths": "Content-Length: 0, 5\r\n\r\n",
    "an unknown coding": "Transfer-Encoding: xchunked\r\n\r\n",
    "a coding twice": "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    "a space before the colon": "Transfer-Encoding : chunked\r\nContent-Length: 0\r\n\r\n",
    "a folded header": "X: a\r\n Transfer-Encoding: chunked\r\nContent-Length: 0\r\n\r\n",
    "a tab": "Transfer-Encoding:\tchunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
    "a size with an extension": "Transfer-Encoding: chunked\r\n\r\n0;x=\n\r\n\r\n",
}


@pytest.mark.parametrize("lengths", AMBIGUOUS.values(), ids=AMBIGUOUS)
@pytest.mark.parametrize("proxy", ["nginx", "apache"])
def test_a_request_cannot_hide_another(world, proxy, lengths):
    """What follows is hidden from the proxy if it believes that the first request has more: it must not be served as a
    request of its own unless the proxy has seen it as one."""
    outer = f"POST /data_mover HTTP/1.1\r\nHost: localhost\r\nContent-Type: text/xml\r\n{lengths}".encode()
    before = len(lines_of(world))

    statuses = statuses_of(world, world.ports[proxy], outer + INNER % b"wrong")

    assert len(statuses) <= 2
    assert all(status in (200, 400, 401, 411, 413, 415, 500, 501) for status in statuses), statuses
    assert "Traceback" not in world.service.log("web")  # 500 is what Apache says of two codings
    served = [line for line in lines_of(world)[before:] if line["event"] == "login-refused"]
    assert len(served) <= len([status for status in statuses if status == 401])


def test_without_the_documented_lines_no_header_is_believed(tmp_path, redis_url, world):
    registry = host_table("disk", {"protocol": "local", "root": tmp_path, "roles": ["source"]})
    with deployment(tmp_path / "service", redis_url, registry) as service:
        callers = service.directory / "callers.toml"
        callers.touch(0o600)
        callers.write_text(CALLERS)
        service.ini.write_text(service.ini.read_text().replace("callers = none", f"callers = {callers}"))
        service.start_web()

        forged = call_request(b"x", f"Authorization: Bearer {NEAR}", "X-Forwarded-For: 127.0.0.2")

        assert answered(service.port, forged).status == 401


def test_the_document_has_what_is_tested_here():
    assert re.search(r"proxy_set_header X-Forwarded-For \$remote_addr;", documented("location / {", "}"))
    assert "trusted_proxy = 127.0.0.1" in DOCUMENT


def connected_to(world, port):
    context = ssl.create_default_context(cafile=world.authority)
    return context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=10), server_hostname="localhost")


def answered_by(world, port, request):
    return statuses_of(world, port, request)[0]


def statuses_of(world, port, request):
    """The statuses of all answers that come before the connection ends, or nothing more comes."""
    received = b""
    with connected_to(world, port) as connection, suppress(OSError):
        connection.sendall(request)
        connection.settimeout(1)
        while piece := connection.recv(65536):
            received += piece
    return [int(status) for status in re.findall(rb"HTTP/1\.[01] (\d{3}) ", received)]


def lines_of(world):
    path = world.service.directory / "state" / "audit.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []
