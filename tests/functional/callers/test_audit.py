"""The audit trail, and what is written nowhere."""

import json
from pathlib import Path
from xmlrpc.client import Fault

import pytest
from redis import Redis

from data_mover.store.audit_trail import MOST_STRANGERS, first_broken_line
from tests.functional.callers.service import TOKENS, ask, basic, digest
from tests.servers.http import answered, call_request


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
    ask(world, "GET", "/api/v1/moves", authorization=basic("portal", "dm_portal_wrong"))

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
    assert (stranger["event"], stranger["name"]) == ("login-refused", "portal")
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
    assert [where for where, text in texts.items() if canary.encode() in text] == []
