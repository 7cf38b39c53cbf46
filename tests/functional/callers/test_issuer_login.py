"""Logging in to the pages at an issuer of OpenID Connect."""

import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from urllib.parse import parse_qs, urlsplit

import httpx
import pytest
from playwright.sync_api import expect

from tests.functional.callers.service import CALLERS, TOKENS, write
from tests.servers.browser import serious_faults
from tests.servers.deployment import deployment, host_table
from tests.servers.issuer import issuer_server
from tests.servers.processes import eventually

SECRET = "secret of the client: 100% 'known'"  # pragma: allowlist secret
ISSUER = """
[issuers.campus]
description = "the campus"
issuer      = "{url}"
audience    = "data_mover"
caller      = "preferred_username"
client_id   = "page"
{more}

[issuers.campus.scopes."data_mover.portal"]
sources      = ["archive:/"]
destinations = ["archive:/"]
"""
#: how long a session lasts that a test watches
SECONDS = 10


@pytest.fixture
def issuer(world):
    """An issuer that knows the callback of the service; the callers' file names it."""
    with issuer_server() as issuer:
        issuer.callbacks = {f"{world.url}/login/campus/callback"}
        write(world.callers, CALLERS + ISSUER.format(url=issuer.url, more=""))
        yield issuer


@pytest.fixture(scope="module")
def world(tmp_path_factory, redis_url):
    base = tmp_path_factory.mktemp("login")
    (base / "archive").mkdir()
    (base / "archive" / "a").write_text("a")
    registry = host_table(
        "archive", {"protocol": "local", "root": base / "archive", "roles": ["source", "destination"]}
    )
    with deployment(base / "service", redis_url, registry) as service:
        callers = service.directory / "callers.toml"
        write(callers, CALLERS)
        service.ini.write_text(service.ini.read_text().replace("callers = none", f"callers = {callers}"))
        service.environment = {"CLIENT_SECRET": SECRET}
        service.start_web()
        yield SimpleNamespace(service=service, callers=callers, url=f"http://localhost:{service.port}")


@pytest.fixture
def host_url(world):
    """The issuer is at 127.0.0.1: another site for a browser."""
    return world.url


@pytest.fixture
def visitor(world):
    """A browser that is led nowhere by itself."""
    with httpx.Client(base_url=world.url, headers={"Accept": "text/html"}) as client:
        yield client


def led_to(answer):
    """The URL without its query, and the query."""
    assert answer.status_code == 303, answer.text
    parts = urlsplit(answer.headers["Location"])
    query = {name: values[0] for name, values in parse_qs(parts.query).items()}
    return f"{parts.scheme}://{parts.netloc}{parts.path}", query


def come_back(visitor, issuer, **changes):
    """Log in at the issuer, and come back with what it says, or with something else."""
    begun = visitor.get("/login/campus").headers["Location"]
    _, answer = led_to(httpx.post(begun))
    return visitor.get("/login/campus/callback", params={**answer, **changes})


def sentence(answer):
    assert answer.status_code == 403
    return answer.text.partition('role="alert">')[2].partition("</p>")[0]


def test_whoever_logs_in_at_the_issuer_comes_to_the_page_that_was_asked_for(page, issuer, world):
    page.goto("/?q=host:archive")
    expect(page).to_have_url("/login?next=%2F%3Fq%3Dhost%3Aarchive")
    assert serious_faults(page) == []
    page.get_by_role("link", name="Log in with the campus").click()
    page.get_by_role("button", name="I am Ann").click()

    expect(page).to_have_url("/?q=host:archive")
    expect(page.locator("#header")).to_contain_text("campus:ann")
    page.goto("/new?source=archive:/a&destination=archive:/b")
    page.get_by_role("button", name="Show what would happen").click()
    expect(page.get_by_role("button", name="Move anyway")).to_be_visible()
    page.get_by_role("button", name="Move anyway").click()
    expect(page.locator("#notices")).to_contain_text("The move is on record")

    (cookie,) = page.context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Lax")
    for path in ("/api/v1/moves", "/data_mover"):
        assert page.request.get(path).status == 401
    trail = (world.service.directory / "state" / "audit.jsonl").read_text()
    assert '"event": "login", "caller": "campus:ann"' in trail
    page.get_by_role("button", name="Log out").click()
    expect(page).to_have_url("/login")
    page.goto("/")
    expect(page).to_have_url("/login?next=%2F")


