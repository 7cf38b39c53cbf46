"""The page of failures, and the chart."""

import pytest
from playwright.sync_api import expect

from tests.servers.browser import serious_faults


@pytest.fixture(scope="module")
def failed(service):
    """Two moves that fail for the same cause, and one that arrives."""
    with service.proxy as proxy:
        ids = [proxy.move("species", 98)["id"], proxy.move("species", 97)["id"], proxy.move("species", 1)["id"]]
    for job_id in ids:
        service.ended(job_id)
    return ids[:2]


def test_failures_lead_to_their_moves_which_are_retried_together(page, proxy, failed):
    page.goto("/failures")
    group = page.locator("#group-no-such-file-archive")
    expect(group).to_contain_text("There is no such file")
    expect(group).to_contain_text("Whoever asked for it can fix it.")
    assert serious_faults(page) == []
    group.get_by_role("link", name="moves").click()

    expect(page.get_by_label("Filter moves")).to_have_value("status:failed code:no-such-file host:archive")
    for job_id in failed:
        page.get_by_label(f"Select move {job_id}").check()
    page.get_by_role("button", name="Retry selected").click()
    expect(page.locator("#notices")).to_contain_text("2 moves are tried again.")


def test_a_chart_shows_what_arrived(page, failed):
    page.set_viewport_size({"width": 360, "height": 800})
    page.goto("/hosts")

    expect(page.locator("#chart")).to_contain_text("arrived in 24 hours")
    assert page.locator("#chart rect").count() in (1, 2)  # an hour may begin meanwhile
    assert serious_faults(page) == []
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
