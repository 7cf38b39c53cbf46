"""Questions on record: who answers them, who hears the answer, and when they are forgotten."""

import threading
from typing import Any

import pytest
from sqlalchemy import delete, update

from data_mover.domain.locations import Endpoint, IfExists
from data_mover.domain.move_spec import MoveSpec
from data_mover.domain.selection import Links, Selection
from data_mover.domain.states import Phase
from data_mover.store import plan_requests
from data_mover.store.database import Database
from data_mover.store.models import PlanRequest
from data_mover.store.plan_requests import ExpectedFailure, PlanReport

LEASE_MS = 30_000
WANTED = MoveSpec(
    sources=(Endpoint("disk", "/a"), Endpoint("web", "https://example.org/b?key=1")),
    destination=Endpoint("vis", "/b/"),
    checksum=None,
    selection=Selection(("*.tif",), Links.FOLLOW, {"a": "0" * 64}, atomic=True),
    if_exists=IfExists.VERIFY,
)


#: what is told of it; the query of a URL may be a secret
ENDS: dict[str, Any] = {
    "sources": [{"host": "disk", "path": "/a"}, {"host": "web", "path": "https://example.org/b?…"}],
    "destination": {"host": "vis", "path": "/b/"},
}


@pytest.fixture
def told(database):
    def read(question):
        with database.reading() as session:
            return plan_requests.report(session, question)

    return read


@pytest.fixture
def waiting(database):
    def read():
        with database.reading() as session:
            return plan_requests.waiting(session)

    return read


@pytest.fixture
def change(written):
    """Changes the columns of all questions."""

    def run(**values):
        written(lambda session: session.execute(update(PlanRequest).values(**values)) and None)

    return run


def test_a_question_arrives_as_it_was_asked(written, told, waiting):
    question = written(plan_requests.ask, "ann", WANTED)

    assert waiting()
    assert told(question) == PlanReport(**ENDS)
    assert written(plan_requests.take, LEASE_MS) == (question, 1, WANTED)


def test_the_same_question_is_one_and_that_of_another_caller_another(written):
    first = written(plan_requests.ask, "ann", WANTED)

    assert written(plan_requests.ask, "ann", WANTED) == first
    assert written(plan_requests.ask, "bob", WANTED) != first


def test_a_question_may_be_asked_while_its_answer_is_taken_away(written, database_url):
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
        asked = [written(plan_requests.ask, "ann", WANTED) for _ in range(200)]
    finally:
        stop.set()
        thread.join()

    assert all(asked)


def test_an_answer_is_told_as_it_was_found(written, told, waiting):
    question = written(plan_requests.ask, "ann", WANTED)
    taken = written(plan_requests.take, LEASE_MS)
    report = PlanReport(phase=Phase.RESOLVING, path="/b", files_total=3, bytes_total=None, bytes_free=2**60, **ENDS)
    report.failures.append(ExpectedFailure("a", "no-such-file", "There is none."))
    report.expect("no-such-file", "There is none.")

    assert written(plan_requests.report_progress, taken, report, LEASE_MS)
    assert told(question) == report
    assert (report.retryable, report.who_can_fix) == (False, "caller")
    report.complete = True
    assert written(plan_requests.report_progress, taken, report, LEASE_MS)
    assert told(question) == report
    assert not waiting()
    written(plan_requests.forget, question)
    assert told(question) is None


def test_one_worker_has_a_question_until_its_lease_is_over(written, waiting, change):
    written(plan_requests.ask, "ann", WANTED)
    first = written(plan_requests.take, LEASE_MS)

    assert written(plan_requests.take, LEASE_MS) is None
    assert not waiting()
    change(lease_until_ms=1)
    second = written(plan_requests.take, LEASE_MS)

    assert second.number == 2
    assert not written(plan_requests.report_progress, first, PlanReport(complete=True), LEASE_MS)
    assert written(plan_requests.report_progress, second, PlanReport(complete=True), LEASE_MS)


def test_a_question_that_is_handed_back_waits_for_another_worker(written, waiting):
    written(plan_requests.ask, "ann", WANTED)
    taken = written(plan_requests.take, LEASE_MS)

    written(plan_requests.hand_back, taken)

    assert waiting()


@pytest.mark.parametrize("days", [-1, 1], ids=["long ago", "by a clock that was ahead"])
def test_a_question_that_nobody_asks_any_more_is_given_up_and_forgotten(written, waiting, change, told, days):
    question = written(plan_requests.ask, "ann", WANTED)
    taken = written(plan_requests.take, LEASE_MS)
    change(asked_ms=PlanRequest.asked_ms + days * 86_400_000)

    assert not written(plan_requests.report_progress, taken, PlanReport(), LEASE_MS)
    assert not waiting()
    written(plan_requests.forget_abandoned)
    assert told(question) is None


def test_nobody_hears_the_answer_to_another_question(written, told):
    first = written(plan_requests.ask, "ann", WANTED)
    written(plan_requests.forget, first)

    second = written(plan_requests.ask, "bob", WANTED)

    assert second != first
    assert told(first) is None


def test_a_question_that_is_asked_is_not_forgotten(written, told):
    question = written(plan_requests.ask, "ann", WANTED)

    written(plan_requests.forget_abandoned)

    assert told(question) is not None
