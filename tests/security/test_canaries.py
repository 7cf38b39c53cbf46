"""Secrets that a search finds wherever they get to: each is sent through failures while all logs are at DEBUG."""

import json
import subprocess
import sys
from base64 import b64encode
from contextlib import ExitStack, suppress
from functools import partial
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from xmlrpc.client import dumps

import asyncssh
import pytest
from redis import Redis

from tests.servers.asyncssh_server import asyncssh_server
from tests.servers.deployment import deployment, host_table
from tests.servers.http import answered, call_request
from tests.servers.issuer import issuer_server
from tests.servers.processes import descendants, eventually, free_port
from tests.servers.web import Fault, web_server

TERMINAL = ("COMPLETED", "FAILED", "CANCELLED")
SECRETS = {
    name: f"canary{number}{name.replace('_', '')}{number}yranac"
    for number, name in enumerate(
        ["password", "passphrase", "bearer", "cookie", "header", "basic", "webdav", "access_key", "secret_key", "part"],
        10,
    )
}
TOKEN, WRONG = "dm_portal_canary40of40the40callers40token_abc", "dm_portal_canary41that41is41wrong_abc"
SCOPE = "data_mover.portal"


def repeated(handler, status, **fields):
    """Answers with everything that a careless server could repeat: in the status line, fields and body."""
    login = " ".join(handler.headers.get(name, "") for name in ("Authorization", "Cookie", "X-Api-Key")).strip()
    handler.send_response(status, f"no entry for {login}")
    body = f"<html>{login} may not do this: {dict(handler.headers)}</html>".encode()
    for name, value in {"X-Login": login, "Set-Cookie": login, "Content-Length": len(body), **fields}.items():
        handler.send_header(name, str(value))
    handler.end_headers()
    handler.wfile.write(body)
    handler.close_connection = True


def redirected(handler):
    repeated(handler, 302, Location=f"/403?part={SECRETS['part']}")


def led_away(handler):
    repeated(handler, 302, Location=f"https://elsewhere.invalid/{SECRETS['part']}")


def babbled(handler):
    handler.wfile.write(f"{dict(handler.headers)}\r\n\r\n".encode())
    handler.close_connection = True


def broken_off(handler):
    handler.answer(200, Content_Length=1000, X_Login=handler.headers.get("Authorization", ""))
    handler.close_connection = True


FAULTS: dict[str, Fault] = {
    **{f"/{status}": partial(repeated, status=status) for status in (401, 403, 500)},
    "/away": led_away,
    "/redirect": redirected,
    "/babble": babbled,
    "/cut": broken_off,
}


