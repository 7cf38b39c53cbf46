"""Moves to and from an object store through the whole service, and what its failures leave behind."""

import hashlib
import os
import signal
from types import SimpleNamespace

import pytest
from sqlalchemy import func, select
from sqlalchemy.engine import make_url

from data_mover.store.database import Database
from data_mover.store.models import TemporaryFile
from tests.servers.deployment import deployment, host_table
from tests.servers.processes import LOOPBACK, eventually, free_port
from tests.servers.proxy import Fault, proxy

SETTINGS = """
data_mover.max_attempts = 2
data_mover.retry_first_seconds = 0.1
data_mover.probe_longest_seconds = 0.2
data_mover.lease_seconds = 1.5
data_mover.fault_points = true
"""
PATIENCE = {"idle_timeout_seconds": 2, "connect_timeout_seconds": 1}
SIZES = [0, 1, 5 * 2**20 - 1, 5 * 2**20, 5 * 2**20 + 1, 20_000_000]
NAMES = ["with space", "quote'\"`", "$(touch evil)", "line\nbreak", "*?[x]", "-rf", "é+%41&=#?", "a//b/./c", "x" * 255]


@pytest.fixture(scope="module")
def world(tmp_path_factory, openssh, ceph, redis_url):
    """A service with a disk, an object store that is also reached over a line that may fail, and an SFTP host."""
    base = tmp_path_factory.mktemp("object-store")
    disk, vis, orders = base / "disk", base / "vis", base / "orders"
    for directory in (disk, vis, orders):
        directory.mkdir()
    (base / "wrong").touch(mode=0o600)
    (base / "wrong").write_text("hunter2-hunter2")
    with proxy(ceph.port) as line:
        bucket, versions = ceph.make_bucket("archive"), ceph.make_bucket("versions")
        versions.keep_versions()
        line_endpoint, nowhere = f"http://{LOOPBACK}:{line.port}", f"http://{LOOPBACK}:{free_port()}"
        registry = "".join(
            host_table(name, table | PATIENCE)
            for name, table in {
                "disk": {"protocol": "local", "root": disk, "roles": ["source"]},
                "vis": openssh.options(vis),
                "slow-vis": openssh.options(vis, bandwidth="10MB/s"),
                "archive": ceph.options(bucket, root="/data"),
                "slow": ceph.options(bucket, root="/data", endpoint=line_endpoint, bandwidth="10MB/s"),
                "versions": ceph.options(versions),
                "wrong": ceph.options(bucket, secret_key=f"file:{base}/wrong"),
                "no-bucket": ceph.options(bucket, bucket="not-there"),
                "away": ceph.options(bucket, endpoint=nowhere),
            }.items()
        )
        with deployment(base / "service", redis_url, registry, extra=SETTINGS) as service:
            service.environment["DATA_MOVER_FAULTS"] = str(orders)
            service.start_web()
            service.start_worker()
            service.start_sweeper()
            yield SimpleNamespace(
                service=service, disk=disk, vis=vis, bucket=bucket, versions=versions, line=line, orders=orders
            )


@pytest.fixture
def move_all(world):
    """Moves pairs of source and destination, and returns how the jobs ended."""

    def move_and_wait(pairs, **options):
        with world.service.proxy as proxy:
            ids = [proxy.move(source, destination, options)["id"] for source, destination in pairs]
        return [world.service.ended(job_id) for job_id in ids]

    yield move_and_wait
    world.line.heal()
    eventually(lambda: unclear(world) == ([], 0), "nothing is left and nothing is on record")


@pytest.fixture
def move(move_all):
    return lambda source, destination, **options: move_all([(source, destination)], **options)[0]


def unclear(world):
    """Return the keys that are left over, unfinished uploads included, and the number of temporary files on record."""
    temporary = [key for key in world.bucket.names() if ".data_mover-" in key]
    database = Database(make_url(f"sqlite:///{world.service.directory}/jobs.db"))
    with database.reading() as session:
        count = session.scalars(select(func.count()).select_from(TemporaryFile)).one()
    database.close()
    return temporary + [each["Key"] for each in world.bucket.uploads()], count


