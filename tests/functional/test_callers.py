"""Callers with tokens: who is known, what each may do, and what each can find out."""

import base64
import json
import os
import statistics
import time
from contextlib import contextmanager
from datetime import date, timedelta
from hashlib import sha256
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace
from xmlrpc.client import Fault, ProtocolError

import pytest
from redis import Redis

from data_mover.store.audit_trail import MOST_STRANGERS, first_broken_line
from tests.servers.deployment import XmlRpc, deployment, host_table
from tests.servers.http import answered, call_request
from tests.servers.processes import eventually

TOKENS = {
    name: f"dm_{name}_{name * 8:.40}" for name in ("portal", "writer", "nobody", "reader", "boss", "short", "far")
}


def digest(name):
    return sha256(TOKENS[name].encode()).hexdigest()


CALLERS = f"""
[callers.portal]
token_sha256 = ["{digest("portal")}"]
sources      = ["slow:/species/", "archive:/species/", "archive:/one.csv", "type:layers", "site:/public/"]
destinations = ["vis:/maps/"]

[callers.writer]
token_sha256 = ["{digest("writer")}"]
sources      = ["archive:/species/"]
destinations = [{{ at = "vis:/drop/", may = ["create"] }}, {{ at = "vis:/maps/", may = ["create", "replace"] }}]

[callers.reader]
token_sha256 = ["{digest("reader")}"]
verbs        = ["check"]

[callers.boss]
token_sha256 = ["{digest("boss")}"]
verbs        = ["move", "plan", "check", "cancel", "retry", "operate"]
sources      = ["*"]
destinations = ["*"]

[callers.short]
token_sha256 = [
    {{ sha256 = "{digest("short")}", expires = {date.today() - timedelta(days=1)} }},
    {{ sha256 = "{digest("far")}", networks = ["192.0.2.0/24"] }},
]
sources      = ["*"]
destinations = ["*"]
"""

DATASETS = """
[datasets.layers]
source = { host = "archive", path = "/layers/{id}.tif" }

[datasets.hidden]
source = { host = "secret", path = "/{id}" }
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory, redis_url, openssh):
    base = tmp_path_factory.mktemp("callers")
    roots = SimpleNamespace(archive=base / "archive", vis=base / "vis", secret=base / "secret")
    for directory in ("species", "layers", "private", "species/folder"):
        (roots.archive / directory).mkdir(parents=True)
    for directory in ("maps", "drop", "other"):
        (roots.vis / directory).mkdir(parents=True)
    roots.secret.mkdir()
    for name in ("species/1.csv", "species/folder/a", "layers/7.tif", "private/x", "one.csv", "one.csv.old"):
        (roots.archive / name).write_text(f"the content of {name}")
    (roots.archive / "species" / "link").symlink_to(roots.archive / "private" / "x")
    (roots.archive / "species" / "linked").symlink_to(roots.archive / "private")
    (roots.vis / "maps" / "out").symlink_to(roots.vis / "other")
    local = {"protocol": "local", "roles": ["source", "destination"]}
    registry = (
        host_table("archive", {**local, "root": roots.archive})
        + host_table("vis", openssh.options(roots.vis, idle_timeout_seconds=10))
        + host_table("slow", {**local, "root": roots.archive, "roles": ["source"], "bandwidth": "4MB/s"})
        + host_table("secret", {**local, "root": roots.secret})
        + host_table("site", {"protocol": "http", "address": "127.0.0.1", "port": 9})
        + DATASETS
    )
    with deployment(base / "service", redis_url, registry) as service:
        callers = service.directory / "callers.toml"
        write(callers, CALLERS)
        service.ini.write_text(service.ini.read_text().replace("callers = none", f"callers = {callers}"))
        service.start_web()
        service.start_worker()
        service.start_sweeper()
        yield SimpleNamespace(service=service, roots=roots, callers=callers)


def write(path, text):
    new = path.with_suffix(".new")
    new.touch(0o600)
    new.write_text(text)
    new.rename(path)


@pytest.fixture
def callers(world):
    """Changes the callers' file, which is as before afterwards."""
    yield lambda text: write(world.callers, text)
    write(world.callers, CALLERS)