@pytest.mark.parametrize(("scheme", "width"), [("light", 1280), ("dark", 360)])
def test_everybody_can_log_in(browser, issuer, host_url, scheme, width):
    with browser.new_context(
        base_url=host_url, color_scheme=scheme, viewport={"width": width, "height": 800}
    ) as context:
        page = context.new_page()
        for path in ("/login", "/login/campus/callback"):
            page.goto(path)
            assert serious_faults(page) == [], path
            assert page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_what_is_asked_of_the_issuer_is_what_the_code_flow_needs_and_new_each_time(visitor, issuer, world):
    first, second = (led_to(visitor.get("/login/campus"))[1] for _ in range(2))

    assert led_to(visitor.get("/login/campus"))[0] == f"{issuer.url}/auth"
    kept = {"response_type": "code", "client_id": "page", "code_challenge_method": "S256"}
    kept |= {"redirect_uri": f"{world.url}/login/campus/callback", "scope": "openid data_mover.portal"}
    assert first.items() >= kept.items()
    assert {name for name in first if first[name] != second[name]} == {"state", "nonce", "code_challenge"}
    assert all(len(first[name]) >= 43 for name in ("state", "nonce", "code_challenge"))


def test_a_login_leads_to_no_other_site(visitor, issuer):
    for elsewhere in ("https://elsewhere.example/", "//elsewhere.example/", "/\\elsewhere.example"):
        begun = visitor.get("/login/campus", params={"next": elsewhere}).headers["Location"]
        answer = visitor.get("/login/campus/callback", params=led_to(httpx.post(begun))[1])

        assert answer.headers["Location"] in ("/", f"{visitor.base_url}/")


def test_a_session_ends_with_the_token(page, issuer):
    issuer.access_claims = {"exp": int(time.time()) + SECONDS}
    page.goto("/login")
    page.get_by_role("link", name="Log in with the campus").click()
    page.get_by_role("button", name="I am Ann").click()
    expect(page.get_by_role("button", name="Log out")).to_be_visible()

    expect(page).to_have_url("/login?next=%2F", timeout=60_000)  # the page has noticed by itself
    assert time.time() >= issuer.access_claims["exp"]


def test_a_session_has_what_its_scopes_grant_now(visitor, issuer, world):
    assert led_to(come_back(visitor, issuer))[0] == f"{world.url}/"
    assert visitor.get("/new").status_code == 200

    text = world.callers.read_text()
    write(world.callers, text.replace('"data_mover.portal"]\n', '"data_mover.portal"]\nverbs = ["check"]\n'))
    assert (visitor.get("/").status_code, visitor.get("/new").status_code) == (200, 403)
    write(world.callers, text.replace(issuer.url, issuer.url.replace("campus", "other")))
    assert visitor.get("/").status_code == 303
    write(world.callers, text.replace("issuers.campus", "issuers.other"))
    assert visitor.get("/").status_code == 303


@pytest.mark.parametrize("about", [{}, {"token_endpoint_auth_methods_supported": ["client_secret_post"]}])
def test_a_client_may_have_a_secret(visitor, issuer, world, about):
    write(world.callers, CALLERS + ISSUER.format(url=issuer.url, more='client_secret = "env:CLIENT_SECRET"'))
    issuer.about = about
    issuer.client_secret = SECRET if about else "secret%20of%20the%20client%3A%20100%25%20%27known%27"

    assert led_to(come_back(visitor, issuer))[0] == f"{world.url}/"
    assert SECRET not in world.service.log("web")


def test_without_its_secret_nobody_logs_in_and_the_log_says_why(visitor, issuer, world):
    write(world.callers, CALLERS + ISSUER.format(url=issuer.url, more='client_secret = "env:NOT_SET"'))

    assert "has failed" in sentence(come_back(visitor, issuer))
    assert "login-failed issuer=campus the environment variable NOT_SET is not set" in world.service.log("web")


@pytest.mark.parametrize(
    "changes",
    [
        {"state": "another"},
        {"state": ""},
        {"state": "é"},
        {"iss": "https://evil.example"},
        {"code": "another"},
    ],
)
def test_an_answer_of_another_login_is_refused(visitor, issuer, changes):
    answer = come_back(visitor, issuer, **changes)

    assert "Log in again" in sentence(answer) or "has failed" in sentence(answer)
    assert visitor.get("/").status_code == 303


