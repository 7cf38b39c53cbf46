"""Which requests are served, which are refused, and how wrong calls are answered."""

from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection
from typing import Any
from xmlrpc.client import dumps, loads

import pytest

CHECK = dumps((1,), "check").encode()
XML = {"Content-Type": "text/xml"}


@pytest.fixture
def request_(service):
    """The status and body of one HTTP request."""

    def send(method="POST", path="/data_mover", body=CHECK, headers=XML):
        connection = HTTPConnection("127.0.0.1", service.port, timeout=20)
        connection.request(method, path, body, headers)
        response = connection.getresponse()
        answer = response.status, response.read()
        connection.close()
        return answer

    return send


@pytest.mark.parametrize("path", ["/data_mover", "/data_mover/"])
@pytest.mark.parametrize("content_type", ["text/xml", "text/xml; charset=utf-8", "application/xml"])
def test_a_call_is_answered_with_and_without_a_slash(request_, path, content_type):
    status, answer = request_(path=path, headers={"Content-Type": content_type})

    assert status == 200
    result: Any = loads(answer)[0][0]
    assert result["status"] in ("REJECTED", "PENDING", "COMPLETED", "FAILED")


@pytest.mark.parametrize(
    ("request_changes", "status"),
    [
        ({"method": "GET", "body": None}, 405),
        ({"method": "HEAD", "body": None}, 405),
        ({"method": "PUT"}, 405),
        ({"path": "/data_mover?id=1"}, 400),
        ({"headers": {"Content-Type": "application/x-www-form-urlencoded"}}, 415),
        ({"headers": {}}, 415),
        ({"headers": {**XML, "Content-Encoding": "gzip"}}, 415),
        ({"body": b"x" * 300_000}, 413),
        ({"headers": {**XML, "Host": "evil.example.org"}}, 403),
        ({"headers": {**XML, "X-Forwarded-For": "127.0.0.1"}}, 403),
        ({"headers": {**XML, "Forwarded": "for=127.0.0.1"}}, 403),
        ({"path": "/nothing"}, 404),
        ({"path": "/data_mover%0A"}, 404),
        ({"path": "/data_mover/%0A", "headers": {"Content-Type": "text/plain"}}, 404),
        ({"path": "/data_mover%ff"}, 400),
        ({"path": "/%ff", "method": "GET", "body": None}, 400),
    ],
)
def test_what_is_no_call_is_refused_before_the_parser(request_, request_changes, status):
    assert request_(**request_changes)[0] == status


def test_the_same_key_gives_the_same_job_and_another_request_is_refused(proxy, roots):
    (roots.disk / "keyed").write_text("x")
    first = proxy.move("local://disk/keyed", "local://archive/keyed", {"key": "k-1"})
    again = proxy.move("local://disk/keyed", {"host": "archive", "path": "/keyed"}, {"key": "k-1"})
    other = proxy.move("local://disk/keyed", "local://archive/elsewhere", {"key": "k-1"})

    assert again["id"] == first["id"]
    assert (other["status"], other["field"]) == ("REJECTED", "options.key")


def test_calls_with_the_same_key_that_race_make_one_job(service, roots):
    (roots.disk / "raced").write_text("x")

    def submit(_):
        with service.proxy as proxy:
            return proxy.move("local://disk/raced", "local://archive/raced", {"key": "race"})["id"]

    with ThreadPoolExecutor(8) as pool:
        ids = set(pool.map(submit, range(40)))

    assert len(ids) == 1


def test_introspection_lists_every_method(proxy):
    names = proxy.system.listMethods()

    assert {"move", "check", "check_move_status", "hosts", "datasets", "system.multicall"} <= set(names)
    for name in names:
        assert name.split(".")[-1].removesuffix("_move_status") in proxy.system.methodHelp(name)
        assert all(isinstance(kind, str) for signature in proxy.system.methodSignature(name) for kind in signature)


def test_each_call_of_a_multicall_stands_for_itself(proxy):
    answers = proxy.system.multicall(
        [
            {"methodName": "check", "params": [999_999]},
            {"methodName": "nothing", "params": []},
            {"methodName": "system.multicall", "params": [[]]},
            {"methodName": "hosts", "params": []},
            "nonsense",
            {"methodName": "system.methodHelp", "params": ["check"]},
        ]
    )

    assert answers[0][0]["status"] == "REJECTED"
    assert [answer["faultCode"] for answer in (answers[1], answers[2], answers[4])] == [-32601, -32602, -32602]
    assert len(answers[3][0]) == 4
    assert "check(id)" in answers[5][0]


def test_the_page_and_the_health_check_answer(request_, proxy, roots):
    proxy.move("local://disk/<b>", "local://archive/x", {"label": "<script>"})
    proxy.move(["local://disk/first", "local://disk/b", "local://disk/c"], "local://archive/")

    proxy.move("local://disk/two%0alines", "local://archive/x")

    status, page = request_(method="GET", path="/", body=None, headers={})
    assert status == 200
    assert b"&lt;script&gt;" in page
    assert b"<script>" not in page
    assert b"two\\nlines" in page
    assert b"first and 2 more" in page
    assert request_(method="GET", path="/health", body=None, headers={})[0] == 200