@pytest.fixture
def proxy_of(world):
    """An XML-RPC client, unmodified: name and token are in its URL."""

    @contextmanager
    def proxy(name):
        with XmlRpc(f"http://{name}:{TOKENS[name]}@127.0.0.1:{world.service.port}/data_mover") as client:
            yield client

    return proxy


def basic(name, token):
    return "Basic " + base64.b64encode(f"{name}:{token}".encode()).decode()


def ask(world, method, path, *, token=None, authorization=None, body=None):
    """The status and the headers of an answer, and its JSON if it has any."""
    headers = {"Authorization": authorization or f"Bearer {token}"} if token or authorization else {}
    connection = HTTPConnection("127.0.0.1", world.service.port, timeout=30)
    if method != "GET":
        headers["Content-Type"] = "application/json"
    connection.request(method, path, json.dumps(body) if body is not None else None, headers)
    response = connection.getresponse()
    content = response.read()
    connection.close()
    return (
        response.status,
        response.headers,
        json.loads(content) if "json" in response.headers["Content-Type"] else None,
    )


def ended(world, proxy, job_id):
    reported = {}

    def has_ended():
        reported.update(proxy.check(job_id))
        return reported["status"] in ("COMPLETED", "FAILED", "CANCELLED")

    eventually(has_ended, f"job {job_id} has ended")
    return reported


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "Bearer",
        "Bearer nonsense",
        "Basic",
        "Basic !!!",
        "Negotiate abc",
        basic("portal", "wrong"),
        basic("nobody", TOKENS["portal"]),
        basic("writer", TOKENS["portal"]),
        basic("short", TOKENS["short"]),
        f"Bearer {TOKENS['short']}",
        f"Bearer {TOKENS['far']}",
        f"Bearer {digest('portal')}",
    ],
)
def test_who_has_no_right_token_is_told_so_before_the_body_is_read(world, authorization):
    fields = [f"Authorization: {authorization}"] if authorization else []
    expected = answered(world.service.port, call_request(b"\0no XML", *fields))

    assert expected is not None
    assert expected.status == 401
    assert b"-32001" in expected.body
    status, headers, problem = ask(world, "GET", "/api/v1/moves", authorization=authorization)
    assert (status, problem["status"], problem["code"]) == (401, 401, "unauthorized")
    assert {each.split()[0] for each in headers.get_all("WWW-Authenticate")} == {"Basic", "Bearer"}


def test_name_and_token_in_the_url_or_a_bearer_token_are_enough(world, proxy_of):
    with proxy_of("portal") as proxy:
        assert proxy.check(1)["status"] == "REJECTED"
    assert ask(world, "GET", "/api/v1/moves", token=TOKENS["portal"])[0] == 200
    assert ask(world, "GET", "/api/v1/moves", authorization=basic("portal", TOKENS["portal"]))[0] == 200


def test_the_health_check_is_open_to_all_and_tells_nothing(world):
    assert ask(world, "GET", "/health")[2] == {"status": "ok"}
    assert ask(world, "GET", "/health/ready")[0] == 401


def test_what_a_caller_may_do_is_done(world, proxy_of):
    with proxy_of("portal") as proxy:
        moves = [
            proxy.move("archive:/species/1.csv", "vis:/maps/"),
            proxy.move("archive:/one.csv", "vis:/maps/one"),
            proxy.move({"type": "layers", "id": 7}, "vis:/maps/"),
            proxy.move("archive:/species/folder", "vis:/maps/"),
        ]
        for move in moves:
            job = ended(world, proxy, move["id"])
            assert job["status"] == "COMPLETED", job
    assert (world.roots.vis / "maps" / "7.tif").read_text() == "the content of layers/7.tif"


