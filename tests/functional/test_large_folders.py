"""Folders of thousands of files: equal when they have arrived, whatever dies meanwhile, and nothing is sent twice."""

import os
import signal
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from data_mover.backends.sftp.session import MOST_FILES
from data_mover.transfer.names import TEMPORARY_PREFIX
from tests.crash.publications import Publications
from tests.functional.odd_tree import make_odd_tree
from tests.servers.deployment import TERMINAL, Deployment, deployment, host_table
from tests.servers.processes import descendants, eventually
from tests.servers.proxy import Proxy, proxy
from tests.servers.rsync import differences

SETTINGS = """
data_mover.lease_seconds = 2
"""
MANY = 10_000
LONGEST_SECONDS = 1800
#: of the move, when its worker is killed; once more than a job may be lost without having moved anything
KILLED_AT = (0.1, 0.3, 0.5, 0.7)
#: what a new connection may send before it continues with the files
CONNECTING_BYTES = 50_000


@dataclass
class Stage:
    """A service that moves from `disk` to `sftp`, `scp` and `local`, which have one root; the first two are reached
    through a proxy."""

    directory: Path
    service: Deployment
    network: Proxy

    @property
    def disk(self) -> Path:
        return self.directory / "disk"

    @property
    def root(self) -> Path:
        return self.directory / "root"

    def submit(self, folder: Path, host: str, name: str = "") -> int:
        with self.service.proxy as proxy:
            return int(proxy.move(f"local://disk/{folder.name}", f"local://{host}/{name or folder.name}")["id"])

    def ended(self, job_id: int) -> dict[str, Any]:
        return self.service.ended(job_id, LONGEST_SECONDS)

    def await_share(self, job_id: int, share: float) -> None:
        """Returns once that much of the job is done."""

        def look() -> bool:
            job = xmlrpc.check(job_id)
            assert job["status"] not in TERMINAL, job
            return "bytes_total" in job and job["files_done"] >= share * job["files_total"] > 0

        with self.service.proxy as xmlrpc:
            eventually(look, f"{share:.0%} of the files have arrived", LONGEST_SECONDS)

    def kill_worker(self) -> None:
        """The worker and its work-horse are gone when this returns; another worker begins."""
        worker = self.service.workers.pop()
        horses = descendants(worker.pid)
        worker.send_signal(signal.SIGKILL)
        worker.wait()
        eventually(lambda: not any(map(_is_running, horses)), "the work-horse is gone")
        self.service.start_worker()


def _is_running(pid: int) -> bool:
    try:
        return "State:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False


@pytest.fixture(scope="module")
def stage(tmp_path_factory, openssh, redis_url) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("large-folders")
    for name in ("disk", "root"):
        (directory / name).mkdir()
    with ExitStack() as stack:
        network = stack.enter_context(proxy(openssh.port))
        ssh = openssh.options(directory / "root", port=network.port)
        registry = (
            host_table("disk", {"protocol": "local", "root": directory / "disk", "roles": ["source"]})
            + host_table("local", {"protocol": "local", "root": directory / "root", "roles": ["destination"]})
            + host_table("sftp", ssh)
            + host_table("scp", {**ssh, "protocol": "scp"})
        )
        service = stack.enter_context(deployment(directory / "service", redis_url, registry, extra=SETTINGS))
        service.start_web()
        service.start_worker()
        service.start_sweeper()
        yield Stage(directory, service, network)


@pytest.mark.parametrize(
    ("host", "files"),
    [
        ("sftp", 300),
        ("local", 300),
        ("scp", 100),
        *(pytest.param(host, MANY, marks=pytest.mark.soak) for host in ("sftp", "local", "scp")),
    ],
)
def test_a_folder_of_odd_names_arrives_equal(stage, host, files):
    source = stage.disk / f"{host}-{files}"
    make_odd_tree(source, files)

    job = stage.ended(stage.submit(source, host))

    assert (job["status"], job["files_done"]) == ("COMPLETED", files), job
    assert differences(source, stage.root / source.name) == []


@pytest.mark.parametrize("files", [2_000, pytest.param(MANY, marks=pytest.mark.soak)])
def test_a_folder_whose_worker_dies_again_and_again_arrives_equal_and_no_file_twice(stage, files):
    source = stage.disk / f"killed-{files}"
    make_odd_tree(source, files)
    target = stage.root / source.name
    calm_bytes, seen = calmly_sent(stage, source), dict[Path, tuple[int, int]]()
    before_bytes = stage.network.sent_bytes

    with Publications(stage.root) as publications:
        job_id = stage.submit(source, "sftp")
        for share in KILLED_AT:
            stage.await_share(job_id, share)
            stage.kill_worker()
            seen |= published(target)
        job = stage.ended(job_id)
        publications.catch_up()
    sent_bytes = stage.network.sent_bytes - before_bytes

    assert (job["status"], job["files_done"]) == ("COMPLETED", files), job
    assert job["attempt"] > len(KILLED_AT)
    assert differences(source, target) == []
    assert {path: now for path, now in published(target).items() if path in seen} == seen
    assert [len(publications.of(path)) for path in published(target)] == [1] * files
    assert publications.harm() == []
    print(f"\n{len(seen)} of {files} files were there at the last kill; {calm_bytes} bytes are sent without kills,")
    print(f"{sent_bytes} were with {len(KILLED_AT)}")
    of_a_kill_bytes = CONNECTING_BYTES + calm_bytes * MOST_FILES // files  # what is in flight is lost
    assert sent_bytes < calm_bytes + of_a_kill_bytes * (job["attempt"] - 1)


def calmly_sent(stage: Stage, source: Path) -> int:
    """How many bytes go to the host for the folder where nothing is killed."""
    before_bytes = stage.network.sent_bytes
    job = stage.ended(stage.submit(source, "sftp", f"{source.name}-calm"))
    assert job["status"] == "COMPLETED", job
    return stage.network.sent_bytes - before_bytes


def published(folder: Path) -> dict[Path, tuple[int, int]]:
    """What no file keeps that is published again: its inode, and when that was changed last."""
    files = (Path(above, name) for above, _, names in os.walk(folder) for name in names)
    found = {path: path.stat() for path in files if not path.name.startswith(TEMPORARY_PREFIX)}
    return {path: (status.st_ino, status.st_ctime_ns) for path, status in found.items()}
