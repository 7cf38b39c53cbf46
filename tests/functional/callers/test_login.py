"""Logging in to the pages, with name and token."""

import stat
from http.cookies import SimpleCookie

import pytest
from playwright.sync_api import expect

from tests.functional.callers.service import CALLERS, TOKENS, ask
from tests.servers.browser import serious_faults


@pytest.fixture
def host_url(world):
    return f"http://127.0.0.1:{world.service.port}"


def log_in(page, name, token=None):
    page.goto("/login")
    page.get_by_label("Name").fill(name)
    page.get_by_label("Token").fill(token or TOKENS[name])
    page.get_by_role("button", name="Log in").click()


def test_whoever_logs_in_comes_to_the_page_that_was_asked_for_and_sees_its_own_moves(page, proxy_of):
    with proxy_of("portal") as portal, proxy_of("writer") as writer:
        own = portal.move("archive:/species/1.csv", "vis:/maps/login", {"label": "of the portal"})["id"]
        other = writer.move("archive:/species/1.csv", "vis:/maps/login2", {"label": "of the writer"})["id"]
    page.goto("/?q=host:vis")
    expect(page).to_have_url("/login?next=%2F%3Fq%3Dhost%3Avis")
    assert serious_faults(page) == []
    page.get_by_label("Name").fill("portal")
    page.get_by_label("Token").fill(TOKENS["portal"])
    page.get_by_role("button", name="Log in").click()

    expect(page).to_have_url("/?q=host:vis")
    expect(page.locator(f"#move-{own}")).to_contain_text("of the portal")
    expect(page.locator(f"#move-{other}")).to_have_count(0)
    assert page.goto(f"/moves/{other}").status == 404

    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_url("/login")
    page.goto("/")
    expect(page).to_have_url("/login?next=%2F")


@pytest.mark.parametrize(
    ("name", "token"), [("portal", "wrong"), ("writer", TOKENS["portal"]), ("nobody", "x"), ("short", TOKENS["short"])]
)
def test_who_has_no_right_token_stays_outside(page, name, token):
    log_in(page, name, token)

    expect(page.get_by_role("alert")).to_have_text("Name or token is wrong, or the token has ended.")
    page.goto("/")
    expect(page).to_have_url("/login?next=%2F")


def test_the_cookie_has_no_token_and_is_for_pages_alone(page, world):
    log_in(page, "portal")
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    (cookie,) = page.context.cookies()

    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    assert TOKENS["portal"] not in cookie["value"]
    for path in ("/api/v1/moves", "/data_mover"):
        assert page.request.get(path).status == 401
    assert page.request.get("/moves/999999").status == 404
    secret = world.service.directory / "state" / "session.secret"
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    page.context.add_cookies([{**cookie, "value": cookie["value"][:-8] + "AAAAAAA="}])
    page.goto("/")
    expect(page).to_have_url("/login?next=%2F")


def test_a_session_ends_with_its_token(page, callers):
    log_in(page, "portal")
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    callers(CALLERS.replace("[callers.portal]", "[callers.somebody]"))

    expect(page).to_have_url("/login?next=%2F")  # the page has noticed by itself


def test_a_form_that_comes_after_the_session_leads_to_the_login(page, callers):
    log_in(page, "portal")
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    page.evaluate("Object.defineProperty(document, 'hidden', {value: true})")  # it renews itself no more
    page.evaluate("document.dispatchEvent(new Event('visibilitychange'))")
    callers(CALLERS.replace("[callers.portal]", "[callers.somebody]"))
    page.get_by_role("button", name="Log out").click()

    expect(page).to_have_url("/login?next=%2F")


def test_a_page_offers_only_what_its_reader_may_do(page, world, proxy_of):
    with proxy_of("boss") as boss:
        job_id = boss.move("archive:/private/x", "vis:/other/", {"label": "of the boss"})["id"]
        log_in(page, "reader")
        page.goto("/")
        expect(page.locator("#main")).to_be_visible()
        assert page.get_by_role("button", name="Cancel").count() == 0
        assert page.get_by_role("button", name="Retry").count() == 0
        token = page.locator('input[name="csrf_token"]').first.input_value()
        sent = page.request.post("/moves/cancel", form={"csrf_token": token, "move": str(job_id)})
        assert sent.status == 403
        assert boss.check(job_id)["status"] != "CANCELLED"
        paused = page.request.post("/hosts/pause", form={"csrf_token": token, "host": "vis"})
        assert paused.status == 403
        assert {host["name"]: host["health"] for host in boss.hosts()}["vis"] != "paused"


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_everybody_can_use_the_pages_of_who_has_nothing_and_may_not(browser, host_url, scheme, width):
    pages = {
        "/": "Nothing has been moved yet",
        "/failures": "Nothing has failed",
        "/hosts": "You may not use any host.",
    }
    pages |= {"/types": "No data type yet", "/new": "You do not have the right to do this."}
    with browser.new_context(
        base_url=host_url, color_scheme=scheme, viewport={"width": width, "height": 800}
    ) as context:
        page = context.new_page()
        log_in(page, "reader")
        expect(page.get_by_role("button", name="Log out")).to_be_visible()
        for path, sentence in pages.items():
            page.goto(path)
            expect(page.locator("#main")).to_contain_text(sentence)
            assert serious_faults(page) == [], path
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_a_login_is_on_record_and_programs_are_still_answered_401(page, world):
    log_in(page, "boss")
    expect(page.get_by_role("button", name="Log out")).to_be_visible()
    trail = (world.service.directory / "state" / "audit.jsonl").read_text()

    assert '"event": "login", "caller": "boss"' in trail
    assert TOKENS["boss"] not in trail
    status, headers, _ = ask(world, "GET", "/")
    assert status == 401
    assert "Set-Cookie" not in headers or not SimpleCookie(headers["Set-Cookie"])
