"""Who is known: tokens, and the file that names them."""

from xmlrpc.client import ProtocolError

import pytest

from tests.functional.callers.service import CALLERS, TOKENS, ask, basic, digest
from tests.servers.http import answered, call_request
from tests.servers.processes import eventually


@pytest.mark.parametrize(
    "authorization",
    [
        None,
        "Bearer",
        "Bearer nonsense",
        "Basic",
        "Basic !!!",
        "Negotiate abc",
        basic("portal", "wrong"),
        basic("nobody", TOKENS["portal"]),
        basic("writer", TOKENS["portal"]),
        basic("short", TOKENS["short"]),
        f"Bearer {TOKENS['short']}",
        f"Bearer {TOKENS['far']}",
        f"Bearer {digest('portal')}",
    ],
)
def test_who_has_no_right_token_is_told_so_before_the_body_is_read(world, authorization):
    fields = [f"Authorization: {authorization}"] if authorization else []
    expected = answered(world.service.port, call_request(b"\0no XML", *fields))

    assert expected is not None
    assert expected.status == 401
    assert b"-32001" in expected.body
    status, headers, problem = ask(world, "GET", "/api/v1/moves", authorization=authorization)
    assert (status, problem["status"], problem["code"]) == (401, 401, "unauthorized")
    assert {each.split()[0] for each in headers.get_all("WWW-Authenticate")} == {"Basic", "Bearer"}


def test_name_and_token_in_the_url_or_a_bearer_token_are_enough(world, proxy_of):
    with proxy_of("portal") as proxy:
        assert proxy.check(1)["status"] == "REJECTED"
    assert ask(world, "GET", "/api/v1/moves", token=TOKENS["portal"])[0] == 200
    assert ask(world, "GET", "/api/v1/moves", authorization=basic("portal", TOKENS["portal"]))[0] == 200


def test_the_health_check_is_open_to_all_and_tells_nothing(world):
    assert ask(world, "GET", "/health")[2] == {"status": "ok"}
    assert ask(world, "GET", "/health/ready")[0] == 401


def test_a_caller_that_is_removed_is_unknown_at_the_next_request(world, proxy_of, callers):
    with proxy_of("writer") as proxy:
        proxy.hosts()
        callers(CALLERS.replace("[callers.writer]", "[callers.other]"))
        with pytest.raises(ProtocolError) as refused:
            proxy.hosts()

    assert refused.value.errcode == 401


@pytest.mark.parametrize(
    "text", ["", "[callers]\n", CALLERS + "nonsense\n", CALLERS.replace("verbs  ", "verb  "), CALLERS.rstrip("\n]")]
)
def test_a_file_with_mistakes_is_refused_and_the_old_one_stays(world, proxy_of, callers, text):
    callers(text)

    with proxy_of("portal") as proxy:
        assert proxy.hosts()
    eventually(lambda: "callers-refused" in world.service.log("web"), "it is logged")


def test_a_file_that_others_can_read_is_refused_and_the_old_one_stays(world, proxy_of, callers):
    world.callers.chmod(0o644)
    callers_of_others = CALLERS.replace("[callers.portal]", "[callers.other]")
    world.callers.write_text(callers_of_others)

    with proxy_of("portal") as proxy:
        assert proxy.hosts()
    eventually(lambda: "chmod 600" in world.service.log("web"), "it is logged")