@pytest.mark.parametrize(
    ("source", "like"),
    [
        ("archive:/private/x", "nothere:/private/x"),
        ("archive:/species-old/1.csv", "nothere:/species-old/1.csv"),
        ("archive:/one.csv.old", "nothere:/one.csv.old"),
        ("archive:/layers/7.tif", "nothere:/layers/7.tif"),
        ("archive:/", "nothere:/"),
        ("secret:/x", "nothere:/x"),
        ("hidden:x", "missing:x"),
        ("http://127.0.0.1:9/other/x", "http://127.0.0.1:10/other/x"),
        ("http://127.0.0.1:9/public-old", "http://127.0.0.1:10/public-old"),
    ],
)
def test_a_source_that_may_not_be_used_is_answered_like_one_that_does_not_exist(proxy_of, source, like):
    named, missing = (each.partition(":")[0] for each in (source, like))
    with proxy_of("portal") as proxy:
        answer, unknown = proxy.move(source, "vis:/maps/"), proxy.move(like, "vis:/maps/")

    assert answer["status"] == "REJECTED"
    if "://" in source:
        named, missing = source[: source.index("/", 8)], like[: like.index("/", 8)]
    assert {**answer, "reason": answer["reason"].replace(f"'{named}'", f"'{missing}'")} == unknown
    assert "secret" not in answer["reason"].replace("'secret'", "")


@pytest.mark.parametrize("destination", ["vis:/", "vis:/maps-old/", "vis:/other/", "secret:/", "archive:/species/"])
def test_a_destination_that_may_not_be_used_is_answered_like_one_that_does_not_exist(proxy_of, destination):
    host, _, path = destination.partition(":")
    with proxy_of("portal") as proxy:
        answer = proxy.move("archive:/species/1.csv", destination)
        unknown = proxy.move("archive:/species/1.csv", f"nothere:{path}")

    assert {**answer, "reason": answer["reason"].replace(f"'{host}'", "'nothere'")} == unknown
    assert answer["reason"] == f"Unknown destination '{host}'; known: vis:/maps/"


@pytest.mark.parametrize(
    ("source", "options"),
    [
        ("archive:/species/link", {}),
        ("archive:/species/linked", {}),
        ("archive:/species/linked/x", {}),
        ("archive:/species", {"links": "follow"}),
    ],
)
def test_a_link_does_not_lead_out_of_what_may_be_read(world, proxy_of, source, options):
    target = f"vis:/maps/{os.urandom(4).hex()}/"
    with proxy_of("portal") as proxy:
        job = ended(world, proxy, proxy.move(source, target, options)["id"])
        files = proxy.files(job["id"])

    assert (job["status"], job["code"]) == ("FAILED", "not-allowed")
    assert not [file for file in files if file["name"].startswith("linked/")]
    assert not list((world.roots.vis / "maps").rglob("x"))


def test_a_link_does_not_lead_out_of_where_may_be_written(world, proxy_of):
    with proxy_of("portal") as proxy:
        for destination in ("vis:/maps/out/", "vis:/maps/out/deeper/x", "vis:/maps/out/new"):
            job = ended(world, proxy, proxy.move("archive:/species/1.csv", destination)["id"])
            assert (job["status"], job["code"]) == ("FAILED", "not-allowed"), job
        folder = ended(world, proxy, proxy.move("archive:/species/folder", "vis:/maps/out/", {"atomic": True})["id"])

    assert (folder["status"], folder["code"]) == ("FAILED", "not-allowed")
    assert not list((world.roots.vis / "other").iterdir())


def test_whoever_may_only_create_replaces_nothing(world, proxy_of):
    (world.roots.vis / "drop" / "1.csv").write_text("somebody else's")
    with proxy_of("writer") as proxy:
        refused = ended(world, proxy, proxy.move("archive:/species/1.csv", "vis:/drop/")["id"])
        created = ended(world, proxy, proxy.move("archive:/species/1.csv", "vis:/drop/new")["id"])
        assert proxy.move("archive:/species/1.csv", "vis:/drop/", {"if_exists": "verify"})["code"] == "not-allowed"
        assert proxy.plan("archive:/species/1.csv", "vis:/drop/")["code"] == "not-allowed"

    assert (refused["status"], refused["code"]) == ("FAILED", "exists")
    assert created["status"] == "COMPLETED"
    assert (world.roots.vis / "drop" / "1.csv").read_text() == "somebody else's"


