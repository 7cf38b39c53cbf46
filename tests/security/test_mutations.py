"""Changed requests by the thousand: see `mutations`, which as a command sends as many as you like."""

import pytest

from tests.security.mutations import LARGEST_GROWTH, send_all
from tests.security.test_attacks import assert_awake
from tests.servers.processes import rss

#: if they take longer, that has to do
SECONDS = 60


@pytest.mark.parametrize("count", [2_000, pytest.param(10_000, marks=pytest.mark.soak)])
def test_changed_requests_break_nothing(service, count):
    send_all(service, 500, seed=1, seconds=10)  # until all that is loaded on demand is
    before = rss(service.web.pid)

    outcome = send_all(service, count, seed=2, seconds=SECONDS * count / 2_000)

    assert outcome.broken == []
    assert sum(outcome.statuses.values()) > count / 2
    assert "Traceback" not in service.log("web")
    assert rss(service.web.pid) - before < LARGEST_GROWTH
    assert_awake(service)
