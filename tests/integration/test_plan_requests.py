"""Plan requests on record: who answers them, who hears the answer, and when they are forgotten."""

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import pytest
from sqlalchemy import delete, update

from data_mover.config.callers import OnlyThisMachine
from data_mover.config.registry_file import load_registry
from data_mover.domain.backoff import Backoff
from data_mover.domain.locations import Endpoint, IfExists
from data_mover.domain.move_spec import MoveSpec
from data_mover.domain.selection import Links, Selection
from data_mover.domain.states import Phase
from data_mover.doorbell import Doorbell, redis_connection
from data_mover.execution.connector import Connector
from data_mover.execution.heartbeat import Heartbeat, LeaseTerms
from data_mover.execution.plan_requests import answer_plan_request
from data_mover.execution.stop import Stop
from data_mover.store import plan_requests, workers
from data_mover.store.database import Database
from data_mover.store.models import PlanRequest
from data_mover.store.plan_requests import ExpectedFailure, PlanReport
from data_mover.store.workers import WorkerProcess
from tests.servers.deployment import host_table

LEASE_SECONDS = 30
SPEC = MoveSpec(
    sources=(Endpoint("disk", "/a"), Endpoint("web", "https://example.org/b?key=1")),
    destination=Endpoint("vis", "/b/"),
    checksum=None,
    selection=Selection(("*.tif",), Links.FOLLOW, {"a": "0" * 64}, atomic=True),
    if_exists=IfExists.VERIFY,
    asked=None,
    scopes=None,
)


#: what is reported of it; the query of a URL may be a secret
ENDS: dict[str, Any] = {
    "sources": [{"host": "disk", "path": "/a"}, {"host": "web", "path": "https://example.org/b?…"}],
    "destination": {"host": "vis", "path": "/b/"},
}


@pytest.fixture
def reported(database):
    def read(request_id):
        with database.reading() as session:
            return plan_requests.report(session, request_id)

    return read


@pytest.fixture
def waiting(database):
    def read():
        with database.reading() as session:
            return plan_requests.waiting(session)

    return read


@pytest.fixture
def change(written):
    """Changes the columns of all plan requests."""

    def run(**values):
        written(lambda session: session.execute(update(PlanRequest).values(**values)) and None)

    return run


def test_a_request_arrives_as_it_was_asked(written, reported, waiting):
    request_id = written(plan_requests.ask, "ann", SPEC)

    assert waiting()
    assert reported(request_id) == PlanReport(**ENDS)
    assert written(plan_requests.take, LEASE_SECONDS) == (request_id, 1, "ann", SPEC)


def test_the_same_question_is_one_and_that_of_another_caller_another(written):
    first = written(plan_requests.ask, "ann", SPEC)

    assert written(plan_requests.ask, "ann", SPEC) == first
    assert written(plan_requests.ask, "bob", SPEC) != first


def test_a_request_may_be_asked_while_its_answer_is_taken_away(written, database_url):
    """One asks again and again while another takes each answer away."""
    stop = threading.Event()

    def take_away():
        other = Database(database_url)
        while not stop.is_set():
            with other.writing() as session:
                session.execute(delete(PlanRequest))
        other.close()

    thread = threading.Thread(target=take_away)
    thread.start()
    try:
        asked = [written(plan_requests.ask, "ann", SPEC) for _ in range(200)]
    finally:
        stop.set()
        thread.join()

    assert all(asked)


def test_an_answer_is_reported_as_it_was_found(written, reported, waiting):
    request_id = written(plan_requests.ask, "ann", SPEC)
    claim = written(plan_requests.take, LEASE_SECONDS)
    report = PlanReport(phase=Phase.RESOLVING, path="/b", files_total=3, bytes_total=None, bytes_free=2**60, **ENDS)
    report.failures.append(ExpectedFailure("a", "no-such-file", "There is none."))
    report.expect("no-such-file", "There is none.")

    assert written(plan_requests.report_progress, claim, report, LEASE_SECONDS)
    assert reported(request_id) == report
    assert (report.retryable, report.who_can_fix) == (False, "caller")
    report.complete = True
    assert written(plan_requests.report_progress, claim, report, LEASE_SECONDS)
    assert reported(request_id) == report
    assert not waiting()
    written(plan_requests.forget, request_id)
    assert reported(request_id) is None


def test_one_worker_has_a_request_until_its_lease_is_over(written, waiting, change):
    written(plan_requests.ask, "ann", SPEC)
    first = written(plan_requests.take, LEASE_SECONDS)

    assert written(plan_requests.take, LEASE_SECONDS) is None
    assert not waiting()
    change(lease_until_ms=1)
    second = written(plan_requests.take, LEASE_SECONDS)

    assert second.number == 2
    assert not written(plan_requests.report_progress, first, PlanReport(complete=True), LEASE_SECONDS)
    assert written(plan_requests.report_progress, second, PlanReport(complete=True), LEASE_SECONDS)


