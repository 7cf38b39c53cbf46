"""What is let in, what is refused, and what is answered to calls that are wrong."""

import socket
from http.client import HTTPConnection
from xmlrpc.client import Fault, dumps, loads

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


@pytest.fixture
def fault_of(request_):
    """The fault that answers a body."""

    def send(body, headers=XML):
        status, answer = request_(body=body, headers=headers)
        assert status == 200
        with pytest.raises(Fault) as fault:
            loads(answer)
        return fault.value

    return send


@pytest.mark.parametrize("path", ["/data_mover", "/data_mover/"])
@pytest.mark.parametrize("content_type", ["text/xml", "text/xml; charset=utf-8", "application/xml"])
def test_a_call_is_answered_with_and_without_a_slash(request_, path, content_type):
    status, answer = request_(path=path, headers={"Content-Type": content_type})

    assert status == 200
    assert loads(answer)[0][0]["status"] in ("REJECTED", "PENDING", "COMPLETED", "FAILED")


@pytest.mark.parametrize(
    ("request_changes", "status"),
    [
        ({"method": "GET", "body": None}, 405),
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


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"not xml",
        CHECK[:-20],
        b'<!DOCTYPE a SYSTEM "file:///etc/passwd">' + CHECK,
        b'<!DOCTYPE a [<!ENTITY b "c">]>' + CHECK,
        b'<!doctype a [<!entity b "c">]>' + CHECK,
        CHECK.decode().encode("utf-16"),
        b"\0" + CHECK,
        b"<methodCall><methodName>check</methodName><params><param><value><int>x</int></value></param></params>",
    ],
    ids=range(9),
)
def test_what_is_not_well_formed_or_could_harm_is_a_parse_error(fault_of, body):
    assert fault_of(body).faultCode == -32700


def test_entities_twenty_five_thousand_deep_harm_nobody(fault_of, request_):
    chain = "".join(f'<!ENTITY a{i} "&a{i - 1};">' for i in range(1, 8000))
    body = f'<?xml version="1.0"?><!DOCTYPE x [<!ENTITY a0 "x">{chain}]>'.encode() + CHECK

    assert fault_of(body[:250_000]).faultCode == -32700
    assert request_()[0] == 200


def test_arrays_that_nest_deeply_are_answered(request_):
    depth = 4000
    value = "<value><array><data>" * depth + "</data></array></value>" * depth
    body = f"<methodCall><methodName>check</methodName><params><param>{value}</param></params></methodCall>"

    status, answer = request_(body=body.encode())

    assert status == 200
    assert loads(answer)[0][0]["field"] == "id"


def test_an_unknown_method_and_too_many_arguments_are_faults(proxy):
    with pytest.raises(Fault) as unknown:
        proxy.destroy()
    with pytest.raises(Fault) as many:
        proxy.hosts(1)

    assert (unknown.value.faultCode, many.value.faultCode) == (-32601, -32602)


@pytest.mark.parametrize(
    ("arguments", "field", "reason"),
    [
        ((), "source", "Missing or incorrect parameter 'source'"),
        ((7,), "source", "Missing or incorrect parameter 'source'"),
        (("DATA_TYPE",), "id", "Missing or incorrect parameter 'id'"),
        (("birds", 12), "source.type", "Unknown source type 'birds'"),
        (("local://disk/a",), "destination", "Missing or incorrect parameter 'destination'"),
        (("local://moon/a", "local://archive/a"), "source.host", "Unknown source 'moon'"),
        (("local://disk/a", "local://moon/a"), "destination.host", "Unknown destination 'moon'"),
        (("gopher://disk/a", "local://archive/a"), "source", "Unknown source URL scheme 'gopher'"),
        (
            ("local://disk/a", {"host": "archive"}),
            "destination.path",
            "Missing or incorrect parameter 'destination.path'",
        ),
        (("local://disk/a", "local://archive/a", []), "options", "Missing or incorrect parameter 'options'"),
    ],
)
def test_a_move_that_is_wrong_is_refused_by_field_in_the_known_words(proxy, arguments, field, reason):
    answer = proxy.move(*arguments)

    assert answer["status"] == "REJECTED"
    assert (answer["field"], answer["reason"]) == (field, reason)
    assert "id" not in answer


@pytest.mark.parametrize(
    ("options", "field"),
    [
        ({"prioritty": "high"}, "options.prioritty"),
        ({"priority": "urgent"}, "options.priority"),
        ({"label": 7}, "options.label"),
        ({"key": ""}, "options.key"),
        ({"checksum": "md5:1"}, "options.checksum"),
        ({"deadline": 0}, "options.deadline"),
        ({"deadline": 8 * 86_400}, "options.deadline"),
    ],
)
def test_an_option_that_is_wrong_is_refused_by_name(proxy, options, field):
    answer = proxy.move("local://disk/a", "local://archive/a", options)

    assert (answer["status"], answer["field"]) == ("REJECTED", field)


def test_a_role_that_the_registry_does_not_give_is_refused(proxy):
    answer = proxy.move("local://archive/a", {"host": "disk", "path": "/a"})

    assert (answer["status"], answer["field"]) == ("REJECTED", "destination.host")


@pytest.mark.parametrize("job_id", [0, -1, 999_999_999, "nonsense", "9" * 30, "1.5"])
def test_a_job_that_does_not_exist_is_said_to_in_the_known_words(proxy, job_id):
    assert proxy.check(job_id)["reason"] == "Job does not exist"


@pytest.mark.parametrize("job_id", [None, True, 1.5, [], {}, ""])
def test_an_id_of_the_wrong_type_is_refused(request_, job_id):
    _, answer = request_(body=dumps((job_id,), "check", allow_none=True).encode())

    assert loads(answer)[0][0]["reason"] == "Missing or incorrect parameter 'id'"


def test_the_same_key_gives_the_same_job_and_another_request_is_refused(proxy, roots):
    (roots.disk / "keyed").write_text("x")
    first = proxy.move("local://disk/keyed", "local://archive/keyed", {"key": "k-1"})
    again = proxy.move("local://disk/keyed", {"host": "archive", "path": "/keyed"}, {"key": "k-1"})
    other = proxy.move("local://disk/keyed", "local://archive/elsewhere", {"key": "k-1"})

    assert again["id"] == first["id"]
    assert (other["status"], other["field"]) == ("REJECTED", "options.key")


def test_introspection_tells_every_method(proxy):
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
        ]
    )

    assert answers[0][0]["status"] == "REJECTED"
    assert [answer["faultCode"] for answer in (answers[1], answers[2], answers[4])] == [-32601, -32601, -32602]
    assert len(answers[3][0]) == 4


def test_half_open_connections_do_not_keep_others_from_being_answered(service, request_):
    halves = [socket.create_connection(("127.0.0.1", service.port)) for _ in range(200)]
    for half in halves:
        half.sendall(b"POST /data_mover HTTP/1.1\r\nContent-Length: 100\r\n")

    try:
        assert request_()[0] == 200
    finally:
        for half in halves:
            half.close()


def test_the_page_and_the_health_check_answer(request_, proxy, roots):
    proxy.move("local://disk/<b>", "local://archive/x", {"label": "<script>"})

    status, page = request_(method="GET", path="/", body=None, headers={})
    assert status == 200
    assert b"&lt;script&gt;" in page
    assert b"<script>" not in page
    assert request_(method="GET", path="/health", body=None, headers={})[0] == 200
