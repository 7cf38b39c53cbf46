"""What each caller may do, and what each can find out."""

import os
import statistics
import time
from http.client import HTTPConnection
from xmlrpc.client import Fault

import pytest

from tests.functional.callers.service import CALLERS, TOKENS, ask, basic, ended
from tests.servers.processes import eventually


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


def test_a_plan_says_what_may_not_be_read_or_written(proxy_of, callers):
    callers(CALLERS.replace('"slow:/species/"', '"vis:/maps/"'))
    with proxy_of("portal") as portal:
        assert "code" not in portal.plan("archive:/species/1.csv", "vis:/maps/")
        assert portal.plan("archive:/species/link", "vis:/maps/")["code"] == "not-allowed"
        assert portal.plan("archive:/species/1.csv", "vis:/maps/out/")["code"] == "not-allowed"
        assert portal.plan("archive:/species/folder", "vis:/maps/out/")["code"] == "not-allowed"


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