def test_verbs_that_a_caller_lacks_are_refused_and_change_nothing(world, proxy_of):
    with proxy_of("portal") as proxy:
        job_id = proxy.move("archive:/species/1.csv", "vis:/maps/verbs")["id"]
    with proxy_of("reader") as proxy:
        for call in (
            lambda: proxy.move("archive:/species/1.csv", "vis:/maps/"),
            lambda: proxy.plan("archive:/species/1.csv", "vis:/maps/"),
            lambda: proxy.cancel(job_id),
            lambda: proxy.retry(job_id),
        ):
            with pytest.raises(Fault) as fault:
                call()
            assert fault.value.faultCode == -32003
        batch = [{"methodName": "cancel", "params": [job_id]}, {"methodName": "check", "params": [job_id]}]
        answers = proxy.system.multicall(batch)
        assert answers[0]["faultCode"] == -32003
        assert answers[1][0]["status"] == "REJECTED"
    for method, path in (("POST", f"/api/v1/moves/{job_id}/cancel"), ("POST", "/api/v1/hosts/vis/pause")):
        status, _, problem = ask(world, method, path, token=TOKENS["reader"])
        assert (status, problem["code"]) == (403, "forbidden")


def test_a_caller_sees_its_own_moves_and_what_it_may_use(world, proxy_of):
    with proxy_of("portal") as portal, proxy_of("writer") as writer:
        mine = portal.move("archive:/species/1.csv", "vis:/maps/own", {"key": "mine"})["id"]
        ended(world, portal, mine)
        missing = writer.check(999_999)
        for answer in (writer.check(mine), writer.cancel(mine), writer.retry(mine), writer.explain(mine)):
            assert answer == missing
        assert writer.files(mine) == writer.files(999_999)
        assert writer.events(mine) == writer.events(999_999)
        assert writer.check_many([mine, 999_999]) == [missing, missing]
        assert mine not in [job["id"] for job in writer.jobs()]
        assert writer.jobs({"caller": "portal"}) == []
        assert {host["name"] for host in portal.hosts()} == {"slow", "archive", "vis", "site"}
        assert {host["name"] for host in writer.hosts()} == {"archive", "vis"}
        assert [each["name"] for each in portal.datasets()] == ["layers"]
        assert writer.datasets() == []


def test_an_operator_sees_and_controls_the_moves_of_all(world, proxy_of):
    with proxy_of("portal") as portal, proxy_of("boss") as boss:
        failed = portal.move("archive:/species/missing", "vis:/maps/")["id"]
        ended(world, portal, failed)
        assert boss.check(failed)["status"] == "FAILED"
        assert failed in [job["id"] for job in boss.jobs({"caller": "portal"})]
        again = boss.retry(failed)["id"]
        ended(world, portal, again)
        assert portal.check(again)["retry_of"] == failed
    assert ask(world, "POST", "/api/v1/hosts/secret/pause", token=TOKENS["boss"])[0] == 200
    assert ask(world, "POST", "/api/v1/hosts/secret/resume", token=TOKENS["boss"])[0] == 200


def test_the_move_of_another_caller_is_as_quickly_not_found_as_none(world, proxy_of):
    with proxy_of("portal") as portal:
        mine = portal.move("archive:/species/1.csv", "vis:/maps/quick")["id"]
        ended(world, portal, mine)

    def seconds(number):
        began = time.perf_counter()
        assert ask(world, "GET", f"/api/v1/moves/{number}", token=TOKENS["writer"])[0] == 404
        return time.perf_counter() - began

    pairs = [(seconds(mine), seconds(999_999)) for _ in range(300)]

    of_mine, of_none = (statistics.median(each) for each in zip(*pairs, strict=True))
    assert 0.8 < of_mine / of_none < 1.25


def test_a_caller_that_is_removed_is_unknown_at_the_next_request(world, proxy_of, callers):
    with proxy_of("writer") as proxy:
        proxy.hosts()
        callers(CALLERS.replace("[callers.writer]", "[callers.other]"))
        with pytest.raises(ProtocolError) as refused:
            proxy.hosts()

    assert refused.value.errcode == 401


def test_a_right_that_is_lost_stops_moves_that_wait(world, proxy_of, callers):
    with proxy_of("portal") as portal, proxy_of("boss") as boss:
        ask(world, "POST", "/api/v1/hosts/vis/pause", token=TOKENS["boss"])
        job_id = portal.move("archive:/species/1.csv", "vis:/maps/late")["id"]
        callers(CALLERS.replace('"archive:/species/", "archive:/one.csv"', '"archive:/one.csv"'))
        ask(world, "POST", "/api/v1/hosts/vis/resume", token=TOKENS["boss"])

        job = ended(world, boss, job_id)

    assert (job["status"], job["code"]) == ("FAILED", "not-allowed")
    assert not (world.roots.vis / "maps" / "late").exists()


