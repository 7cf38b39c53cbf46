"""Callers over TLS and through nginx, as docs/callers.md has it."""

import json
import os
import re
import ssl
import subprocess
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.servers.deployment import XmlRpc, deployment, host_table
from tests.servers.http import answered, call_request
from tests.servers.nginx import nginx
from tests.servers.processes import absent, eventually, program
from tests.servers.web import make_certificates

DOCUMENT = (Path(__file__).parents[2] / "docs" / "callers.md").read_text()
CLIENTS = Path(__file__).parents[1] / "functional" / "clients"
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
        settings = documented(
            "believe, in `[server:main]`; without these lines no such header is believed:\n\n```ini\n", "```"
        )
        service.ini.write_text(text.replace("[server:main]", f"[server:main]\n{settings}"))
        service.start_web()
        service.start_worker()
        service.start_sweeper()
        location = documented("location / {", "}").replace("6543", str(service.port))
        with nginx(base / "nginx", location, certificate=certificate) as port:
            yield SimpleNamespace(service=service, roots=roots, port=port, authority=base / "ca.pem")


def test_an_unmodified_client_of_python_calls_with_name_and_token(world):
    (world.roots.disk / "a").write_text("content")
    context = ssl.create_default_context(cafile=world.authority)
    with XmlRpc(f"https://portal:{TOKEN}@localhost:{world.port}/data_mover", context=context) as proxy:
        job_id = proxy.move("disk:/a", "archive:/")["id"]
        eventually(lambda: proxy.check(job_id)["status"] == "COMPLETED", "it has arrived")


@pytest.mark.parametrize(
    ("language", "library", "script"),
    [("ruby", "-rxmlrpc/client", "move.rb"), ("perl", "-MFrontier::Client -MLWP::Protocol::https", "move.pl")],
)
def test_an_unmodified_client_of_another_language_calls_with_name_and_token(world, language, library, script):
    (world.roots.disk / "é.txt").write_text("from elsewhere")
    interpreter = program(language)
    if subprocess.run([interpreter, *library.split(), "-e", "1"], capture_output=True).returncode:
        absent(f"{language} has no XML-RPC library, or none for TLS")
    trust = {"SSL_CERT_FILE": str(world.authority), "PERL_LWP_SSL_CA_FILE": str(world.authority)}

    url = f"https://portal:{TOKEN}@localhost:{world.port}/data_mover"
    command = [interpreter, str(CLIENTS / script), url, "/é.txt", f"/é-{language}.txt"]
    done = subprocess.run(command, check=True, capture_output=True, timeout=120, env={**os.environ, **trust})

    assert json.loads(done.stdout)["job"]["status"] == "COMPLETED"


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
