"""The JSON API, called as programs call it; every answer is validated against the document that the service serves."""

import json
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
from openapi_core import Config, OpenAPI
from openapi_core.datatypes import RequestParameters
from werkzeug.datastructures import Headers, ImmutableMultiDict

import data_mover.web.json
from tests.servers.deployment import deployment
from tests.servers.processes import eventually

DOCUMENT = json.loads((Path(data_mover.web.json.__file__).parent / "openapi.json").read_text())
CONTRACT = OpenAPI.from_dict(
    DOCUMENT, config=Config(extra_media_type_deserializers={"application/problem+json": json.loads})
)
EMPTY = {"content": b"", "headers": {"Content-Type": "application/json"}}


class Asked:
    """A request of httpx as openapi-core reads one."""

    def __init__(self, request):
        parts = urlsplit(str(request.url))
        self.host_url = f"{parts.scheme}://{parts.netloc}"
        self.path = parts.path
        self.method = request.method.lower()
        self.body = request.content or None
        self.content_type = request.headers.get("Content-Type", "")
        query = ImmutableMultiDict(request.url.params.multi_items())
        self.parameters = RequestParameters(query=query, header=Headers(list(request.headers.items())), cookie={})


class Answered:
    """A response of httpx as openapi-core reads one."""

    def __init__(self, response):
        self.data = response.content
        self.status_code = response.status_code
        self.content_type = response.headers.get("Content-Type", "")
        self.headers = Headers(list(response.headers.items()))


def hold_to_the_document(response):
    response.read()
    if response.status_code in (404, 405) and not known(response.request):
        return
    CONTRACT.validate_response(Asked(response.request), Answered(response))
    if response.is_success and response.request.method != "POST":
        CONTRACT.validate_request(Asked(response.request))


def known(request):
    """Whether the document has the operation."""
    try:
        CONTRACT.validate_request(Asked(request))
    except Exception as error:
        return "PathNotFound" not in type(error).__name__ and "OperationNotFound" not in type(error).__name__
    return True


@pytest.fixture
def api(service):
    base = service.url.replace("/data_mover", "/api/v1")
    with httpx.Client(base_url=base, event_hooks={"response": [hold_to_the_document]}, timeout=40) as client:
        yield client


def moved(api, **body):
    answer = api.post("/moves", json=body)
    assert answer.status_code == 202, answer.text
    return answer.json()["id"]


def ended(api, move_id):
    answer = {}
    for _ in range(4):
        answer = api.get(f"/moves/{move_id}", params={"wait": 15}).json()
        if answer["status"] in ("COMPLETED", "FAILED", "CANCELLED"):
            break
    return answer


def test_a_move_is_accepted_waited_for_and_proven(api, roots):
    (roots.disk / "json.txt").write_text("in JSON")

    accepted = api.post("/moves", json={"source": "disk:/json.txt", "destination": "archive:/json/"})
    move = ended(api, accepted.json()["id"])

    assert accepted.status_code == 202
    assert urlsplit(accepted.headers["Location"]).path == f"/api/v1/moves/{accepted.json()['id']}"
    assert (move["status"], move["path"], move["bytes_done"]) == ("COMPLETED", "/json/json.txt", 7)
    assert move["reason"] is None
    assert (roots.archive / "json" / "json.txt").read_text() == "in JSON"
    assert [each["state"] for each in api.get(f"/moves/{move['id']}/files").json()["files"]] == ["published"]
    assert api.get(f"/moves/{move['id']}/explain").json()["cause"] == "ended"


def test_both_faces_say_the_same_of_a_move(api, service):
    move = ended(api, moved(api, source={"type": "DATA_TYPE", "id": 12}))

    with service.proxy as proxy:
        same = proxy.check(move["id"])
        refused = proxy.move("nowhere:/x", "archive:/")

    assert {name: value for name, value in move.items() if value is not None} == same
    problem = api.post("/moves", json={"source": "nowhere:/x", "destination": "archive:/"})
    assert problem.status_code == 422
    assert {name: problem.json()[name] for name in ("code", "reason", "field")} == {
        name: refused[name] for name in ("code", "reason", "field")
    }


def test_the_events_behind_a_number_are_listed(api):
    move = ended(api, moved(api, source="DATA_TYPE:12"))

    events = api.get(f"/moves/{move['id']}/events").json()["events"]
    later = api.get(f"/moves/{move['id']}/events", params={"after": 1}).json()["events"]

    assert (events[0]["event"], events[0]["from"], events[-1]["to"]) == ("submitted", None, "COMPLETED")
    assert later == events[1:]