def test_what_was_allowed_once_is_judged_again(world, proxy_of, callers):
    """When a move is retried, and when a key is used again."""
    with proxy_of("portal") as portal:
        failed = portal.move("archive:/species/missing", "vis:/maps/", {"key": "judged"})["id"]
        ended(world, portal, failed)
        callers(CALLERS.replace('"archive:/species/", "archive:/one.csv"', '"archive:/one.csv"'))

        retried = portal.retry(failed)
        reused = portal.move("archive:/species/missing", "vis:/maps/", {"key": "judged"})

    assert (retried["status"], retried["code"]) == ("REJECTED", "unknown-source")
    assert reused == retried


def test_the_page_shows_what_its_caller_sees(world, proxy_of):
    with proxy_of("portal") as portal:
        portal.move("archive:/species/1.csv", "vis:/maps/", {"label": "label of the portal"})

    def page(name):
        connection = HTTPConnection("127.0.0.1", world.service.port, timeout=30)
        connection.request("GET", "/", headers={"Authorization": basic(name, TOKENS[name])})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, text

    assert "label of the portal" in page("portal")[1]
    assert "label of the portal" in page("boss")[1]
    status, others = page("writer")
    assert status == 200
    assert "label of the portal" not in others
    assert "secret" not in others


@pytest.mark.parametrize(
    "text", ["", "[callers]\n", CALLERS + "nonsense\n", CALLERS.replace("verbs  ", "verb  "), CALLERS.rstrip("\n]")]
)
def test_a_file_with_mistakes_is_refused_and_the_old_one_stays(world, proxy_of, callers, text):
    callers(text)

    with proxy_of("portal") as proxy:
        assert proxy.hosts()
    eventually(lambda: "callers-refused" in world.service.log("web"), "it is logged")


def test_a_file_that_others_can_read_is_refused_and_the_old_one_stays(world, proxy_of, callers):
    world.callers.chmod(0o644)
    callers_of_others = CALLERS.replace("[callers.portal]", "[callers.other]")
    world.callers.write_text(callers_of_others)

    with proxy_of("portal") as proxy:
        assert proxy.hosts()
    eventually(lambda: "chmod 600" in world.service.log("web"), "it is logged")


def test_a_plan_says_what_may_not_be_read_or_written(proxy_of, callers):
    callers(CALLERS.replace('"slow:/species/"', '"vis:/maps/"'))
    with proxy_of("portal") as portal:
        assert "code" not in portal.plan("archive:/species/1.csv", "vis:/maps/")
        assert portal.plan("archive:/species/link", "vis:/maps/")["code"] == "not-allowed"
        assert portal.plan("archive:/species/1.csv", "vis:/maps/out/")["code"] == "not-allowed"
        assert portal.plan("archive:/species/folder", "vis:/maps/out/")["code"] == "not-allowed"


def quota(callers, text):
    """Gives the portal a quota; its table follows that of another caller."""
    callers(CALLERS.replace("[callers.writer]", f"[callers.portal.quota]\n{text}\n\n[callers.writer]"))


def test_requests_beyond_the_rate_are_told_when_to_come_again(world, proxy_of, callers):
    quota(callers, "requests_per_second = 2")
    answers = [ask(world, "GET", "/api/v1/datasets", token=TOKENS["portal"]) for _ in range(4)]

    assert [status for status, _, _ in answers[:2]] == [200, 200]
    status, headers, problem = answers[-1]
    assert (status, problem["code"]) == (429, "too-many-requests")
    assert headers["Retry-After"] == "1"
    with proxy_of("portal") as proxy, pytest.raises(ProtocolError) as refused:
        proxy.hosts()
    assert refused.value.errcode == 429
    assert ask(world, "GET", "/api/v1/datasets", token=TOKENS["writer"])[0] == 200
    eventually(lambda: ask(world, "GET", "/api/v1/datasets", token=TOKENS["portal"])[0] == 200, "it is served again")


