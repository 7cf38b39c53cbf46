"""Moves to a disk that has no room for all of them: what cannot fit is reported before it is copied."""

import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.servers.deployment import Deployment, XmlRpc, deployment, host_table
from tests.servers.processes import eventually
from tests.servers.small_disk import small_disk

SETTINGS = """
data_mover.max_attempts = 1
"""
WORKERS = 3
DISK_BYTES = 40 * 10**6
#: two of them do not fit
FILE_BYTES = 25 * 10**6
#: written bytes count twice until their job has reported them
ROOM_BYTES = 10 * 10**6


@dataclass
class Stage:
    """A service that moves from `disk` to `tiny`, an SFTP host whose disk is small, with 5 MB/s."""

    directory: Path
    service: Deployment
    proxy: XmlRpc

    @property
    def disk(self) -> Path:
        return self.directory / "disk"

    @property
    def tiny(self) -> Path:
        return self.directory / "tiny"

    def submit(self, name: str, size_bytes: int) -> int:
        """Moves a new file, or the folder that it is in."""
        (self.disk / name).parent.mkdir(exist_ok=True)
        (self.disk / name).write_bytes(bytes(size_bytes))
        asked = name.partition("/")[0]
        return int(self.proxy.move(f"local://disk/{asked}", f"sftp://tiny/{asked}")["id"])


@pytest.fixture(scope="module")
def running(tmp_path_factory, openssh, redis_url) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("space")
    registry = host_table("disk", {"protocol": "local", "root": directory / "disk", "roles": ["source"]})
    registry += host_table("tiny", openssh.options(directory / "tiny", bandwidth="5MB/s"))
    (directory / "disk").mkdir()
    with (
        small_disk(directory / "tiny", DISK_BYTES),
        deployment(directory / "service", redis_url, registry, extra=SETTINGS) as service,
        service.proxy as proxy,
    ):
        service.start_web()
        service.start_sweeper()
        for _ in range(WORKERS):
            service.start_worker()
        eventually(lambda: service.log("worker").count("Listening") == WORKERS, "the workers listen")
        yield Stage(directory, service, proxy)


@pytest.fixture
def stage(running) -> Iterator[Stage]:
    """With an empty disk."""
    yield running
    for path in running.tiny.iterdir():
        path.unlink() if path.is_file() else shutil.rmtree(path)


@pytest.mark.parametrize("name", ["second", "folder/second"], ids=["a file", "a folder"])
def test_what_does_not_fit_beside_a_move_that_runs_fails_at_once_and_the_other_arrives(stage, name):
    first = stage.submit("first", FILE_BYTES)
    eventually(lambda: stage.proxy.check(first)["bytes_done"] > 0, "bytes have moved")

    second = stage.submit(name, FILE_BYTES)
    refused = stage.service.ended(second)

    assert (refused["status"], refused["code"], refused["bytes_done"]) == ("FAILED", "no-space", 0), refused
    assert "more are on their way there" in refused["reason"]
    assert stage.proxy.check(first)["status"] == "IN_PROGRESS"
    assert stage.service.ended(first)["status"] == "COMPLETED"
    assert files_in(stage.tiny) == ["first"]


def test_of_moves_that_begin_at_once_those_run_that_fit_together(stage):
    ids = [stage.submit(f"{number}", FILE_BYTES) for number in range(WORKERS)]

    jobs = [stage.service.ended(job_id) for job_id in ids]

    arrived = [job for job in jobs if job["status"] == "COMPLETED"]
    refused = [job for job in jobs if job["status"] == "FAILED"]
    assert (len(arrived), len(refused)) == (1, WORKERS - 1), jobs
    assert {(job["code"], job["bytes_done"]) for job in refused} == {("no-space", 0)}
    assert len(files_in(stage.tiny)) == 1


def test_what_fits_beside_a_move_that_runs_arrives_too(stage):
    first = stage.submit("first", FILE_BYTES)
    eventually(lambda: stage.proxy.check(first)["bytes_done"] > 0, "bytes have moved")

    second = stage.submit("second", ROOM_BYTES)

    assert {stage.service.ended(job_id)["status"] for job_id in (first, second)} == {"COMPLETED"}


def test_a_folder_counts_whatever_else_of_it_has_failed(stage):
    (stage.disk / "mixed").mkdir()
    os.mkfifo(stage.disk / "mixed" / "pipe")
    first = stage.submit("mixed/first", FILE_BYTES)
    eventually(lambda: stage.proxy.check(first)["bytes_done"] > 0, "bytes have moved")

    refused = stage.service.ended(stage.submit("beside", FILE_BYTES))

    assert (refused["status"], refused["code"], refused["bytes_done"]) == ("FAILED", "no-space", 0), refused
    assert stage.service.ended(first)["files_completed"] == 1


def test_what_is_there_already_keeps_nobody_from_asking_for_room_for_the_rest(stage):
    source, target = stage.disk / "known", stage.tiny / "known"
    for folder in (source, target):
        folder.mkdir()
        for number in range(20):
            (folder / f"small-{number}").write_bytes(b"known")
    for number in range(2):
        (source / f"large-{number}").write_bytes(bytes(FILE_BYTES))

    job_id = stage.proxy.move("local://disk/known", "sftp://tiny/known", {"if_exists": "verify"})["id"]
    refused = stage.service.ended(job_id)

    assert (refused["status"], refused["code"]) == ("FAILED", "no-space"), refused
    assert not [name for name in files_in(stage.tiny) if name.startswith("large")]


def test_a_retry_needs_room_for_what_is_missing_alone(stage):
    source = stage.disk / "again"
    source.mkdir()
    for number in range(2):
        (source / f"{number}").write_bytes(bytes(ROOM_BYTES))
    os.mkfifo(source / "missing")
    first = stage.service.ended(stage.proxy.move("local://disk/again", "sftp://tiny/again")["id"])
    (source / "missing").unlink()
    (source / "missing").write_bytes(bytes(ROOM_BYTES))
    (stage.tiny / "filler").write_bytes(bytes(shutil.disk_usage(stage.tiny).free - ROOM_BYTES * 3 // 2))

    second = stage.service.ended(stage.proxy.retry(first["id"])["id"])

    assert (first["status"], second["status"]) == ("FAILED", "COMPLETED"), second


def files_in(directory: Path) -> list[str]:
    return [name for _, _, names in os.walk(directory) for name in names]
