"""What people do to moves on the pages, over HTTP and in a browser."""

import http.client
import re
import secrets
from collections import Counter
from typing import Any
from urllib.parse import urlencode
from xmlrpc.client import MultiCall

import pytest
from playwright.sync_api import expect

from tests.servers.browser import serious_faults


@pytest.fixture(scope="module")
def paused(service):
    """A host whose moves wait."""
    for action in ("pause", "resume"):
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        connection.request("POST", f"/api/v1/hosts/away/{action}")
        assert connection.getresponse().status == 200
        connection.close()
        if action == "pause":
            yield


@pytest.fixture
def waiting(paused, proxy):
    """Moves that wait, and are gone afterwards."""
    ids = [proxy.move("archive:/species/1.csv", f"away:/{number}")["id"] for number in range(3)]
    yield ids
    for job_id in ids:
        proxy.cancel(job_id)


@pytest.fixture
def send(service):
    """Sends a form as a browser does that has a page open; returns status and where it leads."""

    def post(path, fields, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        connection.request("GET", "/")
        response = connection.getresponse()
        cookie = response.headers["Set-Cookie"].partition(";")[0]
        right = re.search(r'name="csrf_token" value="([^"]+)', response.read().decode())[1]
        fields = {"csrf_token": right, **fields}
        sent = {"Cookie": cookie, "Content-Type": "application/x-www-form-urlencoded"}
        sent |= {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request("POST", path, urlencode(fields, doseq=True), sent)
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return response.status, response.headers.get("Location", ""), text

    return post


def test_a_form_cancels_and_leads_back(send, proxy, waiting, host_url):
    status, location, _ = send("/moves/cancel", {"move": waiting[:2], "back": "/?q=status:pending"})

    assert (status, location) == (303, f"{host_url}/?q=status:pending")
    assert [proxy.check(job_id)["status"] for job_id in waiting] == ["CANCELLED", "CANCELLED", "PENDING"]


@pytest.mark.parametrize(
    "back", ["https://elsewhere.example/", "//elsewhere.example/", "/\\\\elsewhere.example", "javascript:x"]
)
def test_a_form_leads_to_no_other_site(send, waiting, host_url, back):
    assert send("/moves/cancel", {"move": waiting[0], "back": back})[1] == f"{host_url}/"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://elsewhere.example"},
        {"Origin": "null"},
        {"Sec_Fetch_Site": "cross-site"},
        {"Sec_Fetch_Site": "same-site"},
    ],
)
def test_a_form_of_another_site_does_nothing(send, proxy, waiting, headers):
    assert send("/moves/cancel", {"move": waiting[0]}, **headers)[0] == 403
    assert proxy.check(waiting[0])["status"] == "PENDING"


@pytest.mark.parametrize("token", ["", "0" * 40])
def test_a_form_without_the_token_of_its_session_does_nothing(send, proxy, waiting, token):
    status, _, text = send("/moves/cancel", {"move": waiting[0], "csrf_token": token})

    assert status == 400
    assert "nothing was done" in text
    assert proxy.check(waiting[0])["status"] == "PENDING"


@pytest.mark.parametrize(
    "content_type", ["multipart/form-data; boundary=x", "application/x-www-form-urlencoded; charset=odd", "text/plain"]
)
def test_a_form_that_is_none_is_refused(send, waiting, content_type):
    assert send("/moves/cancel", {"move": waiting[0]}, Content_Type=content_type)[0] == 415


@pytest.mark.parametrize("move", [b"\xff", "", "1e9", "-1", "9" * 30])
def test_a_form_that_names_no_move_says_so(send, waiting, move):
    assert send("/moves/cancel", {"move": move})[0] == 303


def test_a_move_is_cancelled_and_retried_by_its_menu(page, proxy, waiting):
    page.goto("/")
    row = page.locator(f"#move-{waiting[0]}")
    row.locator("summary").click()
    row.get_by_role("button", name="Cancel").click()
    expect(page.locator("#notices")).to_contain_text("One move is cancelled.")
    expect(row).to_contain_text("cancelled")

    row.locator("summary").click()
    row.get_by_role("button", name="Retry").click()
    expect(page.locator("#notices")).to_contain_text("This move does it again.")
    retried = int(page.url.rpartition("/")[2])
    assert proxy.check(retried)["retry_of"] == waiting[0]
    page.get_by_role("button", name="Cancel").click()
    expect(page.locator("#now")).to_contain_text("It has ended CANCELLED")


