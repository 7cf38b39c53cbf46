"""Callers of OpenID Connect: whose tokens are believed, and what their scopes grant."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from types import SimpleNamespace

import jwt
import pytest

from data_mover.config.callers import parse_callers
from data_mover.domain.errors import ConfigurationError
from data_mover.services import issuers
from data_mover.services.issuers import Issuers
from tests.servers.deployment import deployment, host_table
from tests.servers.issuer import issuer_server, unsigned
from tests.servers.processes import eventually

CALLERS = """
[issuers.campus]
issuer   = "{url}"
audience = "data_mover"
caller   = "preferred_username"

[issuers.campus.scopes."data_mover.portal"]
sources      = ["disk:/species/", "slow:/species/"]
destinations = ["archive:/maps/"]

[issuers.campus.scopes."data_mover.operator"]
verbs = ["check", "operate"]
"""
PORTAL = {"scope": "openid data_mover.portal", "preferred_username": "ann"}
ALGORITHMS = ["RS256-1", "ES256-1", "EdDSA-1"]


@pytest.fixture
def issuer():
    with issuer_server() as issuer:
        yield issuer


@pytest.fixture
def known(issuer, tmp_path):
    return parse_callers(CALLERS.format(url=issuer.url), tmp_path / "callers.toml").issuers


@pytest.fixture
def caller_of(known):
    """The caller of a token, with keys that were not fetched yet."""
    verifier = Issuers()
    return lambda token: verifier.authenticated(token, known)


@pytest.mark.parametrize("key", ALGORITHMS)
def test_a_token_of_the_issuer_is_believed(issuer, caller_of, key):
    caller = caller_of(issuer.token(key, **PORTAL))

    assert (caller.name, caller.scopes) == ("campus:ann", "data_mover.portal")
    assert caller.rights.may_read("disk", "/species/a")
    assert not caller.rights.may_read("disk", "/other")


def test_scopes_grant_together(issuer, caller_of):
    caller = caller_of(
        issuer.token("RS256-1", scp=["data_mover.operator", "data_mover.portal", 7], preferred_username="ann")
    )

    assert caller.scopes == "data_mover.operator data_mover.portal"
    assert {"move", "see-all"} <= caller.rights.verbs


@pytest.mark.parametrize(
    "change",
    [
        {"aud": "another"},
        {"aud": "*"},
        {"aud": None},
        {"exp": 1},
        {"exp": None},
        {"exp": "tomorrow"},
        {"nbf": 4_000_000_000},
        {"iss": "https://evil.example"},
        {"iss": None},
        {"scope": "openid"},
        {"scope": None},
        {"scope": 7},
        {"preferred_username": None},
        {"preferred_username": ""},
        {"preferred_username": 7},
        {"preferred_username": "a\nb"},
        {"preferred_username": "x" * 500},
    ],
)
def test_a_token_that_is_wrong_anywhere_is_not_believed(issuer, caller_of, change):
    assert caller_of(issuer.token("ES256-1", **{**PORTAL, **change})) is None


def test_a_token_of_another_key_is_not_believed(issuer, caller_of):
    forged = issuer.token("RS256-1", **PORTAL)
    issuer.renew_keys("1")

    assert caller_of(forged) is None


def test_a_token_without_a_signature_or_with_a_shared_key_is_not_believed(issuer, caller_of):
    claims = {"iss": issuer.url, "aud": "data_mover", "exp": time.time() + 60, **PORTAL}
    public = json.dumps(issuer.answer("/certs")["keys"][0])

    assert caller_of(unsigned(**claims)) is None
    assert caller_of(jwt.encode(claims, public * 2, "HS256", headers={"kid": "RS256-1"})) is None
    assert caller_of("a.b.c") is None
    assert caller_of("eyJ." * 2 + "x" * 100_000) is None


def test_keys_that_the_token_brings_along_are_not_looked_at(issuer, caller_of):
    with issuer_server() as evil:
        evil.url = issuer.url
        [key] = [each for each in evil.answer("/certs")["keys"] if each["kid"] == "RS256-1"]
        forged = evil.token("RS256-1", {"jwk": key, "jku": f"{evil.says_it_is}/certs"}, **PORTAL)
        evil.asked.clear()

        assert caller_of(forged) is None
        assert evil.asked == []


def test_known_keys_stay_in_force_while_the_issuer_is_away(issuer, caller_of, monkeypatch):
    assert caller_of(issuer.token("RS256-1", **PORTAL))
    issuer.is_away = True
    monkeypatch.setattr(issuers, "KEPT_SECONDS", 0)
    monkeypatch.setattr(issuers, "FETCH_AGAIN_SECONDS", 0)

    assert caller_of(issuer.token("RS256-1", **PORTAL))


def test_nobody_whose_key_is_known_waits_while_the_issuer_takes_its_time(issuer, caller_of, monkeypatch):
    assert caller_of(issuer.token("RS256-1", **PORTAL))
    monkeypatch.setattr(issuers, "KEPT_SECONDS", 0)
    monkeypatch.setattr(issuers, "FETCH_AGAIN_SECONDS", 0)
    issuer.asked.clear()
    answers = threading.Event()
    issuer.answers = answers.wait

    with ThreadPoolExecutor(1) as pool:
        slow = pool.submit(caller_of, issuer.token("RS256-1", **PORTAL))
        eventually(lambda: issuer.asked, "the keys are being fetched")
        assert caller_of(issuer.token("ES256-1", **PORTAL))
        assert slow.running()
        answers.set()
        assert slow.result()


def test_two_entries_of_one_issuer_have_audiences_of_their_own(issuer, tmp_path):
    other = CALLERS.replace("campus", "library").replace('"data_mover"', '"another"')
    text = (CALLERS + other).format(url=issuer.url)
    known = parse_callers(text, tmp_path / "callers.toml").issuers
    tokens = [issuer.token("ES256-1", **PORTAL, aud=audience) for audience in ("data_mover", "another")]

    assert [Issuers().authenticated(token, known).name for token in tokens] == ["campus:ann", "library:ann"]


def test_new_keys_are_fetched_and_not_more_often_than_they_may(issuer, caller_of, monkeypatch):
    assert caller_of(issuer.token("RS256-1", **PORTAL))
    issuer.renew_keys("2")
    issuer.asked.clear()

    assert [caller_of(issuer.token("RS256-2", **PORTAL)) for _ in range(5)] == [None] * 5
    assert issuer.asked == []
    monkeypatch.setattr(issuers, "FETCH_AGAIN_SECONDS", 0)
    assert caller_of(issuer.token("RS256-2", **PORTAL))


def test_an_issuer_that_says_it_is_another_is_not_believed(issuer, caller_of):
    issuer.says_it_is = "https://evil.example"

    assert caller_of(issuer.token("RS256-1", **PORTAL)) is None


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ('issuer = "http://login.example.org"', "issuers.campus"),
        ('issuer = "login.example.org"', "issuers.campus"),
        ('audience = "*"', "issuers.campus"),
        ('audience = ""', "issuers.campus.audience"),
        ("scopes = {}", "issuers.campus.scopes"),
        ("scopes = { a = { verbs = ['fly'] } }", "issuers.campus.scopes.a.verbs"),
        ("scopes = { a = { quota = { running = 0 } } }", "issuers.campus.scopes.a.quota.running"),
        ("colour = 'red'", "issuers.campus.colour"),
        ("client_id = ''", "issuers.campus.client_id"),
        ("client_secret = 'env:SECRET'", "issuers.campus"),
        ("client_secret = 'itself'", "issuers.campus.client_secret"),
    ],
)
def test_a_mistake_is_named_by_its_key(tmp_path, line, key):
    name = line.partition(" ")[0]
    lines = {"issuer": 'issuer = "https://x.org"', "audience": 'audience = "x"', "scopes": "scopes = { a = {} }"}
    text = "[issuers.campus]\n" + "\n".join({**lines, name: line}.values()) + "\n"

    with pytest.raises(ConfigurationError) as error:
        parse_callers(text, tmp_path / "callers.toml")

    assert key in {problem.key for problem in error.value.problems}


@pytest.fixture
def world(tmp_path, redis_url, issuer):
    roots = SimpleNamespace(disk=tmp_path / "disk", archive=tmp_path / "archive")
    (roots.disk / "species").mkdir(parents=True)
    (roots.archive / "maps").mkdir(parents=True)
    (roots.disk / "species" / "a").write_text("content")
    local = {"protocol": "local", "roles": ["source", "destination"]}
    registry = "".join(host_table(name, {**local, "root": root}) for name, root in vars(roots).items())
    registry += host_table("slow", {**local, "root": roots.disk, "roles": ["source"], "bandwidth": "4MB/s"})
    with deployment(tmp_path / "service", redis_url, registry) as service:
        callers = service.directory / "callers.toml"
        callers.touch(0o600)
        callers.write_text(CALLERS.format(url=issuer.url))
        service.ini.write_text(service.ini.read_text().replace("callers = none", f"callers = {callers}"))
        service.start_web()
        service.start_worker()
        service.start_sweeper()
        yield SimpleNamespace(service=service, roots=roots, callers=callers)


def test_no_more_moves_of_a_caller_run_than_its_scopes_allow(world, issuer):
    token = issuer.token("ES256-1", **PORTAL)
    quota = '[issuers.campus.scopes."data_mover.portal".quota]\nrunning = 1\n\n'
    operator = '[issuers.campus.scopes."data_mover.operator"]'
    world.callers.write_text(world.callers.read_text().replace(operator, quota + operator))
    (world.roots.disk / "species" / "large").write_bytes(bytes(6_000_000))
    moves = [{"source": f"slow:/species/{name}", "destination": "archive:/maps/"} for name in ("large", "a")]
    ended(world, token, ask(world, "POST", "/api/v1/moves", token, moves[1])[1]["id"])

    first, second = (ask(world, "POST", "/api/v1/moves", token, move)[1]["id"] for move in moves)

    def cause(move):
        return ask(world, "GET", f"/api/v1/moves/{move}/explain", token)[1]["cause"]

    eventually(lambda: cause(first) == "running", "the first one runs")
    assert cause(second) == "quota"
    assert [ended(world, token, move)["status"] for move in (first, second)] == ["COMPLETED"] * 2


def ask(world, method, path, token, body=None):
    connection = HTTPConnection("127.0.0.1", world.service.port, timeout=30)
    headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
    connection.request(method, path, json.dumps(body) if body else None, headers)
    response = connection.getresponse()
    answer = json.loads(response.read())
    connection.close()
    return response.status, answer


def ended(world, token, job_id):
    reported = {}

    def has_ended():
        reported.update(ask(world, "GET", f"/api/v1/moves/{job_id}", token)[1])
        return reported["status"] in ("COMPLETED", "FAILED")

    eventually(has_ended, f"job {job_id} has ended")
    return reported


def test_a_move_is_done_with_the_rights_of_a_scope_and_fails_once_the_scope_has_lost_them(world, issuer):
    token = issuer.token("ES256-1", **PORTAL)
    move = {"source": "disk:/species/a", "destination": "archive:/maps/"}
    operator = issuer.token("RS256-1", scope="data_mover.operator", preferred_username="bob")

    status, accepted = ask(world, "POST", "/api/v1/moves", token, move)
    assert status == 202
    assert ended(world, token, accepted["id"])["status"] == "COMPLETED"
    refused = ask(world, "POST", "/api/v1/moves", token, {**move, "source": "disk:/other"})
    assert (refused[0], refused[1]["code"]) == (422, "unknown-source")
    assert ask(world, "POST", "/api/v1/moves", operator, move)[0] == 403
    assert ask(world, "POST", "/api/v1/hosts/archive/pause", operator)[0] == 200
    waiting = ask(world, "POST", "/api/v1/moves", token, move)[1]["id"]
    world.callers.write_text(world.callers.read_text().replace("/species/", "/layers/"))
    assert ask(world, "POST", "/api/v1/hosts/archive/resume", operator)[0] == 200

    job = ended(world, operator, waiting)

    assert (job["status"], job["code"]) == ("FAILED", "not-allowed")
    assert ask(world, "GET", "/api/v1/moves", token + "x")[0] == 401
