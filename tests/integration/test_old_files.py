"""Old files that swaps have moved aside: they go back only where no other job is about to publish."""

import pytest
from sqlalchemy import select, update

from data_mover.backends.local.options import LocalOptions
from data_mover.config.registry import Registry
from data_mover.domain.backoff import Backoff
from data_mover.domain.errors import PathBusy
from data_mover.domain.states import FileKind
from data_mover.doorbell import Doorbell, redis_connection
from data_mover.execution.connector import Connector
from data_mover.execution.heartbeat import Heartbeat, LeaseTerms
from data_mover.execution.stop import Stop
from data_mover.store import file_lists, submissions, temporary_files, transitions
from data_mover.store.models import JobFile, TemporaryFile
from data_mover.store.temporary_files import NewTemporaryFile
from data_mover.store.transitions import PathLock
from data_mover.worker.maintenance import clear_temporary_files
from tests.integration.conftest import LEASE_SECONDS, WORKER, a_file, a_submission

LOCK = PathLock(0, "vis:22/f")


@pytest.fixture
def root(tmp_path):
    (tmp_path / "root").mkdir()
    return tmp_path / "root"


@pytest.fixture
def clear(database, root):
    """Clears whatever is due, and makes all that was left alone due again."""
    table = {"protocol": "local", "root": str(root), "roles": ["destination"]}
    registry = Registry({"vis": LocalOptions.model_validate(table)}, {})
    connector = Connector(database, Backoff(1, 1), Doorbell(redis_connection("redis://127.0.0.1:1/0", None)))

    def run():
        with database.writing() as session:
            session.execute(update(TemporaryFile).values(not_before_ms=0))
        with Heartbeat(database, WORKER, LeaseTerms(30, 2), Stop(5)) as heartbeat:
            clear_temporary_files(database, registry, connector, heartbeat)

    return run


@pytest.fixture
def swapping(written, claim, root):
    """Claims a job that has locked `/f`, and has moved aside what was there: the content that is given."""

    def begin(content):
        written(submissions.add, a_submission())
        job = claim()
        written(file_lists.complete_file_list, job, "/f", 0, [a_file("/f")])
        assert written(transitions.lock_paths, job, [LOCK], LEASE_SECONDS) == {}
        aside = NewTemporaryFile(0, FileKind.FILE, f"/.data_mover-{job.job_id}-0-1-old", restores="/f")
        written(temporary_files.record_temporary_files, job, [aside], LEASE_SECONDS)
        (root / aside.path[1:]).write_bytes(content)
        return job

    return begin


def fail(written, job):
    assert written(transitions.fail, job, "permission", "vis:/f")


def contents(root):
    return {path.name: path.read_bytes() for path in root.iterdir()}


def test_an_old_file_waits_while_another_job_swaps_and_never_replaces_a_newer_one(root, swapping, written, clear):
    first = swapping(b"ancient")
    fail(written, first)
    second = swapping(b"current")

    clear()
    assert contents(root) == {".data_mover-1-0-1-old": b"ancient", ".data_mover-2-0-1-old": b"current"}

    fail(written, second)
    clear()
    assert (root / "f").read_bytes() == b"current"
    clear()
    assert contents(root) == {"f": b"current"}


def test_no_job_has_the_path_while_an_old_file_goes_back(root, swapping, written, claim, clear, database):
    fail(written, swapping(b"old"))
    [left] = written(temporary_files.claim_temporary_files, 10, 0)
    assert written(temporary_files.lock_final_path, left)

    written(submissions.add, a_submission())
    job = claim()
    written(file_lists.complete_file_list, job, "/f", 0, [a_file("/f")])
    refused = written(transitions.lock_paths, job, [LOCK], LEASE_SECONDS)
    clear()  # by another worker: the first one has died

    assert isinstance(refused[0], PathBusy)
    assert contents(root) == {"f": b"old"}
    assert written(transitions.lock_paths, job, [LOCK], LEASE_SECONDS) == {}


def test_an_old_file_that_cannot_go_back_leaves_its_path_to_others(root, swapping, written, clear, database):
    fail(written, swapping(b"old"))
    (root / ".data_mover-1-0-1-old").unlink()
    (root / ".data_mover-1-0-1-old").mkdir()
    (root / "f").write_bytes(b"another")

    clear()

    with database.reading() as session:
        assert len(session.scalars(select(TemporaryFile)).all()) == 1
        assert session.scalars(select(JobFile.locked)).all() == [False]
