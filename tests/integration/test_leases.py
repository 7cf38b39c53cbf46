"""The lease of a running job, on real databases."""

import itertools
import threading
import time
from contextlib import contextmanager

import pytest
from sqlalchemy import update
from sqlalchemy.engine import make_url

from data_mover.domain.errors import Cancelled, ConnectionLost, Fenced, GaveWay, Stalled, Stopped
from data_mover.domain.proof import Proof
from data_mover.domain.states import FileKind, FileState
from data_mover.execution import heartbeat as heartbeat_module
from data_mover.execution.heartbeat import Heartbeat, LeaseTerms, Patience, Watch
from data_mover.execution.stop import Stop
from data_mover.store import figures, file_lists, host_health, migrations, queue, reports, submissions, transitions
from data_mover.store.database import Database
from data_mover.store.file_lists import ListedFile
from data_mover.store.models import Job
from data_mover.store.transitions import ArrivedFile
from data_mover.store.workers import WorkerProcess
from tests.integration.conftest import a_submission
from tests.servers.postgresql import postgresql_server
from tests.servers.processes import eventually

WORKER = WorkerProcess(1, "here", 1, "1.0")
TERMS = LeaseTerms(lease_seconds=1, beat_seconds=0.05)
IDLE_SECONDS = 0.5
PATIENCE = Patience(IDLE_SECONDS, 1000)


@contextmanager
def lease_of(database, claimed, aborted, stuck=lambda: None):
    """The lease of a job on a heartbeat of its own."""
    with (
        Heartbeat(database, WORKER, TERMS, Stop(5)) as heartbeat,
        heartbeat.lease(claimed, PATIENCE, aborted.set, stuck) as lease,
    ):
        yield lease


def claim_of(database):
    """A job that has just been claimed."""
    with database.writing() as session:
        submissions.add(session, a_submission())
    slots = {"disk": 1, "vis": 1}
    with database.writing() as session:
        [candidate] = queue.candidates(session, WORKER, queue.Limits(slots))
        return queue.take(session, candidate, WORKER, queue.Limits(slots), TERMS.lease_seconds)


@pytest.fixture
def claimed(database):
    return claim_of(database)


@pytest.fixture
def aborted():
    return threading.Event()


def test_a_transfer_that_moves_keeps_its_lease_and_its_progress_is_on_record(database, claimed, aborted):
    with lease_of(database, claimed, aborted) as lease:
        for count in range(60):
            lease.moved(100 * count)
            time.sleep(0.025)

    assert lease.lost is None
    with database.writing() as session:
        assert transitions.take_back_lost(session, 10) == []
        reported = reports.report(session, "ann", claimed.job_id)
    assert reported.bytes_done > 40
    assert reported.bytes_per_second > 0


def test_what_earlier_attempts_have_brought_is_counted_and_keeps_the_lease(database, claimed, aborted):
    planned = [ListedFile(FileKind.FILE, 0, f"/{name}", name, f"/d/{name}", 100) for name in "ab"]
    with database.writing() as session:
        assert file_lists.complete_file_list(session, claimed, "/d", 0, planned)
        assert transitions.record_arrived(
            session, claimed, [ArrivedFile(0, Proof(100, "0" * 64, "size"), FileState.PUBLISHED)]
        )
        found = figures.figures(session, claimed.job_id)

    with lease_of(database, claimed, aborted) as lease:
        lease.settled(found.arrived_bytes)
        lease.moved(7)
        eventually(lambda: bytes_done(database, claimed) == 107, "both files are counted")

    assert (found.missing_bytes, lease.lost) == (100, None)


def bytes_done(database, claimed):
    with database.reading() as session:
        return reports.report(session, "ann", claimed.job_id).bytes_done


@pytest.mark.parametrize("detail", ["vis:/b", "vis does not answer", "vis"])
def test_the_host_that_a_stalled_transfer_waited_for_is_the_one_that_stalled(database, claimed, aborted, detail):
    with lease_of(database, claimed, aborted) as lease:
        assert aborted.wait(30)
        outcome = lease.cause_of(ConnectionLost(detail))

    assert isinstance(outcome, Stalled)
    assert [outcome.is_of(name) for name in ("disk", "vis")] == [False, True]
    with database.writing() as session:
        host_health.record_move(session, claimed.host_names, outcome)
        health = host_health.health(session)
    assert (health["vis"].state, health["vis"].code) == ("failing", "stalled")
    assert health["disk"].state != "failing"


