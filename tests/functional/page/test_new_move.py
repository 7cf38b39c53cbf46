"""The form for a new move, in a browser; and the page of a service that has moved nothing yet."""

import pytest
from playwright.sync_api import expect

from tests.servers.browser import new_page, serious_faults
from tests.servers.deployment import deployment


def test_a_move_is_planned_and_then_submitted(page, proxy, service, roots):
    page.goto("/")
    page.get_by_role("link", name="New move").click()
    page.get_by_label("From").fill("archive:/layers/2050/")
    page.get_by_label("To", exact=True).fill("visualizer:/planned/")
    page.get_by_text("More").click()
    page.get_by_label("Label").fill("planned on the page")
    page.get_by_role("button", name="Show what would happen").click()
    plan = page.locator("#plan")
    expect(plan).to_contain_text("The move can be done.")  # the page asks again until the worker has looked
    expect(plan).to_contain_text("3, 3 kB")
    expect(plan).to_contain_text("visualizer:/planned/2050")
    assert serious_faults(page) == []
    assert not (roots.visualizer / "planned").exists()

    page.get_by_role("button", name="Move", exact=True).click()
    expect(page.locator("#notices")).to_contain_text("The move is on record")
    expect(page.locator("#now")).to_contain_text("It has ended COMPLETED")
    job_id = int(page.url.rpartition("/")[2])
    job = proxy.check(job_id)
    assert (job["label"], job["files_total"]) == ("planned on the page", 3)
    assert (roots.visualizer / "planned" / "2050" / "0.tif").exists()


def test_a_plan_says_what_would_fail(page):
    page.goto("/new?source=species:99")
    page.get_by_role("button", name="Show what would happen").click()

    expect(page.locator("#plan")).to_contain_text("There is no such file: archive:/species/99.csv")
    expect(page.get_by_role("button", name="Move anyway")).to_be_visible()


def test_a_refused_move_says_why_and_keeps_what_was_written(page):
    page.goto("/new")
    page.get_by_label("From").fill("nowhere:/a")
    page.get_by_label("To", exact=True).fill("visualizer:/")
    page.get_by_role("button", name="Show what would happen").click()

    expect(page.get_by_role("alert")).to_contain_text("Unknown source 'nowhere'")
    expect(page.get_by_label("From")).to_have_value("nowhere:/a")
    assert serious_faults(page) == []


def test_several_sources_are_lines_and_a_form_that_is_sent_twice_is_one_move(page, service):
    page.goto("/new")
    page.get_by_label("From").fill("archive:/species/1.csv\n\narchive:/species/2.csv\n")
    page.get_by_label("To", exact=True).fill("visualizer:/several/")
    page.get_by_role("button", name="Show what would happen").click()
    expect(page.locator("#plan")).to_contain_text("The move can be done.")
    page.get_by_role("button", name="Move", exact=True).click()
    expect(page.locator("#notices")).to_contain_text("The move is on record")
    first = page.url
    page.go_back()
    page.get_by_role("button", name="Move", exact=True).click()
    expect(page).to_have_url(first)

    job = service.ended(int(first.rpartition("/")[2]))
    assert (job["status"], job["files_total"]) == ("COMPLETED", 2)


def test_a_data_type_leads_to_the_form(page):
    page.goto("/types")
    page.locator("#type-species").get_by_role("link", name="Move one").click()

    expect(page.get_by_label("From")).to_have_value("species:")


@pytest.fixture
def empty_url(tmp_path, redis_url, registry):
    with deployment(tmp_path / "service", redis_url, registry) as service:
        service.start_web()
        yield f"http://127.0.0.1:{service.port}"


def test_who_has_nothing_yet_is_shown_how_to_begin(browser, empty_url):
    with new_page(browser, empty_url) as page:
        page.goto("/")
        expect(page.locator("#main")).to_contain_text("Nothing has been moved yet")
        expect(page.locator("#main")).to_contain_text(f'ServerProxy("{empty_url}/data_mover")')
        expect(page.locator("#problems")).to_contain_text("data_mover worker")
        assert serious_faults(page) == []
        page.get_by_role("link", name="Move something").click()
        expect(page.get_by_label("From")).to_be_focused()