def test_files_whose_names_a_store_cannot_return_fail_at_once_and_the_others_arrive(world, move):
    names = ["good", "a\x01b", "\ufffe"]
    (world.disk / "unreported").mkdir()
    for name in names:
        (world.disk / "unreported" / name).write_text(name)

    job = move("local://disk/unreported", "s3://archive/unreported")

    with world.service.proxy as proxy:
        files = proxy.files(job["id"], {"state": "failed"})
    assert (job["status"], job["code"], job["attempt"], job["files_completed"]) == ("FAILED", "bad-name", 1, 1)
    assert [file["code"] for file in files] == ["bad-name"] * 2
    assert all("archive:/unreported/" in file["reason"] for file in files)
    assert (world.bucket / "data/unreported/good").read_bytes() == b"good"


def begun(world, source, destination, **options):
    """The id of a job that is in mid copy."""
    with world.service.proxy as proxy:
        job_id = proxy.move(source, destination, options)["id"]
        eventually(lambda: proxy.check(job_id)["bytes_done"] > 0, "bytes have moved")
    return job_id


def sha256(content):
    return hashlib.sha256(content).hexdigest()


def test_files_of_any_size_and_name_arrive_in_the_store_and_behind_it(world, move_all):
    contents = {f"size-{size}": os.urandom(size) for size in SIZES} | {name: name.encode() for name in NAMES}
    for number, content in enumerate(contents.values()):
        (world.disk / str(number)).write_bytes(content)
        os.utime(world.disk / str(number), (1_600_000_000, 1_600_000_000))

    in_store = [{"host": "archive", "path": f"/there/{name}"} for name in contents]
    there = move_all([(f"local://disk/{number}", each) for number, each in enumerate(in_store)])
    back = move_all(
        [(each, {"host": "vis", "path": f"/back/{name}"}) for each, name in zip(in_store, contents, strict=True)]
    )

    for job, content in zip(there, contents.values(), strict=True):
        assert (job["status"], job["sha256"], job["verified"]) == ("COMPLETED", sha256(content), "sha256-readback")
        assert (world.bucket / f"data{job['path']}").read_bytes() == content
    for job, content in zip(back, contents.values(), strict=True):
        assert (job["status"], job["sha256"]) == ("COMPLETED", sha256(content))
        arrived = world.vis / job["path"].lstrip("/")
        assert (arrived.read_bytes(), arrived.stat().st_mtime) == (content, 1_600_000_000)


def test_an_object_is_replaced_refused_or_verified_as_was_asked_for(world, move):
    (world.bucket / "data/old").write_bytes(b"old")
    (world.disk / "new").write_bytes(b"new")

    refused = move("local://disk/new", "s3://archive/old", if_exists="refuse")
    other = move("local://disk/new", "s3://archive/old", if_exists="verify")
    assert (refused["code"], other["code"]) == ("exists", "exists")
    assert (world.bucket / "data/old").read_bytes() == b"old"

    replaced = move("local://disk/new", "s3://archive/old")
    same = move("local://disk/new", "s3://archive/old", if_exists="verify")
    fresh = move("local://disk/new", "s3://archive/fresh/", if_exists="refuse")
    assert [job["status"] for job in (replaced, same, fresh)] == ["COMPLETED"] * 3
    assert (world.bucket / "data/old").read_bytes() == (world.bucket / "data/fresh/new").read_bytes() == b"new"


@pytest.mark.parametrize(
    ("source", "destination", "code"),
    [
        ("local://disk/a", "s3://wrong/a", "login-refused"),
        ("local://disk/a", "s3://no-bucket/a", "no-such-file"),
        ("s3://no-bucket/a", "sftp://vis/a", "no-such-file"),
        ("s3://archive/nothing", "sftp://vis/a", "no-such-file"),
        ("local://disk/a", "s3://archive/directory", "is-a-directory"),
    ],
)
def test_what_cannot_succeed_fails_with_its_code_and_changes_nothing(world, move, source, destination, code):
    (world.disk / "a").write_bytes(b"a")
    (world.bucket / "data/directory/a/b").write_bytes(b"theirs")

    job = move(source, destination)

    assert (job["status"], job["code"]) == ("FAILED", code)
    assert "hunter2" not in world.service.log("worker") + job["reason"]


