"""The pages in a browser."""

import re

import pytest
from playwright.sync_api import expect

from tests.servers.browser import serious_faults


@pytest.fixture(scope="module")
def moves(service):
    """A folder that has arrived, and a move that has failed."""
    with service.proxy as proxy:
        ids = [proxy.move("layers", "2050")["id"], proxy.move("species", 99, {"label": "missing"})["id"]]
    for job_id in ids:
        service.ended(job_id)
    return ids


def test_a_move_runs_before_ones_eyes(page, proxy):
    page.goto("/")
    page.evaluate("window.stayed = true")
    job_id = proxy.move("slow:/large", "visualizer:/watched")["id"]
    row = page.locator(f"#move-{job_id}")

    expect(row).to_contain_text("transferring")
    expect(row).to_contain_text(re.compile(r"of 8 MB · [\d.]+ [kM]B/s · [\d.]+ s left"))
    row.locator("summary").click()
    expect(row).to_contain_text("completed")
    expect(row.get_by_role("link", name="Show what happens")).to_be_visible()  # the menu has stayed open
    assert page.evaluate("window.stayed")


def test_a_row_leads_to_why(page, moves):
    page.goto("/")
    page.locator(f"#move-{moves[1]} summary").click()
    page.get_by_role("link", name="Why it failed").click()

    expect(page).to_have_url(f"/moves/{moves[1]}")
    expect(page.locator("#now")).to_contain_text("There is no such file")
    expect(page.locator("#timeline")).to_contain_text("Submitted")


def test_a_hash_is_copied_whole(page, proxy, service):
    job_id = proxy.move("species", 3)["id"]
    sha256 = service.ended(job_id)["sha256"]
    page.context.grant_permissions(["clipboard-read", "clipboard-write"])
    page.goto(f"/moves/{job_id}")
    page.locator("#now").get_by_role("button", name="Copy the hash").click()

    expect(page.locator("#now")).to_contain_text("Copied")
    assert page.evaluate("navigator.clipboard.readText()") == sha256
    assert sha256 not in page.locator("#now").inner_text()


def test_the_filter_box_suggests_words_and_keys_choose_one(page, moves):
    page.goto("/")
    page.keyboard.press("/")
    page.keyboard.type("status:fa")
    expect(page.get_by_role("option")).to_have_text(["status:failed"])
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.keyboard.type("host:arch")
    page.get_by_role("option", name="host:archive").click()
    page.keyboard.press("Enter")

    expect(page).to_have_url("/?q=status%3Afailed+host%3Aarchive+")
    expect(page.locator(f"#move-{moves[1]}")).to_be_visible()
    expect(page.locator(f"#move-{moves[0]}")).to_have_count(0)


def test_a_page_that_nobody_looks_at_asks_for_nothing(page, browser):
    page.goto("/")
    with page.expect_response("/"):
        pass
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true, configurable: true})")
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    asked = list[str]()
    page.on("request", lambda request: asked.append(request.url))
    page.wait_for_timeout(1_500)
    assert asked == []

    page.evaluate("Object.defineProperty(document, 'hidden', {value: false})")
    with page.expect_response("/"):
        page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")


def test_without_a_script_a_page_says_the_same(browser, host_url, moves):
    with browser.new_context(base_url=host_url, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto("/?q=status:failed")

        expect(page.locator(f"#move-{moves[1]}")).to_contain_text("There is no such file")
        expect(page.get_by_role("button", name="Copy")).to_have_count(0)


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_everybody_can_use_every_page(browser, host_url, moves, scheme, width):
    paths = ["/", "/?q=nonsense", "/?q=label:nothing", "/failures", "/hosts", "/types", "/new", "/nothing"]
    paths += [f"/moves/{moves[0]}", f"/moves/{moves[0]}?state=failed", f"/moves/{moves[1]}", "/moves/999999"]
    with browser.new_context(
        base_url=host_url, color_scheme=scheme, viewport={"width": width, "height": 800}
    ) as context:
        page = context.new_page()
        for path in paths:
            page.goto(path)
            assert serious_faults(page) == [], path
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path