@pytest.fixture(scope="module")
def world(tmp_path_factory, redis_url):
    base = tmp_path_factory.mktemp("canaries")
    with ExitStack() as stack:
        web = stack.enter_context(web_server(base / "web", tls=True))
        web.faults = {f"{prefix}{path}": fault for path, fault in FAULTS.items() for prefix in ("", "/bucket")}
        web.faults["/bucket"] = FAULTS["/403"]
        ssh = stack.enter_context(asyncssh_server(base / "ssh"))
        issuer = stack.enter_context(issuer_server())
        (base / "disk").mkdir()
        (base / "disk" / "a").write_text("content")
        secrets = base / "secrets"
        secrets.mkdir()
        for name, secret in SECRETS.items():
            (secrets / name).touch(0o600)
            (secrets / name).write_text(secret)
        key = asyncssh.read_private_key(str(ssh.key_file))
        for name, passphrase in {"locked": "another one", "open": SECRETS["passphrase"]}.items():
            (secrets / name).touch(0o600)
            (secrets / name).write_bytes(key.export_private_key("openssh", passphrase))
        of = {name: f"file:{secrets}/{name}" for name in SECRETS}
        there = web.options("/", idle_timeout_seconds=2)
        endpoint = {"endpoint": web.url, "ca_file": str(web.ca_file), "root": "/", "roles": ["source", "destination"]}
        reached = {**ssh.options(base / "disk", connect_timeout_seconds=5), "max_transfers": 1}
        hosts = {
            "disk": {"protocol": "local", "root": base / "disk", "roles": ["source", "destination"]},
            "bearer": {**there, "bearer": of["bearer"]},
            "cookie": {**there, "cookie": of["cookie"]},
            "basic": {**there, "username": "me", "password": of["basic"]},
            "dav": {"protocol": "webdav", **endpoint, "username": "me", "password": of["webdav"]},
            "store": {
                "protocol": "s3",
                **endpoint,
                "bucket": "bucket",
                "access_key": of["access_key"],
                "secret_key": of["secret_key"],
            },
            "refused": {**{k: v for k, v in reached.items() if k != "key_file"}, "password": of["password"]},
            "locked": {**reached, "key_file": secrets / "locked", "key_passphrase": of["passphrase"]},
            "open": {**reached, "key_file": secrets / "open", "key_passphrase": of["passphrase"]},
            "away": {**reached, "key_file": secrets / "open", "key_passphrase": of["passphrase"], "port": free_port()},
        }
        registry = "".join(host_table(name, options) for name, options in hosts.items())
        registry += host_table("named", there) + f'[hosts.named.headers]\n"X-Api-Key" = "{of["header"]}"\n'
        settings = "data_mover.max_attempts = 1\ndata_mover.retry_first_seconds = 0.1\n"
        service = stack.enter_context(deployment(base / "service", redis_url, registry, extra=settings))
        callers = base / "callers.toml"
        callers.touch(0o600)
        callers.write_text(callers_with(issuer.url))
        text = service.ini.read_text().replace("callers = none", f"callers = {callers}")
        service.ini.write_text(text.replace("level = INFO", "level = DEBUG"))
        service.start_web()
        service.start_worker()
        service.start_sweeper()
        yield SimpleNamespace(service=service, issuer=issuer, base=base, answers=[])


def callers_with(issuer):
    rights = 'sources = ["*"]\ndestinations = ["*"]\n'
    return f"""
[callers.portal]
token_sha256 = ["{sha256(TOKEN.encode()).hexdigest()}"]
verbs = ["move", "plan", "check", "cancel", "retry", "operate"]
{rights}
[issuers.campus]
issuer = "{issuer}"
audience = "data_mover"
[issuers.campus.scopes."{SCOPE}"]
{rights}"""