def test_a_transfer_in_which_nothing_moves_is_stalled_however_often_it_says_the_same(database, claimed, aborted):
    with lease_of(database, claimed, aborted) as lease, pytest.raises(Stalled):
        eventually(lambda: lease.moved(7), "the lease is lost")

    assert aborted.is_set()


def test_a_sign_of_life_that_is_no_progress_keeps_the_lease(database, claimed, aborted):
    with lease_of(database, claimed, aborted) as lease:
        for _ in range(40):
            lease.alive()
            time.sleep(0.025)

    assert lease.lost is None


def test_a_transfer_that_is_kept_waiting_by_something_else_than_a_host_is_not_stalled(database, claimed, aborted):
    with lease_of(database, claimed, aborted) as lease:
        for _ in range(40):
            lease.excused()
            time.sleep(0.025)
        assert lease.lost is None
        lease.alive(silent_seconds=1)
        lease.excused()
        assert not aborted.wait(IDLE_SECONDS + 0.5)


def test_a_host_that_works_by_itself_has_its_time_and_no_more(database, claimed, aborted):
    with lease_of(database, claimed, aborted) as lease:
        lease.alive(silent_seconds=1)
        assert not aborted.wait(IDLE_SECONDS + 0.5)
        with pytest.raises(Stalled):
            eventually(lambda: lease.moved(0), "the lease is lost")


def test_an_attempt_whose_job_is_anothers_stops_at_its_next_word(database, claimed, aborted):
    with lease_of(database, claimed, aborted) as lease:
        with database.writing() as session:
            session.execute(update(Job).values(attempt=2))
        with pytest.raises(Fenced):
            eventually(lambda: lease.alive(), "the lease is lost")

    assert not aborted.is_set()


def test_while_the_database_is_away_the_lease_holds_for_as_long_as_it_was_given(tmp_path, aborted):
    with postgresql_server(tmp_path / "postgresql") as url:
        database = Database(make_url(url))
        migrations.upgrade(database.engine)
        claimed = claim_of(database)

    with lease_of(database, claimed, aborted) as lease:
        lease.alive()
        with pytest.raises(Fenced):
            eventually(lambda: lease.alive(), "the lease is lost", 20)
    database.close()


def test_a_transfer_that_was_cancelled_is_left_to_clear_up_behind_itself(database, claimed, aborted):
    with lease_of(database, claimed, aborted) as lease:
        with database.writing() as session:
            transitions.cancel(session, claimed.job_id)

        with pytest.raises(Cancelled):
            eventually(lease.alive, "the wish is heard")

    assert not aborted.is_set()


def test_a_transfer_that_is_blocked_by_a_host_is_ended_when_it_is_cancelled(database, claimed, aborted):
    with lease_of(database, claimed, aborted):
        with database.writing() as session:
            transitions.cancel(session, claimed.job_id)

        eventually(aborted.is_set, "the connections are ended")


def test_a_transfer_that_does_not_notice_that_it_is_stalled_counts_as_stuck(database, claimed, aborted, monkeypatch):
    monkeypatch.setattr(heartbeat_module, "STUCK_SECONDS", 0.2)
    stuck = threading.Event()
    with lease_of(database, claimed, aborted, stuck.set) as lease:
        eventually(stuck.is_set, "it counts as stuck")
        assert aborted.is_set()
        assert isinstance(lease.lost, Stalled)


def test_a_transfer_that_notices_that_it_is_stalled_is_left_to_itself(database, claimed, aborted, monkeypatch):
    monkeypatch.setattr(heartbeat_module, "STUCK_SECONDS", 0.1)
    stuck = threading.Event()
    with lease_of(database, claimed, aborted, stuck.set) as lease:
        eventually(aborted.is_set, "it is stalled")
        lease.noticed()
        assert not stuck.wait(IDLE_SECONDS / 2)


