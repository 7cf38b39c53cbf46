"""All moves that match a filter are acted upon, in steps."""

import pytest

from data_mover.config.callers import Caller
from data_mover.domain.errors import NoSpace, Refusal
from data_mover.domain.rights import Rights, Verb
from data_mover.domain.states import Status
from data_mover.services import bulk
from data_mover.services.bulk import Bulk
from data_mover.store import submissions, transitions
from data_mover.store.listing import JobFilter
from tests.integration.conftest import a_submission

ANN = Caller("ann", Rights())
WATCHER = Caller("ann", Rights(verbs=frozenset({Verb.SEE_ALL})))
OPERATOR = Caller("ann", Rights(verbs=frozenset({Verb.SEE_ALL, Verb.ACT_ALL})))
ALL = JobFilter()


@pytest.fixture
def submit(written):
    return lambda caller="ann", **changes: written(submissions.add, a_submission(caller=caller, **changes))


@pytest.fixture
def run(database, written):
    """Acts on all moves that match; how far it has come after each step."""

    def cancel(job_id):
        written(transitions.cancel, job_id)

    def steps(caller, verb=Verb.CANCEL, job_filter=ALL, of_caller=None, act=cancel):
        all_of_them = Bulk(database)
        found = [all_of_them.begin(caller, job_filter, of_caller)]
        while not found[-1].is_over:
            found.append(all_of_them.step(caller, verb, job_filter, of_caller, found[-1], act))
        return found

    return steps


def test_every_step_continues_where_the_last_one_has_ended(submit, run, monkeypatch):
    monkeypatch.setattr(bulk, "MOVES_OF_A_STEP", 2)
    for _ in range(5):
        submit()

    found = run(ANN)

    assert [each.done for each in found] == [0, 2, 4, 5]
    assert {each.matching for each in found} == {5}


def test_a_step_ends_after_the_move_in_hand_when_its_time_is_over(submit, run, monkeypatch):
    monkeypatch.setattr(bulk, "STEP_SECONDS", 0)
    for _ in range(3):
        submit()

    assert [each.done for each in run(ANN)] == [0, 1, 2, 3, 3]


def test_the_newest_are_taken_where_too_many_match(submit, run, monkeypatch):
    monkeypatch.setattr(bulk, "MOST_MOVES", 2)
    ids = [submit() for _ in range(4)]
    seen = list[int]()

    found = run(ANN, act=seen.append)

    assert (found[0].matching, found[-1].done) == (2, 2)
    assert seen == ids[:1:-1]


def test_a_refusal_is_counted_and_keeps_no_other(submit, run):
    ids = [submit() for _ in range(3)]

    def refuse_two(job_id):
        if job_id != ids[1]:
            raise Refusal(f"Too late {job_id}", code="too-late", field="id")

    last = run(ANN, act=refuse_two)[-1]

    assert (last.done, last.refused, last.refusal) == (1, 2, f"Move {ids[2]}: Too late {ids[2]}")


def test_what_is_submitted_meanwhile_is_left_alone(submit, run):
    ids = [submit() for _ in range(2)]
    seen = list[int]()

    def act(job_id):
        seen.append(job_id)
        submit()

    run(ANN, act=act)

    assert seen == ids[::-1]


def test_what_was_retried_before_is_not_retried_again(submit, run, claim, written):
    failed, retried, running = submit(), submit(), submit()
    for _ in range(2):
        written(transitions.fail, claim(), NoSpace.code, "full")
    again = submit(retry_of=retried)
    seen = list[int]()

    run(ANN, Verb.RETRY, act=seen.append)
    assert seen == [failed]
    seen.clear()
    run(ANN, Verb.CANCEL, act=seen.append)
    assert seen == [again, running]
    seen.clear()
    run(ANN, Verb.RETRY, JobFilter(status=Status.PENDING), act=seen.append)
    assert seen == []


@pytest.mark.parametrize(
    ("caller", "of_caller", "matching", "done"),
    [
        (ANN, None, 1, 1),
        (ANN, "bob", 0, 0),
        (WATCHER, None, 3, 1),
        (WATCHER, "bob", 2, 0),
        (WATCHER, "ann", 1, 1),
        (OPERATOR, None, 3, 3),
        (OPERATOR, "bob", 2, 2),
    ],
)
def test_nobody_acts_on_moves_of_others_who_may_not(submit, run, caller, of_caller, matching, done):
    submit("bob"), submit(), submit("bob")

    found = run(caller, of_caller=of_caller)

    assert (found[0].matching, found[-1].done, found[-1].refused) == (matching, done, 0)