def ask(world, method, path, body=None, authorization=f"Bearer {TOKEN}"):
    connection = HTTPConnection("127.0.0.1", world.service.port, timeout=30)
    headers = {"Authorization": authorization, "Content-Type": "application/json"}
    connection.request(method, path, json.dumps(body) if body is not None else None, headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    world.answers.append(content + str(response.headers).encode())
    return json.loads(content) if content.startswith(b"{") else {}


def move(world, source, destination, authorization=f"Bearer {TOKEN}"):
    body = {"source": source, "destination": destination}
    return ask(world, "POST", "/api/v1/moves", body, authorization).get("id")


def traces(world, *secrets):
    """Where one of them stands."""
    places = {"answers": b"\n".join(world.answers)}
    for directory in (world.service.directory, world.base / "disk"):
        places |= {str(path): path.read_bytes() for path in directory.rglob("*") if path.is_file()}
    with Redis.from_url(world.service.ini.read_text().partition("redis.url = ")[2].split()[0]) as redis:
        places["redis"] = b"".join((redis.dump(key) or b"") + key for key in redis.keys("*"))
    pids = [pid for process in world.service.processes for pid in (process.pid, *descendants(process.pid))]
    for pid in pids:
        with suppress(OSError):
            places[f"process {pid}"] = Path(f"/proc/{pid}/cmdline").read_bytes()
    return sorted((secret, place) for secret in secrets for place, text in places.items() if secret.encode() in text)


def test_no_secret_of_a_host_gets_anywhere_whatever_fails(world):
    ssh = ("refused", "locked", "open", "away")
    moves = [move(world, f"{host}:{path}", "disk:/out") for host in ("bearer", "dav", "store") for path in FAULTS]
    for path in ("/401", "/redirect", "/babble"):
        moves += [move(world, f"{host}:{path}", "disk:/out") for host in ("cookie", "basic", "named")]
        moves += [move(world, "disk:/a", f"{host}:{path}") for host in ("dav", "store")]
    moves += [move(world, "disk:/a", f"{host}:/b") for host in ssh]
    ask(world, "POST", "/api/v1/plan", {"source": "bearer:/403", "destination": "disk:/out"})
    ask(world, "POST", "/api/v1/plan", {"source": "locked:/a", "destination": "disk:/out"})
    ini = str(world.service.ini)
    for host in ("bearer", "store", "locked"):
        command = [str(Path(sys.executable).parent / "data_mover"), "-c", ini, "hosts", "check", host]
        checked = subprocess.run(command, capture_output=True, timeout=60)
        world.answers.append(checked.stdout + checked.stderr)

    def ended():
        waiting = [each for each in moves if ask(world, "GET", f"/api/v1/moves/{each}")["status"] not in TERMINAL]
        for each in waiting:
            if ask(world, "GET", f"/api/v1/moves/{each}")["phase"] == "blocked":
                ask(world, "POST", f"/api/v1/moves/{each}/cancel")
        return not waiting

    eventually(ended, "all have ended", 120, every_seconds=0.5)
    for each in moves:
        for part in ("", "/files", "/events", "/explain"):
            ask(world, "GET", f"/api/v1/moves/{each}{part}")
    ask(world, "GET", "/api/v1/hosts")

    assert None not in moves
    assert "DEBUG" in world.service.log("worker")
    assert traces(world, *SECRETS.values()) == []


def test_no_secret_in_a_url_gets_anywhere(world):
    part = SECRETS["part"]
    for url in (
        f"https://me:{part}@elsewhere.invalid/a",
        f"https://{part}@elsewhere.invalid/a",
        f"sftp://me:{part}@open/a",
        f"scp://{part}@open/a",
        f"local://disk/a?token={part}",
        f"local://disk/a#{part}",
        f"s3://me:{part}@store/a",
        f"ftp://me:{part}@elsewhere.invalid/a",
    ):
        for ends in ((url, "disk:/b"), ("disk:/a", url), ([url, "disk:/a"], "disk:/b/")):
            assert move(world, *ends) is None
            ask(world, "POST", "/api/v1/plan", dict(zip(("source", "destination"), ends, strict=True)))
            call = call_request(dumps(ends, "move").encode(), f"Authorization: Bearer {TOKEN}")
            world.answers.append(answered(world.service.port, call).body)

    assert traces(world, part) == []


def test_no_token_of_a_caller_gets_anywhere(world):
    jwt = world.issuer.token("ES256-1", scope=SCOPE)
    others = world.issuer.token("ES256-1", scope="openid")
    tokens = [TOKEN, WRONG, jwt, jwt + "x", others]
    for token in tokens:
        bearer = f"Bearer {token}"
        accepted = move(world, "disk:/nowhere", "disk:/b", bearer)
        ask(world, "POST", f"/api/v1/moves/{accepted}/retry", authorization=bearer)
        ask(world, "POST", "/api/v1/hosts/nowhere/pause", authorization=bearer)
        ask(world, "GET", f"/api/v1/moves?token={token}", authorization=bearer)
        ask(world, "POST", "/api/v1/moves", authorization=bearer)
        ask(world, "GET", f"/{token}", authorization=token)
        ask(world, "GET", "/api/v1/moves", authorization=f"Basic {b64encode(f'{token}:'.encode()).decode()}")
        for body in (b"\0", dumps(("a", "b", "c", "d", "e"), "move").encode(), b"<methodCall/>"):
            for line in ("POST /data_mover HTTP/1.1", f"POST /data_mover?token={token} HTTP/1.1"):
                answer = answered(world.service.port, call_request(body, f"Authorization: {bearer}", line=line))
                world.answers.append(answer.body if answer else b"")
    signatures = [token.rpartition(".")[2] for token in (jwt, others)]

    assert traces(world, TOKEN, WRONG, *signatures) == []
