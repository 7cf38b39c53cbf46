"""What the tests of the database share."""

from typing import Any

import pytest

from data_mover.domain.locations import Endpoint
from data_mover.domain.states import FileKind, Priority
from data_mover.store import host_health, queue
from data_mover.store.file_lists import ListedFile
from data_mover.store.submissions import Submission
from data_mover.store.workers import WorkerProcess

LEASE_SECONDS = 30
SLOTS = {"disk": 1000, "vis": 1000}
WORKER = WorkerProcess(7, "here", 7, "1.0")


def a_submission(**changes):
    """A move of Ann's from `disk` to `vis`."""
    values: dict[str, Any] = {
        "caller": "ann",
        "scopes": None,
        "sources": (Endpoint("disk", "/a"),),
        "destination": Endpoint("vis", "/b"),
        "endpoints": (Endpoint("disk", "/a"),),
        "key": None,
        "label": None,
        "priority": Priority.NORMAL,
        "checksum": None,
        "deadline_seconds": 3600,
    }
    return Submission(**values | changes)


def a_file(path, size_bytes=1):
    """A file of a plan, of the only source."""
    return ListedFile(FileKind.FILE, 0, "/a", "a", path, size_bytes)


@pytest.fixture
def written(database):
    return writer(database)


def writer(database):
    """Runs a function of `jobs` in a transaction of its own."""

    def run(function, *arguments, **values):
        with database.writing() as session:
            return function(session, *arguments, **values)

    return run


@pytest.fixture
def claim(written):
    return claimer(written)


def claimer(written):
    """Claims the best job, of hosts that have been reached; None if there is none."""

    def take():
        for name in SLOTS:
            written(host_health.record_reached, name)
        candidates = written(queue.candidates, WORKER, queue.Limits(SLOTS))
        return written(queue.take, candidates[0], WORKER, queue.Limits(SLOTS), LEASE_SECONDS) if candidates else None

    return take