def test_every_call_of_a_multicall_counts(world, proxy_of, callers):
    quota(callers, "requests_per_second = 5")

    def served():
        return ask(world, "GET", "/api/v1/datasets", token=TOKENS["portal"])[0] == 200

    eventually(served, "it is served")
    with proxy_of("portal") as proxy:
        eventually(served, "it is served")
        time.sleep(0.3)
        proxy.system.multicall([{"methodName": "check", "params": [1]}] * 10)

    assert not served()
    eventually(served, "the calls are paid for")


def test_no_more_moves_wait_than_may_and_the_same_key_is_no_further_one(world, proxy_of, callers):
    quota(callers, "queued = 2")
    ask(world, "POST", "/api/v1/hosts/vis/pause", token=TOKENS["boss"])
    with proxy_of("portal") as proxy, proxy_of("writer") as writer:
        moves = [proxy.move("archive:/species/1.csv", "vis:/maps/q", {"key": f"queued {n}"}) for n in range(3)]
        assert [move["status"] for move in moves] == ["PENDING", "PENDING", "REJECTED"]
        assert moves[2]["code"] == "quota"
        assert "2 moves of portal wait already" in moves[2]["reason"]
        assert proxy.move("archive:/species/1.csv", "vis:/maps/q", {"key": "queued 0"}) == moves[0]
        assert writer.move("archive:/species/1.csv", "vis:/maps/w")["status"] == "PENDING"
        ask(world, "POST", "/api/v1/hosts/vis/resume", token=TOKENS["boss"])
        for move in moves[:2]:
            assert ended(world, proxy, move["id"])["status"] == "COMPLETED"
        last = proxy.move("archive:/species/1.csv", "vis:/maps/q", {"key": "queued 2"})
        assert ended(world, proxy, last["id"])["status"] == "COMPLETED"


def test_a_day_has_so_many_bytes_and_a_move_so_many_files(world, proxy_of, callers):
    quota(callers, "bytes_per_day = '20B'\nfiles_per_move = 2")
    (world.roots.archive / "species" / "many").mkdir(exist_ok=True)
    for number in range(5):
        (world.roots.archive / "species" / "many" / str(number)).touch()
    with proxy_of("portal") as proxy:
        many = ended(world, proxy, proxy.move("archive:/species/many", "vis:/maps/")["id"])
        assert (many["status"], many["code"]) == ("FAILED", "too-large")
        assert ended(world, proxy, proxy.move("archive:/species/1.csv", "vis:/maps/day")["id"])["status"] == "COMPLETED"
        refused = proxy.move("archive:/species/1.csv", "vis:/maps/day")
        assert refused["code"] == "quota"
        assert "no longer count at 20" in refused["reason"]


def trail(world):
    return [json.loads(line) for line in (world.service.directory / "state" / "audit.jsonl").read_text().splitlines()]


def test_calls_that_change_something_are_on_record_before_they_are_answered(world, proxy_of):
    with proxy_of("portal") as proxy:
        accepted = proxy.move("archive:/species/1.csv", "vis:/maps/\u202eaudit", {"label": "a\nb"})
        line = [line for line in trail(world) if line["event"] == "call"][-1]
        proxy.move("secret:/x", "vis:/maps/")
        refused = trail(world)[-1]
        proxy.cancel(999_999)
        cancelled = trail(world)[-1]
    with proxy_of("reader") as reader, pytest.raises(Fault):
        reader.retry(1)
    ask(world, "GET", "/api/v1/moves", token="dm_portal_wrong")

    assert (line["caller"], line["method"], line["answer"], line["move"]) == (
        "portal",
        "move",
        "PENDING",
        accepted["id"],
    )
    assert (line["token"], line["address"]) == (digest("portal")[:8], "127.0.0.1")
    assert line["resolved"]["sources"] == ["archive:/species/1.csv"]
    assert line["by"] == {"sources": ["archive:/species/"], "destinations": ["vis:/maps/"]}
    assert (refused["answer"], refused["code"]) == ("REJECTED", "unknown-source")
    assert (cancelled["method"], cancelled["code"]) == ("cancel", "no-such-job")
    not_allowed, stranger = trail(world)[-2:]
    assert (not_allowed["caller"], not_allowed["method"], not_allowed["answer"]) == ("reader", "retry", "not-allowed")
    assert stranger["event"] == "login-refused"
    assert [line["callers"] for line in trail(world) if line["event"] == "callers-read"]
    text = (world.service.directory / "state" / "audit.jsonl").read_text()
    assert text.isascii()
    assert not [token for token in TOKENS.values() if token in text]
    assert first_broken_line(world.service.directory / "state" / "audit.jsonl") is None
    assert (world.service.directory / "state" / "audit.jsonl").stat().st_mode & 0o777 == 0o600


