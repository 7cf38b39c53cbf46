"""How much memory and how many row changes a folder costs a worker, whatever its number of files."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from data_mover.store.database import Database
from tests.servers.deployment import TERMINAL, Deployment, deployment, host_table
from tests.servers.peaks import Peaks
from tests.servers.processes import eventually

FEW, MANY = 1_000, 100_000
LONGEST_SECONDS = 7200
LOOKS_EVERY_SECONDS = 0.2
#: half of the files are in one directory, the others in directories of so many
IN_A_DIRECTORY = 1_000
#: what a hundred times as many files may cost
MORE_BYTES = 20 * 10**6
TABLES = ("jobs", "job_files", "temporary_files")
#: changes of rows that a file may cost
CHANGES = 12


@dataclass
class Cost:
    """The cost of moving so many files."""

    files: int
    peaks: Peaks = field(default_factory=Peaks)
    planning_seconds: float = 0
    moving_seconds: float = 0
    #: changes of rows, by table
    changes: dict[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        planned, moved = self.files / self.planning_seconds, self.files / self.moving_seconds
        changes = ", ".join(f"{count / self.files:.2f} of {table}" for table, count in self.changes.items())
        return (
            f"{self.files} files: {self.peaks}; {planned:.0f} files/s planned, {moved:.0f} files/s moved;"
            f" changes of rows for each file: {changes}"
        )


@pytest.fixture
def service(tmp_path, redis_url) -> Iterator[Deployment]:
    registry = "".join(
        host_table(name, {"protocol": "local", "root": tmp_path / name, "roles": ["source", "destination"]})
        for name in ("disk", "shelf")
    )
    for name in ("disk", "shelf"):
        (tmp_path / name).mkdir()
    with deployment(tmp_path / "service", redis_url, registry, pace="") as service:
        service.start_web()
        service.start_worker()
        service.start_sweeper()
        yield service


@pytest.mark.soak
def test_a_hundred_times_as_many_files_need_hardly_more_memory_and_as_few_changes_each(service, tmp_path):
    few, many = moved(service, tmp_path / "disk", FEW), moved(service, tmp_path / "disk", MANY)

    print(f"\n{few}\n{many}")
    assert many.peaks.horse_bytes - few.peaks.horse_bytes < MORE_BYTES
    assert many.peaks.worker_bytes - few.peaks.worker_bytes < MORE_BYTES
    assert sum(many.changes.values()) < CHANGES * MANY


def moved(service: Deployment, disk: Path, files: int) -> Cost:
    make_tree(disk / f"{files}", files)
    cost, began, [worker] = Cost(files), time.monotonic(), service.workers

    def look() -> bool:
        job = proxy.check(job_id)
        cost.peaks.look(worker)
        if job["files_total"] == files and not cost.planning_seconds:
            cost.planning_seconds = time.monotonic() - began
        return job["status"] in TERMINAL

    with counted(service, cost.changes), service.proxy as proxy:
        job_id = proxy.move(f"local://disk/{files}", f"local://shelf/{files}")["id"]
        eventually(look, f"{files} files have arrived", LONGEST_SECONDS, LOOKS_EVERY_SECONDS)
        job = proxy.check(job_id)
    cost.moving_seconds = time.monotonic() - began - cost.planning_seconds
    assert (job["status"], job["attempt"], job["files_done"]) == ("COMPLETED", 1, files), job
    return cost


def make_tree(folder: Path, files: int) -> None:
    for number in range(files):
        within = folder / ("one" if number % 2 else f"{number // IN_A_DIRECTORY}")
        within.mkdir(parents=True, exist_ok=True)
        (within / f"{number}").write_bytes(b"tiny")


@contextmanager
def counted(service: Deployment, changes: dict[str, int]) -> Iterator[None]:
    """Fills in how many rows of each table were changed in the block, whoever changed them."""
    database = Database(make_url(f"sqlite:///{service.directory}/jobs.db"))
    with database.writing() as session:
        session.execute(text("CREATE TABLE IF NOT EXISTS test_changes (name TEXT PRIMARY KEY, number INTEGER)"))
        for table in TABLES:
            session.execute(text(f"REPLACE INTO test_changes VALUES ('{table}', 0)"))
            for verb in ("INSERT", "UPDATE", "DELETE"):
                count = f"UPDATE test_changes SET number = number + 1 WHERE name = '{table}'"
                trigger = f"CREATE TRIGGER IF NOT EXISTS test_{table}_{verb} AFTER {verb} ON {table}"
                session.execute(text(f"{trigger} BEGIN {count}; END"))
    yield
    with database.reading() as session:
        changes |= {row.name: row.number for row in session.execute(text("SELECT name, number FROM test_changes"))}
    database.close()
