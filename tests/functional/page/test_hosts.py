"""The pages of the registry."""

import pytest
from playwright.sync_api import expect

from tests.servers.browser import serious_faults
from tests.servers.processes import eventually


@pytest.fixture
def blocked(proxy):
    """A move to a host that is away, whose circuit is open; it is gone afterwards."""
    job_id = proxy.move("archive:/species/1.csv", "away:/blocked")["id"]
    eventually(lambda: proxy.check(job_id)["phase"] == "blocked", "the circuit is open")
    yield job_id
    proxy.cancel(job_id)


def test_a_host_says_how_it_is_and_leads_to_its_moves(page, proxy, service, blocked):
    service.ended(proxy.move("species", 1)["id"])
    page.goto("/hosts")

    away, archive = page.locator("#host-away"), page.locator("#host-archive")
    expect(away).to_contain_text("circuit open")
    expect(away).to_contain_text("it refuses the connection")
    expect(away).to_contain_text("It is tried again")
    expect(archive).to_contain_text("ok")
    expect(archive).to_contain_text("reached")
    away.get_by_role("link", name="1 waiting").click()
    expect(page.locator(f"#move-{blocked}")).to_be_visible()


def test_a_host_is_paused_and_resumed(page, proxy, service):
    page.goto("/hosts")
    page.get_by_role("button", name="Pause visualizer").click()
    expect(page.locator("#notices")).to_contain_text("visualizer is paused")
    job_id = proxy.move("species", 1)["id"]
    expect(page.locator("#host-visualizer")).to_contain_text("paused")
    expect(page.locator("#host-visualizer")).to_contain_text("1 waiting")
    page.goto(f"/moves/{job_id}")
    expect(page.locator("#now")).to_contain_text("The host visualizer is paused")

    page.goto("/hosts")
    page.get_by_role("button", name="Resume visualizer").click()
    expect(page.locator("#notices")).to_contain_text("visualizer is resumed.")
    assert service.ended(job_id)["status"] == "COMPLETED"
    expect(page.locator("#host-visualizer")).to_contain_text("ok")


def test_a_problem_of_the_registry_is_on_every_page_until_it_is_gone(page, service):
    registry = service.directory / "registry.toml"
    before = registry.read_text()
    page.goto("/types")
    registry.write_text(before + '[hosts.odd]\nprotocol = "gopher"\n')
    expect(page.locator("#signs")).to_contain_text("1 problem in the registry")
    expect(page.locator("#problems")).to_contain_text("hosts.odd.protocol")
    registry.write_text(before)
    expect(page.locator("#problems")).to_be_empty()


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_everybody_can_use_the_registry(browser, host_url, blocked, scheme, width):
    with browser.new_context(
        base_url=host_url, color_scheme=scheme, viewport={"width": width, "height": 800}
    ) as context:
        page = context.new_page()
        for path in ("/hosts", "/types"):
            page.goto(path)
            assert serious_faults(page) == [], path
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
        expect(page.locator("#type-species")).to_contain_text("Occurrence records")