def test_a_browser_that_has_begun_no_login_is_refused(visitor, issuer):
    _, answer = led_to(httpx.post(visitor.get("/login/campus").headers["Location"]))
    visitor.cookies.clear()

    assert "No login was begun in this browser" in sentence(visitor.get("/login/campus/callback", params=answer))


def test_an_answer_counts_once(visitor, issuer):
    begun = visitor.get("/login/campus").headers["Location"]
    _, answer = led_to(httpx.post(begun))
    assert visitor.get("/login/campus/callback", params=answer).status_code == 303

    assert visitor.get("/login/campus/callback", params=answer).status_code == 403


@pytest.mark.parametrize(
    "claims",
    [
        {"nonce": "another"},
        {"nonce": None},
        {"aud": "data_mover"},
        {"azp": "another"},
        {"iss": "https://evil.example"},
        {"exp": 1},
        {"sub": None},
        {"sub": "another"},
    ],
)
def test_an_id_token_of_another_login_is_refused(visitor, issuer, world, claims):
    issuer.id_claims = claims

    assert "has failed" in sentence(come_back(visitor, issuer))
    assert visitor.get("/").status_code == 303


@pytest.mark.parametrize("claims", [{"aud": "page"}, {"exp": 1}, {"iss": "https://evil.example"}])
def test_an_access_token_is_believed_as_that_of_a_program_is(visitor, issuer, claims):
    issuer.access_claims = claims

    assert "has failed" in sentence(come_back(visitor, issuer))


def test_whoever_has_no_scope_of_ours_is_told(visitor, issuer):
    issuer.access_claims = {"scope": "openid"}

    assert "none of the scopes" in sentence(come_back(visitor, issuer))


def test_whom_the_issuer_refuses_is_not_logged_in(visitor, issuer, world):
    _, asked = led_to(visitor.get("/login/campus"))

    answer = visitor.get("/login/campus/callback", params={"error": "access_denied\n", "state": asked["state"]})

    assert "has failed" in sentence(answer)
    assert "login-failed issuer=campus error=access_denied\\n" in world.service.log("web")
    trail = [json.loads(line) for line in (world.service.directory / "state" / "audit.jsonl").read_text().splitlines()]
    assert (trail[-1]["event"], trail[-1]["issuer"]) == ("login-refused", "campus")


def test_while_the_issuer_is_away_the_login_says_so_and_tokens_still_count(visitor, issuer):
    issuer.is_away = True

    assert "does not answer" in sentence(visitor.get("/login/campus"))
    assert httpx.get(f"{visitor.base_url}/", auth=("portal", TOKENS["portal"])).status_code == 200


def test_an_issuer_that_takes_its_time_does_not_occupy_the_service(visitor, issuer, world):
    visitor.get("/login/campus")  # what the issuer publishes is known
    answers = threading.Event()
    issuer.answers = answers.wait
    others = [httpx.Client(base_url=world.url) for _ in range(2)]
    with ThreadPoolExecutor(len(others)) as pool:
        waiting = [pool.submit(come_back, other, issuer) for other in others]
        eventually(lambda: issuer.asked.count("/token") == len(others), "the issuer has both codes")
        assert "Others are logging in" in sentence(come_back(visitor, issuer))
        answers.set()
        assert [each.result().status_code for each in waiting] == [303] * len(others)
    for other in others:
        other.close()


def test_a_code_is_sent_to_no_endpoint_that_others_can_read(visitor, issuer):
    issuer.about = {"token_endpoint": "http://login.example.org/token"}

    assert "has failed" in sentence(come_back(visitor, issuer))


def test_nobody_logs_in_at_an_issuer_without_a_client(visitor, issuer, world):
    write(world.callers, world.callers.read_text().replace('client_id   = "page"', ""))

    assert "Log in with" not in visitor.get("/login").text
    assert visitor.get("/login/campus").status_code == 404
    assert visitor.get("/login/nobody").status_code == 404


def test_where_no_caller_has_a_token_the_issuer_is_the_only_way(visitor, issuer, world):
    write(world.callers, ISSUER.format(url=issuer.url, more=""))

    eventually(lambda: 'name="token"' not in visitor.get("/login").text, "no token is asked for")
    assert "Log in with the campus" in visitor.get("/login").text
