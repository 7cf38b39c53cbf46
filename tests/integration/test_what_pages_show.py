"""What pages look at in the database, on each kind of it."""

from data_mover.config.callers import LOCAL, Caller
from data_mover.domain.errors import NoSuchFile
from data_mover.domain.rights import Rights
from data_mover.services.history import History
from data_mover.store import changes, host_health, listing, queue, submissions, transitions
from data_mover.store.host_health import HostActivity
from tests.integration.conftest import a_submission


def looked(database, function, *arguments):
    with database.reading() as session:
        return function(session, *arguments)


def test_whatever_changes_leaves_a_mark(database, written, claim):
    seen = [looked(database, changes.marks)]

    def has_changed():
        seen.append(looked(database, changes.marks))
        return seen[-1] != seen[-2]

    assert not has_changed()
    written(submissions.add, a_submission())
    assert has_changed()
    claimed = claim()
    assert has_changed()
    written(transitions.fail, claimed, NoSuchFile.code, "There is no such file: disk:/a")
    assert has_changed()
    written(host_health.set_paused, "vis", True)
    assert has_changed()
    assert not has_changed()


def test_what_a_host_does_is_counted_for_who_sees_it(database, written, claim):
    for caller in ("ann", "ann", "bob"):
        written(submissions.add, a_submission(caller=caller))
    claim()

    everybody = looked(database, host_health.activity, None)["vis"]
    anns, bobs = (looked(database, host_health.activity, name)["vis"] for name in ("ann", "bob"))
    assert (everybody.running, everybody.waiting) == (1, 2)
    assert (anns.running + bobs.running, anns.waiting + bobs.waiting) == (1, 2)
    assert anns.waiting + anns.running == 2
    assert everybody.reached_at is not None
    assert looked(database, host_health.activity, None).get("nowhere", HostActivity()) == HostActivity()


def test_the_queue_is_as_old_as_what_waits_longest(database, written, claim):
    assert looked(database, queue.waiting_since_ms) is None
    first = written(submissions.add, a_submission())
    since_ms = looked(database, queue.waiting_since_ms)
    written(submissions.add, a_submission())

    assert looked(database, queue.waiting_since_ms) == since_ms
    assert claim().job_id == first
    assert looked(database, queue.waiting_since_ms) >= since_ms


def test_failures_are_grouped_by_code_and_host_for_who_sees_them(database, written, claim):
    ids = [written(submissions.add, a_submission(caller=caller)) for caller in ("ann", "ann", "bob")]
    for detail in ("disk:/a", "disk:/b", "vis:/c"):
        written(transitions.fail, claim(), NoSuchFile.code, NoSuchFile(detail).reason)
    history = History(database)

    groups = history.failures(LOCAL)
    assert [(group.code, group.host, group.count) for group in groups] == [
        ("no-such-file", "disk", 2),
        ("no-such-file", "vis", 1),
    ]
    assert groups[0].who_can_fix == "caller"
    assert {group.newest_id for group in groups} <= set(ids)
    assert sum(group.count for group in history.failures(Caller("bob", Rights()))) == 1
    assert looked(database, listing.owners, "ann", ids) == dict.fromkeys(ids[:2], "ann")


def test_what_did_not_arrive_is_in_no_hour(database, written, claim):
    written(submissions.add, a_submission())
    written(transitions.fail, claim(), NoSuchFile.code, "disk:/a")

    hours = History(database).throughput(LOCAL)
    assert len(hours) == 24
    assert [hour.moves for hour in hours] == [0] * 24