def test_nobody_is_answered_while_the_trail_cannot_be_written(world, proxy_of):
    path = world.service.directory / "state" / "audit.jsonl"
    path.rename(path.with_suffix(".aside"))
    path.symlink_to("/dev/full")
    try:
        with proxy_of("portal") as proxy:
            with pytest.raises(Fault) as fault:
                proxy.move("archive:/species/1.csv", "vis:/maps/unrecorded")
            assert proxy.check(999_999)["status"] == "REJECTED"
        assert fault.value.faultCode == -32010
        assert ask(world, "GET", "/api/v1/moves", token="wrong")[0] == 401
        retried = ask(world, "POST", "/api/v1/moves/999999/retry", token=TOKENS["portal"])
        assert (retried[0], retried[2]["code"]) == (503, "service-unavailable")
    finally:
        path.unlink()
        path.with_suffix(".aside").rename(path)


def test_nobody_fills_the_disk_with_wrong_tokens(world):
    before = len(trail(world))
    for _ in range(MOST_STRANGERS + 40):
        assert ask(world, "GET", "/api/v1/moves", token="wrong")[0] == 401

    assert len(trail(world)) - before <= MOST_STRANGERS


def test_a_right_that_is_lost_while_a_move_runs_stops_it_before_it_publishes(world, proxy_of, callers):
    (world.roots.archive / "species" / "large").write_bytes(os.urandom(8_000_000))
    with proxy_of("portal") as portal, proxy_of("boss") as boss:
        job_id = portal.move("slow:/species/large", "vis:/maps/later")["id"]
        eventually(lambda: portal.check(job_id)["phase"] == "transferring", "it is under way")
        callers(CALLERS.replace('"slow:/species/", ', ""))

        job = ended(world, boss, job_id)

    assert (job["status"], job["code"]) == ("FAILED", "not-allowed")
    assert not (world.roots.vis / "maps" / "later").exists()
    eventually(lambda: not list((world.roots.vis / "maps").glob(".data_mover-*")), "nothing is left behind")


def test_callers_get_the_same_share_of_the_workers(world, proxy_of, callers):
    """Half of them each, within a tenth, although one was there long before."""
    counts = {"portal": 60, "writer": 60}
    ask(world, "POST", "/api/v1/hosts/vis/pause", token=TOKENS["boss"])
    owners = dict[int, str]()
    for name, count in counts.items():
        with proxy_of(name) as proxy:
            for number in range(count):
                owners[proxy.move("archive:/species/1.csv", f"vis:/maps/share-{name}-{number}")["id"]] = name
    ask(world, "POST", "/api/v1/hosts/vis/resume", token=TOKENS["boss"])

    with proxy_of("boss") as boss:
        eventually(lambda: boss.check(max(owners))["status"] == "COMPLETED", "all have completed", 120)
        at = {job_id: boss.check(job_id)["ended_at"] for job_id in owners}
    first = [owners[job_id] for job_id in sorted(owners, key=lambda job_id: at[job_id])][:60]

    assert 27 <= first.count("portal") <= 33


VERBS = {
    "move": lambda proxy: proxy.move("archive:/species/1.csv", "vis:/maps/verb"),
    "plan": lambda proxy: proxy.plan("archive:/species/1.csv", "vis:/maps/verb"),
    "check": lambda proxy: proxy.check(999_999),
    "wait": lambda proxy: proxy.wait(999_999, 0),
    "check_many": lambda proxy: proxy.check_many([999_999]),
    "jobs": lambda proxy: proxy.jobs(),
    "files": lambda proxy: proxy.files(999_999),
    "events": lambda proxy: proxy.events(999_999),
    "explain": lambda proxy: proxy.explain(999_999),
    "cancel": lambda proxy: proxy.cancel(999_999),
    "retry": lambda proxy: proxy.retry(999_999),
    "hosts": lambda proxy: proxy.hosts(),
    "datasets": lambda proxy: proxy.datasets(),
}
READING = {"check", "wait", "check_many", "jobs", "files", "events", "explain"}
ALLOWED = {
    "portal": set(VERBS),
    "writer": set(VERBS),
    "boss": set(VERBS),
    "reader": READING | {"hosts", "datasets"},
}