def test_a_request_that_is_handed_back_waits_for_another_worker(written, waiting):
    written(plan_requests.ask, "ann", SPEC)
    claim = written(plan_requests.take, LEASE_SECONDS)

    written(plan_requests.hand_back, claim)

    assert waiting()


@pytest.mark.parametrize("days", [-1, 1], ids=["long ago", "by a clock that was ahead"])
def test_a_request_that_nobody_repeats_is_given_up_and_forgotten(written, waiting, change, reported, days):
    request_id = written(plan_requests.ask, "ann", SPEC)
    claim = written(plan_requests.take, LEASE_SECONDS)
    change(asked_ms=PlanRequest.asked_ms + days * 86_400_000)

    assert not written(plan_requests.report_progress, claim, PlanReport(), LEASE_SECONDS)
    assert not waiting()
    written(plan_requests.forget_abandoned)
    assert reported(request_id) is None


def test_nobody_hears_the_answer_to_another_request(written, reported):
    first = written(plan_requests.ask, "ann", SPEC)
    written(plan_requests.forget, first)

    second = written(plan_requests.ask, "bob", SPEC)

    assert second != first
    assert reported(first) is None


def test_a_request_that_is_repeated_is_not_forgotten(written, reported):
    request_id = written(plan_requests.ask, "ann", SPEC)

    written(plan_requests.forget_abandoned)

    assert reported(request_id) is not None


@pytest.fixture
def workers_alive(written):
    def live(count):
        for id_ in range(1, count + 1):
            written(workers.beat, WorkerProcess(id_, "here", id_, "1.0"), ())

    return live


def ask_many(written, caller, count):
    return [written(plan_requests.ask, caller, replace(SPEC, checksum=f"{n}")) for n in range(count)]


def taken_ids(written, count):
    return [taken.id if taken else None for taken in (written(plan_requests.take, LEASE_SECONDS) for _ in range(count))]


@pytest.mark.parametrize(("count", "of_ann"), [(0, 1), (1, 1), (2, 1), (4, 3)])
def test_no_caller_has_the_plans_of_all_workers(written, waiting, workers_alive, count, of_ann):
    workers_alive(count)
    ann = ask_many(written, "ann", 20)

    assert taken_ids(written, of_ann + 1) == [*ann[:of_ann], None]
    assert not waiting()
    bob = written(plan_requests.ask, "bob", SPEC)
    assert waiting()
    assert taken_ids(written, 1) == [bob]


def test_plans_are_answered_in_turn_for_each_caller(written, workers_alive):
    workers_alive(9)
    ann, bob = ask_many(written, "ann", 3), ask_many(written, "bob", 3)

    assert taken_ids(written, 6) == [ann[0], bob[0], ann[1], bob[1], ann[2], bob[2]]


def test_of_workers_that_take_at_once_no_two_are_one_callers_beyond_its_share(written, workers_alive, database_url):
    workers_alive(2)
    ask_many(written, "ann", 20)

    def take(_):
        database = Database(database_url)
        with database.writing() as session:
            taken = plan_requests.take(session, LEASE_SECONDS)
        database.close()
        return taken

    with ThreadPoolExecutor(8) as threads:
        taken = [claim for claim in threads.map(take, range(16)) if claim is not None]

    assert len(taken) == 1


def test_a_plan_that_takes_too_long_is_given_up_and_says_so(
    database, written, reported, tmp_path, redis_url, monkeypatch
):
    """Of 30 directories each has two links to the next one: 2 to the power of 30 paths."""
    monkeypatch.setattr("data_mover.execution.plan_requests.LONGEST_SECONDS", 0.5)
    for number in range(30):
        (tmp_path / "maze" / str(number)).mkdir(parents=True)
        for name in ("left", "right"):
            (tmp_path / "maze" / str(number) / name).symlink_to(f"../{number + 1}")
    (tmp_path / "maze" / "30").mkdir()
    local = {"protocol": "local", "root": tmp_path, "roles": ["source", "destination"]}
    (tmp_path / "registry.toml").write_text(host_table("disk", local) + host_table("vis", local))
    registry = load_registry(tmp_path / "registry.toml", open_web=False)
    selection = Selection(("nothing",), Links.FOLLOW)
    spec = replace(
        SPEC, sources=(Endpoint("disk", "/maze/0"),), destination=Endpoint("vis", "/b/"), selection=selection
    )
    request_id = written(plan_requests.ask, "ann", spec)
    connector = Connector(database, Backoff(1, 1), Doorbell(redis_connection(redis_url, None)))

    with Heartbeat(database, WorkerProcess(1, "here", 1, "1.0"), LeaseTerms(30, 0.05), Stop(5)) as heartbeat:
        answer_plan_request(database, registry, OnlyThisMachine(), connector, heartbeat, most_files=10**9)

    report = reported(request_id)
    assert (report.complete, report.code) == (True, "stalled")
    assert "the plan took 0.5 s" in report.reason