def test_many_moves_are_cancelled_and_retried_together(page, proxy, waiting):
    page.goto("/?q=host:away+status:pending")
    cancel = page.get_by_role("button", name="Cancel selected")
    expect(cancel).to_be_disabled()
    page.get_by_label(f"Select move {waiting[0]}").check()
    page.get_by_label("Select all").check()
    expect(page.locator("#selected")).to_have_text("3 selected")
    with page.expect_response(lambda response: response.request.method == "GET" and response.status in (200, 304)):
        pass  # the page renews itself, and the selection stays
    expect(page.locator("#selected")).to_have_text("3 selected")
    cancel.click()
    expect(page.locator("#notices")).to_contain_text("3 moves are cancelled.")
    expect(page.locator("#moves")).to_contain_text("No move matches.")
    assert {proxy.check(job_id)["status"] for job_id in waiting} == {"CANCELLED"}

    page.goto("/?q=host:away+status:cancelled")
    for job_id in waiting[:2]:
        page.get_by_label(f"Select move {job_id}").check()
    page.get_by_role("button", name="Retry selected").click()
    expect(page.locator("#notices")).to_contain_text("2 moves are tried again.")
    retried = proxy.jobs({"host": "away", "status": "PENDING"})
    assert {job["retry_of"] for job in retried} == set(waiting[:2])
    for job in retried:
        proxy.cancel(job["id"])


@pytest.fixture
def label():
    return f"many-{secrets.token_hex(4)}"


@pytest.fixture
def many(paused, proxy, label):
    """More moves than a page shows; one of them is cancelled already."""
    ids = submitted(proxy, label, 60)
    proxy.cancel(ids[7])
    yield ids
    for job in proxy.jobs({"host": "away", "status": "PENDING", "limit": 500}):
        proxy.cancel(job["id"])


def submitted(proxy, label, count):
    calls = MultiCall(proxy)
    for number in range(count):
        calls.move("archive:/species/1.csv", f"away:/many/{number}", {"label": label})
    answers: Any = calls()
    return [each["id"] for each in answers]


def statuses(proxy, ids):
    return Counter(job["status"] for job in proxy.check_many(ids))


def test_all_that_match_are_cancelled_and_retried_not_only_those_that_are_shown(page, proxy, label, many):
    page.goto(f"/?q=label:{label}")
    matching = page.get_by_label("All 60 that match")
    expect(matching).to_be_hidden()
    page.get_by_label("Select all").check()
    expect(page.locator("#selected")).to_have_text("50 selected")
    matching.check()
    with page.expect_response(lambda response: response.request.method == "GET" and response.status in (200, 304)):
        pass  # the page renews itself, and the selection stays
    expect(matching).to_be_checked()
    page.get_by_role("button", name="Cancel selected").click()
    expect(page.locator("#all")).to_contain_text(
        f"60 moves match label:{label}. Those that have not ended are cancelled"
    )
    assert serious_faults(page) == []
    assert statuses(proxy, many) == {"PENDING": 59, "CANCELLED": 1}
    page.get_by_role("button", name="Cancel all").click()
    expect(page.locator("#notices")).to_contain_text("59 moves are cancelled.")
    expect(page.locator("#notices")).to_contain_text("One move is left alone: they have ended, or are about to")
    expect(page).to_have_url(f"/?q=label:{label}")
    assert statuses(proxy, many) == {"CANCELLED": 60}

    retried = proxy.retry(many[3])["id"]
    page.get_by_label("Select all").check()
    page.get_by_label("All 61 that match").check()
    page.get_by_role("button", name="Retry selected").click()
    page.get_by_role("button", name="Retry all").click()
    expect(page.locator("#notices")).to_contain_text("59 moves are tried again.")
    again = proxy.jobs({"label": label, "status": "PENDING", "limit": 500})
    assert Counter(job["retry_of"] for job in again) == Counter(many)
    assert retried in {job["id"] for job in again}