@pytest.mark.parametrize("method", VERBS)
@pytest.mark.parametrize("name", ALLOWED)
def test_every_caller_has_its_verbs_and_no_other(proxy_of, name, method):
    with proxy_of(name) as proxy:
        if method in ALLOWED[name]:
            VERBS[method](proxy)
        else:
            with pytest.raises(Fault, match="is not among the verbs of reader") as refused:
                VERBS[method](proxy)
            assert refused.value.faultCode == -32003


SOURCES = {
    "archive:/species/1.csv": {"portal", "writer", "boss"},
    "archive:/species/": {"portal", "writer", "boss"},
    "archive:/species-old/x": {"boss"},
    "archive:/one.csv": {"portal", "boss"},
    "archive:/one.csv.old": {"boss"},
    "archive:/": {"boss"},
    "archive:/layers/7.tif": {"boss"},
    "layers:7": {"portal", "boss"},
    "hidden:x": {"boss"},
    "secret:/x": {"boss"},
    "vis:/maps/x": {"boss"},
    "http://127.0.0.1:9/public/x": {"portal", "boss"},
    "http://127.0.0.1:9/public-old": {"boss"},
    "http://127.0.0.1:9/": {"boss"},
}
DESTINATIONS = {
    "vis:/maps/": {"portal", "writer", "boss"},
    "vis:/maps/deep/er": {"portal", "writer", "boss"},
    "vis:/maps-old/": {"boss"},
    "vis:/drop/x": {"writer", "boss"},
    "vis:/": {"boss"},
    "archive:/species/": {"boss"},
    "secret:/": {"boss"},
}


@pytest.fixture(scope="module")
def paused(world):
    """What is accepted waits until the end."""
    for host in ("vis", "archive", "secret"):
        ask(world, "POST", f"/api/v1/hosts/{host}/pause", token=TOKENS["boss"])
    yield
    for host in ("vis", "archive", "secret"):
        ask(world, "POST", f"/api/v1/hosts/{host}/resume", token=TOKENS["boss"])


@pytest.mark.parametrize("name", ["portal", "writer", "boss"])
@pytest.mark.parametrize("destination", DESTINATIONS)
@pytest.mark.parametrize("source", SOURCES)
def test_every_caller_reaches_its_sources_and_destinations_and_no_other(paused, proxy_of, name, source, destination):
    with proxy_of(name) as proxy:
        accepted = proxy.move(source, destination)["status"] == "PENDING"

    assert accepted is (name in SOURCES[source] and name in DESTINATIONS[destination])


def test_no_token_is_found_anywhere_whatever_failed(world, proxy_of, redis_url):
    """Last, after all that went wrong above."""
    canary = "dm_portal_canary-canary-canary"
    for authorization in (
        f"Bearer {canary}",
        basic("portal", canary),
        basic(canary, "x"),
        f"Bearer {canary}.a.b",
        canary,
    ):
        ask(world, "GET", "/api/v1/moves", authorization=authorization)
        answered(world.service.port, call_request(b"\0", f"Authorization: {authorization}"))
    with proxy_of("portal") as proxy:
        proxy.move("archive:/species/1.csv", {"host": canary, "path": 7})
    secrets = [*TOKENS.values(), basic("portal", TOKENS["portal"]).removeprefix("Basic ")]
    written = [path for path in world.service.directory.rglob("*") if path.is_file() and path.name != "callers.toml"]
    texts = {path: path.read_bytes() for path in written}
    with Redis.from_url(redis_url) as redis:
        texts["redis"] = b"".join(redis.dump(key) or b"" for key in redis.keys("*"))
    for process in world.service.processes:
        texts[f"process {process.pid}"] = Path(f"/proc/{process.pid}/cmdline").read_bytes()

    for secret in secrets:
        assert [where for where, text in texts.items() if secret.encode() in text] == []
    canaries = [where for where, text in texts.items() if canary.encode() in text]
    assert [where for where in canaries if getattr(where, "suffix", "") != ".jsonl"] == []
