"""Moves to and from a server that speaks WebDAV, through the whole service."""

import hashlib
import os
from types import SimpleNamespace

import pytest

from tests.servers.deployment import deployment, host_table
from tests.servers.processes import eventually
from tests.servers.webdav import PASSWORD

SETTINGS = """
data_mover.max_attempts = 2
data_mover.retry_first_seconds = 0.1
data_mover.lease_seconds = 1.5
data_mover.fault_points = true
"""
NAMES = ["with space", "quote'\"`", "$(touch evil)", "é+%41&=#?", "x" * 255]


@pytest.fixture(scope="module")
def world(tmp_path_factory, apache, redis_url):
    """A service with a disk and a server, which may replace files in one of its directories only by putting the old
    one aside."""
    base = tmp_path_factory.mktemp("webdav")
    disk, cloud, swap, orders = (base / name for name in ("disk", "cloud", "swap", "orders"))
    for directory in (disk, cloud, swap, orders):
        directory.mkdir()
    tables = {
        "disk": {"protocol": "local", "root": disk, "roles": ["source", "destination"]},
        "cloud": apache.options(cloud),
        "swap": apache.options(swap, replace="swap"),
    }
    registry = "".join(host_table(name, table) for name, table in tables.items())
    with deployment(base / "service", redis_url, registry, extra=SETTINGS) as service:
        service.environment["DATA_MOVER_FAULTS"] = str(orders)
        service.start_web()
        service.start_worker()
        service.start_sweeper()
        yield SimpleNamespace(service=service, disk=disk, cloud=cloud, swap=swap, orders=orders)
        assert PASSWORD not in service.log("worker")


@pytest.fixture
def move(world):
    def move_and_wait(source, destination, **options):
        with world.service.proxy as proxy:
            return world.service.ended(proxy.move(source, destination, options)["id"])

    return move_and_wait


def test_a_folder_arrives_there_and_comes_back(world, move):
    contents = {name: os.urandom(1000) for name in NAMES} | {"large": os.urandom(10_000_000), "empty": b""}
    (world.disk / "maps" / "below").mkdir(parents=True)
    for name, content in contents.items():
        (world.disk / "maps" / "below" / name).write_bytes(content)

    there = move("local://disk/maps", "webdav://cloud/maps", atomic=True)
    back = move("webdav://cloud/maps", "local://disk/back")

    assert (there["status"], back["status"]) == ("COMPLETED", "COMPLETED"), (there, back)
    for name, content in contents.items():
        assert (world.cloud / "maps" / "below" / name).read_bytes() == content
        assert (world.disk / "back" / "below" / name).read_bytes() == content


def test_a_file_is_proven_by_reading_back(world, move):
    (world.disk / "a").write_bytes(b"mine")

    job = move("local://disk/a", "webdav://cloud/a")

    assert (job["status"], job["verified"]) == ("COMPLETED", "sha256-readback")
    assert job["sha256"] == hashlib.sha256(b"mine").hexdigest()


def test_a_file_that_is_there_is_replaced_only_where_the_registry_says_so(world, move):
    (world.disk / "new").write_bytes(b"new")
    for directory in (world.cloud, world.swap):
        (directory / "old").write_bytes(b"old")

    refused = move("local://disk/new", "webdav://cloud/old")
    swapped = move("local://disk/new", "webdav://swap/old")

    assert (refused["status"], refused["code"]) == ("FAILED", "cannot-replace")
    assert (world.cloud / "old").read_bytes() == b"old"
    assert swapped["status"] == "COMPLETED"
    assert (world.swap / "old").read_bytes() == b"new"
    assert [name for name in os.listdir(world.swap) if name.startswith(".")] == []


def test_a_plan_reports_that_a_file_cannot_be_replaced(world):
    (world.disk / "planned").write_bytes(b"new")
    for directory in (world.cloud, world.swap):
        (directory / "planned").write_bytes(b"old")

    with world.service.proxy as proxy:
        plans = [proxy.plan("local://disk/planned", f"webdav://{host}/planned") for host in ("cloud", "swap")]

    assert [(plan["complete"], plan.get("code")) for plan in plans] == [(True, "cannot-replace"), (True, None)]


def test_a_retry_leaves_what_has_arrived(world, move):
    folder = world.disk / "partly"
    folder.mkdir()
    (folder / "a").write_bytes(b"a")
    os.mkfifo(folder / "b")
    first = move("local://disk/partly", "webdav://cloud/partly")
    (folder / "b").unlink()
    (folder / "b").write_bytes(b"b")

    with world.service.proxy as proxy:
        second = world.service.ended(proxy.retry(first["id"])["id"])
        states = {file["name"]: file["state"] for file in proxy.files(second["id"]) if file["kind"] == "file"}

    assert (first["status"], second["status"]) == ("FAILED", "COMPLETED"), second
    assert states == {"a": "skipped", "b": "published"}


@pytest.mark.parametrize("point", ["marked", "renamed"])
def test_a_worker_that_is_killed_while_it_publishes_has_published_once(world, point):
    """The file that has the name is the very one that got it first."""
    (world.disk / "a").write_bytes(point.encode())
    (world.orders / point).write_text("kill")

    with world.service.proxy as proxy:
        job_id = proxy.move("local://disk/a", f"webdav://cloud/{point}")["id"]
        eventually(lambda: not (world.orders / point).exists(), "it is dead")
        published = (world.cloud / point).stat().st_ino if (world.cloud / point).exists() else None
        job = world.service.ended(job_id)

    assert (job["status"], job["attempt"]) == ("COMPLETED", 2)
    assert (world.cloud / point).read_bytes() == point.encode()
    assert published in (None, (world.cloud / point).stat().st_ino)
    assert (published is None) == (point == "marked")
    eventually(lambda: not [name for name in os.listdir(world.cloud) if ".data_mover-" in name], "nothing is left")