def test_an_idempotency_key_gives_the_same_move(api):
    body = {"source": "DATA_TYPE:12", "destination": "archive:/keyed.csv"}

    first, second = (api.post("/moves", json=body, headers={"Idempotency-Key": "once"}).json() for _ in range(2))
    other = api.post("/moves", json={**body, "destination": "archive:/b"}, headers={"Idempotency-Key": "once"})
    two_keys = api.post("/moves", json={**body, "options": {"key": "b"}}, headers={"Idempotency-Key": "once"})

    assert first["id"] == second["id"]
    assert (other.status_code, other.json()["field"]) == (422, "options.key")
    assert two_keys.json()["field"] == "options.key"


def test_an_answer_that_is_known_is_not_sent_again(api):
    move = ended(api, moved(api, source="DATA_TYPE:12"))

    first = api.get(f"/moves/{move['id']}")
    again = api.get(f"/moves/{move['id']}", headers={"If-None-Match": first.headers["ETag"]})

    assert (again.status_code, again.content) == (304, b"")


def test_pages_follow_one_another_without_gap(api):
    ids = [moved(api, source="DATA_TYPE:12", options={"label": "paged"}) for _ in range(5)]

    seen, url = [], "/moves?label=paged&limit=2"
    while url:
        page = api.get(url.removeprefix("/api/v1")).json()
        seen += [move["id"] for move in page["moves"]]
        url = page["next"]

    assert seen == sorted(ids, reverse=True)


def test_filters_choose_moves(api):
    move = ended(api, moved(api, source="DATA_TYPE:12", destination="archive:/f", options={"label": "chosen"}))

    def ids(**query):
        return [each["id"] for each in api.get("/moves", params={"label": "chosen", **query}).json()["moves"]]

    assert ids() == [move["id"]]
    assert ids(status="COMPLETED", host="archive", since=move["submitted_at"], caller="local") == [move["id"]]
    assert ids(status="FAILED") == ids(host="hpc") == ids(until=move["submitted_at"]) == ids(phase="queued") == []
    assert ids(caller="somebody") == ids(before=move["id"]) == []


@pytest.mark.parametrize(
    ("query", "field"),
    [
        ("status=DONE", "filter.status"),
        ("limit=x", "filter.limit"),
        ("limit=501", "filter.limit"),
        ("since=2027-01-01T00:00:00", "filter.since"),
        ("since=yesterday", "filter.since"),
        ("label=%00", "filter.label"),
        ("label=a&label=b", "filter.label"),
        ("colour=red", "colour"),
    ],
)
def test_a_filter_that_cannot_be_read_is_refused_by_name(api, query, field):
    answer = api.get(f"/moves?{query}")

    assert (answer.status_code, answer.json()["field"]) == (422, field)


@pytest.mark.parametrize("move_id", ["999999", "0", "x", "99999999999999999999999"])
def test_a_move_that_does_not_exist_is_a_problem_404(api, move_id):
    answers = [api.get(f"/moves/{move_id}{rest}") for rest in ("", "/files", "/events", "/explain")]
    answers += [api.post(f"/moves/{move_id}{verb}", **EMPTY) for verb in ("/cancel", "/retry")]

    assert {answer.status_code for answer in answers} == {404}
    assert {answer.json()["reason"] for answer in answers} == {"Job does not exist"}
    assert {answer.headers["Content-Type"] for answer in answers} == {"application/problem+json"}


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"\xff",
        b'{"source": NaN}',
        b'{"source": "a\\u0000"}',
        b'{"a":' * 20_000,
        b"1" * 5000,
        *(b'{"source": ' + b"[" * depth + b"]" * depth + b"}" for depth in (20, 500, 900)),
        b'{"source": ' + b'{"a": ' * 700 + b"1" + b"}" * 701,
        b'{"options": {"match": ["\\ud800"]}}',
        b'{"options": {"checksums": {"\\udfff": 1}}}',
    ],
)
def test_a_body_that_is_no_json_object_is_a_problem_400(api, body):
    answer = api.post("/moves", content=body, headers={"Content-Type": "application/json"})

    assert (answer.status_code, answer.json()["code"]) == (400, "bad-request")


