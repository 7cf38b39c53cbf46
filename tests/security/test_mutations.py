"""A minute of changed requests: see `mutations`, which as a command sends as many as you like."""

from tests.security.mutations import LARGEST_GROWTH, send_all
from tests.security.test_attacks import assert_awake
from tests.servers.processes import rss

SECONDS = 60


def test_changed_requests_break_nothing(service):
    send_all(service, 500, seed=1, seconds=10)  # until all that is loaded on demand is
    before = rss(service.web.pid)

    outcome = send_all(service, 10**9, seed=2, seconds=SECONDS)

    assert outcome.broken == []
    assert sum(outcome.statuses.values()) > 1_000
    assert "Traceback" not in service.log("web")
    assert rss(service.web.pid) - before < LARGEST_GROWTH
    assert_awake(service)