@pytest.mark.parametrize("cause", [Cancelled(), Fenced(), Stopped(), GaveWay(1)], ids=lambda each: type(each).__name__)
def test_a_transfer_that_hangs_is_noticed_whatever_it_was_to_end_for(database, claimed, aborted, monkeypatch, cause):
    monkeypatch.setattr(heartbeat_module, "STUCK_SECONDS", 0.2)
    stuck = threading.Event()
    with lease_of(database, claimed, aborted, stuck.set) as lease:
        lease.give_up(cause)

        eventually(stuck.is_set, "it counts as stuck")
        assert aborted.is_set()
        assert lease.lost is cause


def test_a_transfer_that_hangs_while_it_clears_up_is_noticed(database, claimed, aborted, monkeypatch):
    monkeypatch.setattr(heartbeat_module, "STUCK_SECONDS", 0.2)
    stuck = threading.Event()
    with lease_of(database, claimed, aborted, stuck.set) as lease:
        with database.writing() as session:
            transitions.cancel(session, claimed.job_id)
        with pytest.raises(Cancelled):
            eventually(lease.alive, "the wish is heard")

        eventually(stuck.is_set, "it counts as stuck")
        assert aborted.is_set()


def test_clearing_up_has_its_time_for_as_long_as_something_happens(database, claimed, aborted, monkeypatch):
    monkeypatch.setattr(heartbeat_module, "STUCK_SECONDS", 0.0)
    stuck = threading.Event()
    with lease_of(database, claimed, aborted, stuck.set) as lease:
        lease.give_up(Cancelled())
        for _ in range(40):
            with pytest.raises(Cancelled):
                lease.alive()
            time.sleep(0.025)

    assert not aborted.is_set()
    assert not stuck.is_set()


@pytest.fixture
def watched(database):
    """Other work that the heartbeat watches; it may last for half a second, or for what the test says."""

    @contextmanager
    def watch_of(idle_seconds=IDLE_SECONDS, longest_seconds=60.0):
        over, stuck = threading.Event(), threading.Event()
        watch = Watch("the work", idle_seconds, longest_seconds, over.set, stuck.set)
        with Heartbeat(database, WORKER, TERMS, Stop(5)) as heartbeat, heartbeat.watching(watch.look):
            yield watch, over, stuck

    return watch_of


def test_other_work_that_hangs_is_noticed(watched, monkeypatch):
    monkeypatch.setattr(heartbeat_module, "STUCK_SECONDS", 0.2)
    with watched() as (watch, over, stuck):
        eventually(stuck.is_set, "it counts as stuck")
        assert over.is_set()
        with pytest.raises(Stalled, match="the work has brought nothing about"):
            watch.alive()


def test_other_work_that_takes_too_long_ends_and_does_not_count_as_stuck(watched, monkeypatch):
    monkeypatch.setattr(heartbeat_module, "STUCK_SECONDS", 0.0)
    with watched(idle_seconds=60, longest_seconds=0.3) as (watch, over, stuck):
        with pytest.raises(Stalled, match="the work took"):
            eventually(watch.alive, "it is over")
        eventually(over.is_set, "its connections have ended")
        assert not stuck.wait(0.3)


@pytest.mark.parametrize("way", ["sent", "read"])
def test_a_transfer_that_drips_is_stalled(database, claimed, aborted, way):
    count = itertools.count()
    with lease_of(database, claimed, aborted) as lease:

        def drip():
            if way == "sent":
                lease.moved(next(count))
            else:
                lease.read(1)
            return lease.lost

        eventually(lambda: _raised(drip), "it is stalled")
        assert "less than 1000 bytes/s moved" in lease.lost.reason


def test_a_transfer_that_reads_fast_enough_or_lists_keeps_its_lease(database, claimed, aborted):
    with lease_of(database, claimed, aborted) as lease:
        for number in range(40):
            lease.read(1000) if number < 20 else lease.listed()
            time.sleep(0.025)

    assert lease.lost is None


def test_a_listing_that_drips_is_stalled(database, claimed, aborted, monkeypatch):
    monkeypatch.setattr(heartbeat_module, "SECONDS_AN_ENTRY", 0.01)
    with lease_of(database, claimed, aborted) as lease:

        def drip():
            lease.listed()
            return lease.lost

        eventually(lambda: _raised(drip), "it is stalled", every_seconds=0.05)


def _raised(step):
    try:
        return step()
    except Stalled:
        return True