def test_what_takes_several_steps_shows_how_far_it_has_come(page, proxy, label, many):
    more = [submitted(proxy, label, 100) for _ in range(2)]
    page.route("**/page.js*", lambda route: route.abort())  # else it continues by itself
    page.goto(f"/?q=label:{label}")
    page.get_by_label("All 260 that match").check()
    page.get_by_role("button", name="Cancel selected").click()
    page.get_by_role("button", name="Cancel all").click()
    expect(page.locator("#all")).to_contain_text(re.compile(r"\d+ of 260 moves that match are cancelled so far\."))
    assert serious_faults(page) == []
    while page.get_by_role("button", name="Continue").count():
        page.get_by_role("button", name="Continue").click()

    expect(page.locator("#notices")).to_contain_text("259 moves are cancelled.")
    assert sum((statuses(proxy, ids) for ids in [many, *more]), Counter()) == {"CANCELLED": 260}


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_everybody_can_select_all_that_match(browser, host_url, many, label, scheme, width):
    with browser.new_context(
        base_url=host_url, color_scheme=scheme, viewport={"width": width, "height": 800}
    ) as context:
        page = context.new_page()
        page.goto(f"/?q=label:{label}")
        page.get_by_label("Select all").check()
        page.get_by_label("All 60 that match").check()
        for button in ("Cancel selected", "Cancel all"):
            assert serious_faults(page) == [], button
            assert page.evaluate("document.documentElement.scrollWidth") <= width, button
            page.get_by_role("button", name=button).click()
        expect(page.locator("#notices")).to_contain_text("59 moves are cancelled.")


def test_whoever_selects_all_and_then_less_acts_on_what_is_selected(page, proxy, label, many):
    page.goto(f"/?q=label:{label}+status:pending")
    page.get_by_label("Select all").check()
    page.get_by_label("All 59 that match").check()
    page.get_by_label(f"Select move {many[-1]}").uncheck()
    expect(page.get_by_label("All 59 that match")).not_to_be_checked()
    page.get_by_role("button", name="Cancel selected").click()

    expect(page.locator("#notices")).to_contain_text("49 moves are cancelled.")
    assert statuses(proxy, many) == {"CANCELLED": 50, "PENDING": 10}


def test_all_that_match_are_cancelled_without_a_script(browser, host_url, proxy, label, many):
    with browser.new_context(base_url=host_url, java_script_enabled=False) as context:
        page = context.new_page()
        page.goto(f"/?q=label:{label}")
        page.get_by_label("All 60 that match").check()
        page.get_by_role("button", name="Cancel selected").click()
        page.get_by_role("button", name="Cancel all").click()

        over, more = page.get_by_text("59 moves are cancelled."), page.get_by_role("button", name="Continue")
        expect(over.or_(more)).to_be_visible()
        while more.is_visible():  # a slow machine needs several steps
            more.click()
            expect(over.or_(more)).to_be_visible()
    assert statuses(proxy, many) == {"CANCELLED": 60}


def test_an_action_on_many_moves_shows_how_far_it_has_come_and_continues_there(send, proxy, label, many):
    """What a step answers that had no time for all."""
    form = {"all": "1", "q": f"label:{label}", "back": "/", "matching": "60", "oldest": many[0], "before": many[5]}

    status, _, _ = send("/moves/cancel", {**form, "done": "50", "refused": "2", "refusal": "Move 9: too late"})

    assert status == 303
    assert statuses(proxy, many) == {"PENDING": 54, "CANCELLED": 6}


@pytest.mark.parametrize(
    ("changes", "status"),
    [({"q": "koalas"}, 422), ({"before": "x", "oldest": "1"}, 404), ({"oldest": "-1", "before": "9"}, 404)],
)
def test_an_action_on_many_moves_that_means_nothing_does_nothing(send, proxy, label, many, changes, status):
    assert send("/moves/cancel", {"all": "1", "q": f"label:{label}", **changes})[0] == status
    assert statuses(proxy, many)["PENDING"] == 59


def test_what_comes_too_late_is_said(page, proxy, waiting):
    page.goto("/?q=host:away+status:pending")
    page.get_by_label(f"Select move {waiting[0]}").check()
    proxy.cancel(waiting[0])
    page.get_by_role("button", name="Retry selected").click()

    expect(page.locator("#notices")).to_contain_text("This move does it again.")
    page.get_by_role("button", name="Cancel").click()
