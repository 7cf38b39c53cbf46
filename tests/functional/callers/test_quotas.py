"""Quotas of callers, and their shares."""

from contextlib import suppress
from xmlrpc.client import ProtocolError

import pytest

from tests.functional.callers.service import CALLERS, TOKENS, ask, ended
from tests.servers.processes import eventually


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

    def ten_calls():
        with proxy_of("portal") as proxy, suppress(ProtocolError):
            return proxy.system.multicall([{"methodName": "check", "params": [1]}] * 10)

    eventually(ten_calls, "they are served")

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