def test_a_store_that_is_away_is_unreachable(world, move):
    (world.disk / "a").write_bytes(b"a")

    job = move("local://disk/a", "s3://away/a", deadline=3)

    assert (job["status"], job["code"]) == ("FAILED", "host-unreachable")


def test_an_object_that_is_replaced_in_mid_copy_is_copied_again(world, move):
    (world.bucket / "data/large").write_bytes(bytes(17_000_000))
    job_id = begun(world, "s3://archive/large", "sftp://slow-vis/large")

    content = os.urandom(17_000_000)
    (world.bucket / "data/large").write_bytes(content)
    job = world.service.ended(job_id)

    assert (job["status"], job["attempt"], job["sha256"]) == ("COMPLETED", 2, sha256(content))


def test_an_object_that_vanishes_in_mid_copy_is_missed(world, move):
    (world.bucket / "data/large").write_bytes(bytes(17_000_000))
    job_id = begun(world, "s3://archive/large", "sftp://slow-vis/vanished")

    (world.bucket / "data/large").unlink()
    job = world.service.ended(job_id)

    assert (job["status"], job["code"]) == ("FAILED", "no-such-file")
    assert not (world.vis / "vanished").exists()


@pytest.mark.parametrize(
    ("fault", "code"), [(Fault.CUT, "connection-lost"), (Fault.RESET, "connection-lost"), (Fault.SWALLOW, "stalled")]
)
def test_a_line_that_fails_in_mid_copy_costs_an_attempt(world, move, fault, code):
    content = os.urandom(17_000_000)
    (world.disk / "large").write_bytes(content)
    job_id = begun(world, "local://disk/large", f"s3://slow/{fault.name}")

    world.line.strike(fault)
    with world.service.proxy as proxy:
        eventually(lambda: proxy.check(job_id)["attempt"] == 2 or proxy.check(job_id).get("code"), "it has failed once")
        world.line.heal()
    job = world.service.ended(job_id)

    assert (job["status"], job["attempt"], job["sha256"]) == ("COMPLETED", 2, sha256(content))
    assert f"code={code}" in world.service.log("worker")
    assert (world.bucket / f"data/{fault.name}").read_bytes() == content


@pytest.mark.parametrize("point", ["marked", "renamed", "moved"])
def test_a_worker_that_is_killed_while_it_publishes_has_published_once(world, move, point):
    """A bucket that keeps versions reports how often the final key has changed."""
    (world.disk / "a").write_bytes(point.encode())
    (world.orders / point).write_text("kill")

    with world.service.proxy as proxy:
        job_id = proxy.move("local://disk/a", f"s3://versions/{point}")["id"]
    eventually(
        lambda: world.service.workers[-1].poll() is not None or not (world.orders / point).exists(), "it is dead"
    )
    job = world.service.ended(job_id)

    assert (job["status"], job["attempt"]) == ("COMPLETED", 2)
    assert (world.versions / point).read_bytes() == point.encode()
    assert (world.versions / point).changes() == 1
    assert not [key for key in world.versions.names() if ".data_mover-" in key]


def test_a_killed_worker_loses_its_job_to_the_next_which_leaves_nothing_behind(world, move):
    content = os.urandom(17_000_000)
    (world.disk / "large").write_bytes(content)
    job_id = begun(world, "local://disk/large", "s3://slow/killed")

    world.service.workers[-1].send_signal(signal.SIGKILL)
    world.service.start_worker()
    job = world.service.ended(job_id)

    assert (job["status"], job["attempt"]) == ("COMPLETED", 2)
    assert (world.bucket / "data/killed").read_bytes() == content
