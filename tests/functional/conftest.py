"""One running service for the functional tests, with a host of every protocol."""

from contextlib import ExitStack
from pathlib import Path
from shutil import disk_usage
from tempfile import TemporaryDirectory
from types import SimpleNamespace

import pytest

from tests.servers.deployment import deployment, host_table

MEMORY = Path("/dev/shm")
ROOM_BYTES = 8 * 2**30

DATASETS = """
[datasets.DATA_TYPE]
description = "An example"
source = { host = "disk", path = "/DATA_TYPE/{id}.csv" }
"""


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    """The directory of each host. The archive is in memory if there is room: a file of gigabytes would keep the
    databases of other tests waiting for the disk."""
    base = tmp_path_factory.mktemp("roots")
    directories = {name: base / name for name in ("disk", "visualizer", "hpc", "archive")}
    with ExitStack() as stack:
        if MEMORY.exists() and disk_usage(MEMORY).free > ROOM_BYTES:
            directories["archive"] = Path(stack.enter_context(TemporaryDirectory(dir=MEMORY)))
        for directory in directories.values():
            directory.mkdir(exist_ok=True)
        yield _filled(directories)


def _filled(directories):
    (directories["disk"] / "DATA_TYPE").mkdir()
    (directories["disk"] / "DATA_TYPE" / "12.csv").write_text("species,count\nkoala,3\n")
    return SimpleNamespace(**directories)


@pytest.fixture(scope="module")
def registry(openssh, roots):
    local = {"protocol": "local", "roles": ["source", "destination"]}
    return (
        host_table("disk", {**local, "root": roots.disk, "roles": ["source"], "description": "What we have"})
        + host_table("visualizer", openssh.options(roots.visualizer, idle_timeout_seconds=10))
        + host_table("hpc", openssh.options(roots.hpc, protocol="scp", idle_timeout_seconds=10))
        + host_table("archive", {**local, "root": roots.archive})
        + DATASETS
    )


@pytest.fixture(scope="module")
def service(tmp_path_factory, redis_url, registry):
    """Web, two workers and a sweeper. A work-horse ends once nothing is left to claim, so that its memory shows what
    the last moves took."""
    extra = "data_mover.claim_on_seconds = 0"
    with deployment(tmp_path_factory.mktemp("service"), redis_url, registry, extra=extra) as running:
        running.start_web()
        running.start_worker()
        running.start_worker()
        running.start_sweeper()
        yield running


@pytest.fixture
def proxy(service):
    with service.proxy as proxy:
        yield proxy