def test_forms_and_pages_of_other_sites_cannot_move_anything(api):
    body = b'{"source": "DATA_TYPE:12"}'

    def sent(**headers):
        return api.post("/moves", content=body, headers=headers).status_code

    assert sent(**{"Content-Type": "text/plain"}) == 415
    assert sent(**{"Content-Type": "application/x-www-form-urlencoded"}) == 415
    assert sent(**{"Content-Type": "application/json", "Origin": "http://evil.example"}) == 403
    assert sent(**{"Content-Type": "application/json", "Sec-Fetch-Site": "cross-site"}) == 403
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert api.post("/hosts/archive/pause", headers=form).status_code == 415
    assert api.post("/hosts/archive/pause", headers={"Origin": "http://evil.example"}).status_code == 403
    assert api.get("/hosts", headers={"Host": "evil.example"}).status_code == 403


def test_wrong_methods_large_bodies_and_unknown_paths_are_refused(api):
    wrong = api.delete("/moves", headers={"Content-Type": "application/json"})
    large = httpx.post(f"{api.base_url}moves", json={"source": "x" * 300_000})  # the server itself answers
    unknown = api.get("/nothing")

    assert (wrong.status_code, wrong.headers["Allow"]) == (405, "GET, POST")
    assert large.status_code == 413
    assert (unknown.status_code, unknown.json()["code"]) == (404, "not-found")


def test_a_plan_says_what_a_move_would_do(api):
    plan = api.post("/plan", json={"source": "DATA_TYPE:12", "destination": "archive:/planned.csv"}).json()

    assert (plan["complete"], plan["files_total"], plan["path"]) == (True, 1, "/planned.csv")
    assert isinstance(plan["bytes_total"], int)


def test_a_paused_host_holds_its_moves_and_explain_says_who_can_release_them(api):
    paused = api.post("/hosts/archive/pause", **EMPTY)
    try:
        move_id = moved(api, source="DATA_TYPE:12", destination="archive:/held.csv")
        why = api.get(f"/moves/{move_id}/explain").json()
        blocked = api.get("/moves", params={"phase": "blocked"}).json()["moves"]
    finally:
        resumed = api.post("/hosts/archive/resume", **EMPTY)

    assert paused.json()["health"] == "paused"
    assert (why["cause"], why["host"], why["who_can_release"]) == ("host-paused", "archive", "operator")
    assert [move["id"] for move in blocked] == [move_id]
    assert resumed.json()["health"] != "paused"
    assert ended(api, move_id)["status"] == "COMPLETED"
    assert api.post("/hosts/nowhere/pause", **EMPTY).status_code == 404


def test_without_a_worker_explain_says_so(tmp_path, redis_url, registry):
    with deployment(tmp_path / "idle", redis_url, registry) as idle:
        idle.start_web()
        with idle.proxy as proxy:
            why = proxy.explain(proxy.move("DATA_TYPE", 12)["id"])

    assert (why["cause"], why["status"], why["who_can_release"]) == ("no-worker", "PENDING", "operator")


def test_a_cancelled_move_is_done_again_by_retry(api):
    api.post("/hosts/archive/pause", **EMPTY)
    try:
        move_id = moved(api, source="DATA_TYPE:12", destination="archive:/again.csv")
        cancelled = api.post(f"/moves/{move_id}/cancel", **EMPTY).json()
    finally:
        api.post("/hosts/archive/resume", **EMPTY)

    retried = api.post(f"/moves/{move_id}/retry", **EMPTY)

    assert cancelled["status"] == "CANCELLED"
    assert retried.status_code == 202
    assert ended(api, retried.json()["id"])["retry_of"] == move_id


def test_the_document_is_served_as_it_is_shipped(api):
    assert api.get("/openapi.json").json() == DOCUMENT
    assert [each["name"] for each in api.get("/datasets").json()["datasets"]] == ["DATA_TYPE"]


def test_programs_of_xml_rpc_have_the_new_calls_too(proxy):
    move_id = proxy.move(
        "DATA_TYPE",
        12,
    )["id"]

    waited = proxy.wait(move_id, 30)
    eventually(lambda: proxy.check(move_id)["status"] == "COMPLETED", "the move has ended")
    many = proxy.check_many([move_id, 999_999, "x"])

    assert waited["id"] == move_id
    assert [each["status"] for each in many] == ["COMPLETED", "REJECTED", "REJECTED"]
    assert proxy.jobs({"limit": 1, "status": "COMPLETED"})[0]["id"] >= move_id
    assert proxy.explain(move_id)["cause"] == "ended"
    assert proxy.wait(move_id, 31)["field"] == "seconds"
    assert proxy.jobs({"colour": "red"})["status"] == "REJECTED"
