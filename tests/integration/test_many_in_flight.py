"""Many files of a job under way at a time: what is on record when, and what becomes of a batch that breaks."""

import os

import pytest
from sqlalchemy import event, select, update

from data_mover.backends.futures import complete
from data_mover.backends.local.backend import LocalFiles
from data_mover.config.callers import OnlyThisMachine
from data_mover.config.registry import Registry
from data_mover.config.registry_file import RegistryFile
from data_mover.config.settings import Settings
from data_mover.domain import fault_points
from data_mover.domain.backoff import Backoff
from data_mover.domain.errors import Cancelled, ConnectionLost, Fenced, PathBusy
from data_mover.domain.locations import Endpoint
from data_mover.domain.proof import Proof
from data_mover.domain.selection import Selection
from data_mover.domain.states import FileKind, FileState, Phase
from data_mover.doorbell import Doorbell, redis_connection
from data_mover.execution.attempt import Attempt
from data_mover.execution.boundaries import Boundaries
from data_mover.execution.connector import Connector
from data_mover.execution.heartbeat import Heartbeat, LeaseTerms, Patience
from data_mover.execution.journal import Arrived, Journal, Locking, Publishing, Removed
from data_mover.execution.record import Record
from data_mover.execution.staging import Atomic
from data_mover.execution.stop import Stop
from data_mover.store import file_lists, host_health, queue, submissions, transitions
from data_mover.store.models import Job, JobFile, TemporaryFile
from data_mover.store.temporary_files import NewTemporaryFile
from data_mover.store.transitions import ArrivedFile, PathLock
from data_mover.store.workers import WorkerProcess
from tests.integration.conftest import a_file, a_submission
from tests.servers.deployment import host_table
from tests.unit.transfer.diary import files

FILES = 60
LIMITS = queue.Limits({"disk": 2, "vis": 2})
LEASE_SECONDS = 30
PROOF = Proof(1, "ab", "size")
WORKER = WorkerProcess(1, "here", 1, "1.0")


@pytest.fixture
def roots(tmp_path):
    for number in range(FILES):
        path = tmp_path / "source" / f"{number:02}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(f"content of {number}".encode() * 100)
    (tmp_path / "target").mkdir()
    return tmp_path


@pytest.fixture(params=["sftp", "local"])
def registry(request, roots, openssh):
    """A directory as the source, and a host of each kind as the destination."""
    local = {"protocol": "local", "root": roots, "roles": ["source", "destination"]}
    destination = openssh.options(roots) if request.param == "sftp" else local
    path = roots / "registry.toml"
    path.write_text(host_table("disk", local) + host_table("vis", destination))
    return RegistryFile(path, False).current()


@pytest.fixture
def settings(roots):
    return Settings.from_mapping(
        {
            "sqlalchemy.url": f"sqlite:///{roots}/jobs.db",
            "redis.url": "redis://127.0.0.1:6379/0",
            "data_mover.registry": str(roots / "registry.toml"),
            "data_mover.callers": "none",
            "data_mover.state_dir": str(roots / "state"),
        }
    )


@pytest.fixture
def attempt(settings, database, registry):
    """Claims the job and makes one attempt at it."""

    def run():
        doorbell = Doorbell(redis_connection(settings.redis_url, settings.redis_secret()))
        connector = Connector(database, Backoff(1, 1), doorbell)
        with Heartbeat(database, WORKER, LeaseTerms(30, 2), Stop(patience_seconds=5)) as heartbeat:
            Attempt(settings, database, registry, OnlyThisMachine(), connector, heartbeat, claim(database)).run()
        connector.give_up()

    return run


@pytest.fixture
def orders(tmp_path, monkeypatch):
    """A directory of orders to the fault points, which are open until the test ends."""
    (tmp_path / "orders").mkdir()
    monkeypatch.setenv("DATA_MOVER_FAULTS", str(tmp_path / "orders"))
    fault_points.open_to_orders()
    yield tmp_path / "orders"
    monkeypatch.undo()
    fault_points.open_to_orders()


def submit(database, **changes):
    folder = (Endpoint("disk", "/source"),)
    with database.writing() as session:
        to = Endpoint("vis", "/target/all")
        submissions.add(session, a_submission(sources=folder, endpoints=folder, destination=to, **changes))


def claim(database):
    with database.writing() as session:
        session.execute(update(Job).values(not_before_ms=0))
        for host in LIMITS.of_hosts:
            host_health.record_reached(session, host)
        [candidate] = queue.candidates(session, WORKER, LIMITS)
        return queue.take(session, candidate, WORKER, LIMITS, LEASE_SECONDS)


def states(database):
    with database.reading() as session:
        files = select(JobFile.name, JobFile.state).where(JobFile.kind == FileKind.FILE)
        return dict(session.execute(files).all())


def job(database):
    with database.reading() as session:
        return session.scalars(select(Job)).one()


def contents(directory):
    return {name: (directory / name).read_bytes() for name in os.listdir(directory)}


def test_all_files_arrive_and_their_transactions_are_few(database, attempt, roots):
    commits: list[object] = []
    submit(database)
    event.listen(database.writing_engine, "commit", commits.append)

    attempt()

    assert (job(database).status, job(database).files_done) == ("COMPLETED", FILES)
    assert contents(roots / "target" / "all") == contents(roots / "source")
    assert len(commits) < FILES
    with database.reading() as session:
        assert not session.scalars(select(TemporaryFile)).all()


def test_one_file_that_fails_keeps_no_other_of_its_batch(database, attempt, roots):
    submit(database, selection=Selection(checksums={"07": "0" * 64}))

    attempt()

    found = states(database)
    assert found.pop("07") == FileState.FAILED
    assert set(found.values()) == {FileState.PUBLISHED}
    assert (job(database).status, job(database).files_done) == ("FAILED", FILES - 1)
    assert sorted(os.listdir(roots / "target" / "all")) == sorted(found)


@pytest.mark.parametrize("point", ["batch", "recorded", "verified", "marked", "renamed", "moved"])
def test_a_batch_that_breaks_in_the_middle_is_finished_by_the_next_attempt(database, attempt, roots, orders, point):
    submit(database)
    (orders / point).write_text("raise")

    attempt()
    assert (job(database).status, job(database).code) == ("PENDING", "internal")
    attempt()

    assert (job(database).status, job(database).files_done) == ("COMPLETED", FILES)
    assert contents(roots / "target" / "all") == contents(roots / "source")


class OnRecord:
    """A journal over a job of three files, `a` of which has begun."""

    def __init__(self, database, lease, claimed):
        self.database, self.claimed, self.lease = database, claimed, lease
        self.journal = Journal(Record(database, claimed, lease, 30))
        with database.writing() as session:
            file_lists.complete_file_list(session, claimed, "/", 0, [a_file(f"/{name}") for name in "abc"])

    def begin(self, number):
        lock = PathLock(number, f"vis:22/{number}")
        return self.journal.put(Locking(lock, NewTemporaryFile(number, FileKind.FILE, f"/t{number}", None, None)))

    def prove(self, number):
        return self.journal.put(Publishing(number, PROOF, Phase.TRANSFERRING))

    def arrive(self, number):
        return self.journal.put(Arrived(ArrivedFile(number, PROOF, FileState.PUBLISHED, f"/t{number}")))

    def state(self, number):
        with self.database.reading() as session:
            return session.scalars(select(JobFile.state).where(JobFile.number == number)).first()


async def outcome(entry):
    await entry


@pytest.fixture
def on_record(database):
    submit(database)
    claimed = claim(database)
    with (
        Heartbeat(database, WORKER, LeaseTerms(30, 2), Stop(5)) as heartbeat,
        heartbeat.lease(claimed, Patience(60), lambda: None, lambda: None) as lease,
    ):
        yield OnRecord(database, lease, claimed)


class Broken(LocalFiles):
    """A connection that has broken."""

    def list(self, path):
        raise ConnectionLost(self.host)


@pytest.mark.parametrize(("kind", "is_there"), [(LocalFiles, False), (Broken, True)])
def test_a_folder_that_a_late_attempt_has_made_is_removed_or_on_record_again(
    database, on_record, tmp_path, kind, is_there
):
    lease = on_record.lease
    destination = files(tmp_path / "vis", kind)
    claimed = on_record.claimed
    boundaries = Boundaries(OnlyThisMachine(), "ann", claimed, Registry({}, {}))
    staging = Atomic(Record(database, claimed, lease, 30), boundaries, destination, "/folder")
    destination.make_directories(staging.inside("/folder/sub"))
    lease.noticed()

    staging.leave()
    staging.leave()

    assert bool(os.listdir(tmp_path / "vis")) == is_there
    with database.reading() as session:
        recorded = session.execute(select(TemporaryFile.path, TemporaryFile.kind)).all()
    assert recorded == [(staging.inside("/folder"), FileKind.DIRECTORY)] * is_there


def test_entries_of_many_files_are_on_record_at_once(on_record):
    first, second = on_record.begin(0), on_record.begin(1)

    complete(outcome(first))

    assert second.is_done
    assert (on_record.state(0), on_record.state(1)) == (FileState.TRANSFERRING, FileState.TRANSFERRING)


def test_a_path_that_another_job_writes_to_is_the_failure_of_its_file_alone(database, on_record):
    submit(database)
    other = OnRecord(database, None, claim(database))
    with database.writing() as session:
        transitions.lock_paths(session, other.claimed, [PathLock(0, "vis:22/1")], LEASE_SECONDS)

    free, busy = on_record.begin(0), on_record.begin(1)

    complete(outcome(free))
    with pytest.raises(PathBusy):
        complete(outcome(busy))
    with database.reading() as session:
        assert [file.path for file in session.scalars(select(TemporaryFile))] == ["/t0"]


def test_an_attempt_that_is_fenced_in_mid_batch_marks_nothing(database, on_record):
    complete(outcome(on_record.begin(0)))
    with database.writing() as session:
        session.execute(update(Job).values(attempt=Job.attempt + 1))

    mark, begin, gone = on_record.prove(0), on_record.begin(1), on_record.journal.put(Removed("/t0"))

    for entry in (mark, begin):
        with pytest.raises(Fenced):
            complete(outcome(entry))
    complete(outcome(gone))
    assert (on_record.state(0), on_record.state(1)) == (FileState.TRANSFERRING, FileState.PENDING)


def test_what_has_arrived_is_on_record_though_nobody_wants_the_job_any_more(database, on_record):
    complete(outcome(on_record.begin(0)))
    complete(outcome(on_record.prove(0)))
    with database.writing() as session:
        session.execute(update(Job).values(phase=Phase.CANCELLING))

    arrived, mark = on_record.arrive(0), on_record.prove(1)

    complete(outcome(arrived))
    with pytest.raises(Cancelled):
        complete(outcome(mark))
    assert (on_record.state(0), on_record.state(1)) == (FileState.PUBLISHED, FileState.PENDING)
