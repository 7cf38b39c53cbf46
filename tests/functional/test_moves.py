"""Moves through the whole service: asked over XML-RPC, run by RQ workers, on real hosts."""

import hashlib
import os
import unicodedata
from typing import Any

import pytest

from tests.servers.deployment import TERMINAL
from tests.servers.peaks import Peaks
from tests.servers.processes import eventually

DESTINATIONS = ["visualizer", "hpc", "archive"]
SIZES = [0, 1, 32_767, 32_768, 32_769, 261_121, 5 * 2**20]
NAMES = [
    "with space",
    "quote'\"`",
    "$(touch evil)",
    "line\nbreak",
    "*?[x]",
    "-rf",
    unicodedata.normalize("NFC", "é"),
    unicodedata.normalize("NFD", "é"),
    "x" * 255,
]


def sha256(path):
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def assert_arrived(job, source, arrived):
    assert job["status"] == "COMPLETED", job
    assert job["sha256"] == sha256(source) == sha256(arrived)
    assert job["bytes_done"] == job["bytes_total"] == source.stat().st_size
    assert job["verified"].startswith("sha256-")
    assert arrived.stat().st_mode & 0o777 == 0o644
    assert int(arrived.stat().st_mtime) == int(source.stat().st_mtime)
    assert job["submitted_at"] <= job["started_at"] <= job["ended_at"]
    assert temporary_files(arrived.parent, job) == []


def temporary_files(directory, job):
    return [name for name in os.listdir(directory) if name.startswith(f".data_mover-{job['id']}-")]


def test_the_lines_of_the_first_clients_work_as_written(service, proxy, roots):
    answer = proxy.move("DATA_TYPE", 12)

    assert answer["status"] == "PENDING"
    job = service.ended(answer["id"])
    assert_arrived(job, roots.disk / "DATA_TYPE" / "12.csv", roots.visualizer / "12.csv")
    assert job["path"] == "/12.csv"
    assert proxy.check_move_status(answer["id"]) == proxy.check(str(answer["id"])) == job


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_files_of_every_size_arrive_identical(service, proxy, roots, destination):
    jobs = {}
    for size in SIZES:
        (roots.disk / f"size-{size}").write_bytes(os.urandom(size))
        source, target = f"local://disk/size-{size}", {"host": destination, "path": "/sizes/"}
        jobs[size] = proxy.move(source, target)["id"]

    for size, job_id in jobs.items():
        name = f"size-{size}"
        assert_arrived(service.ended(job_id), roots.disk / name, getattr(roots, destination) / "sizes" / name)


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_odd_names_arrive_as_they_are(service, proxy, roots, destination):
    jobs = {}
    for name in NAMES:
        (roots.disk / name).write_text(name)
        source = {"host": "disk", "path": f"/{name}"}
        jobs[name] = proxy.move(source, {"host": destination, "path": f"/odd/{name}"})["id"]

    for name, job_id in jobs.items():
        assert_arrived(service.ended(job_id), roots.disk / name, getattr(roots, destination) / "odd" / name)
    assert sorted(os.listdir(getattr(roots, destination) / "odd")) == sorted(NAMES)


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_a_directory_receives_the_source_name_and_anything_else_is_the_name(service, proxy, roots, destination):
    root = getattr(roots, destination)
    (roots.disk / "a.tif").write_text("a")
    (root / "there").mkdir()
    source = {"host": "disk", "path": "/a.tif"}

    paths = {
        asked: service.ended(proxy.move(source, {"host": destination, "path": asked})["id"])["path"]
        for asked in ("/there", "/new/", "/exact", "/deep/er/exact.tif")
    }

    assert paths == {
        "/there": "/there/a.tif",
        "/new/": "/new/a.tif",
        "/exact": "/exact",
        "/deep/er/exact.tif": "/deep/er/exact.tif",
    }
    assert all((root / path.lstrip("/")).read_text() == "a" for path in paths.values())


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_an_old_file_is_replaced_and_survives_a_move_that_fails(service, proxy, roots, destination):
    old = getattr(roots, destination) / "old"
    old.write_text("old")
    target = {"host": destination, "path": "/old"}

    failed = service.ended(proxy.move("local://disk/nothing", target)["id"])
    assert (failed["status"], failed["code"], failed["who_can_fix"]) == ("FAILED", "no-such-file", "caller")
    assert "disk:/nothing" in failed["reason"]
    assert old.read_text() == "old"

    (roots.disk / "wrong").write_text("wrong")
    checksum = {"checksum": "sha256:" + "0" * 64}
    mismatch = service.ended(proxy.move("local://disk/wrong", target, checksum)["id"])
    assert mismatch["code"] == "checksum-mismatch"
    assert old.read_text() == "old"

    (roots.disk / "new").write_text("new")
    assert service.ended(proxy.move("local://disk/new", target)["id"])["status"] == "COMPLETED"
    assert old.read_text() == "new"
    assert temporary_files(old.parent, failed) + temporary_files(old.parent, mismatch) == []


@pytest.mark.parametrize("destination", DESTINATIONS)
def test_a_directory_in_the_way_fails_the_move(service, proxy, roots, destination):
    (roots.disk / "a.tif").write_text("a")
    (getattr(roots, destination) / "full" / "a.tif").mkdir(parents=True)

    job = service.ended(proxy.move("local://disk/a.tif", {"host": destination, "path": "/full/"})["id"])

    assert (job["status"], job["code"]) == ("FAILED", "is-a-directory")


def test_a_registered_ssh_host_is_a_source_too(service, proxy, roots):
    (roots.visualizer / "map.tif").write_bytes(os.urandom(1_000_000))

    by_sftp = proxy.move("sftp://visualizer/map.tif", "local://archive/by-sftp")
    (roots.hpc / "map.tif").write_bytes(os.urandom(1_000_000))
    by_scp = proxy.move({"host": "hpc", "path": "/map.tif"}, "sftp://visualizer/by-scp")

    assert_arrived(service.ended(by_sftp["id"]), roots.visualizer / "map.tif", roots.archive / "by-sftp")
    assert_arrived(service.ended(by_scp["id"]), roots.hpc / "map.tif", roots.visualizer / "by-scp")


def test_fifty_moves_at_once_all_complete_and_are_reported_truly_until_then(service, proxy, roots):
    (roots.disk / "one").write_bytes(os.urandom(1_000_000))
    ids = [proxy.move("local://disk/one", f"sftp://visualizer/fifty/{number}")["id"] for number in range(50)]

    seen: dict[int, list[tuple[str, Any]]] = {job_id: [] for job_id in ids}

    def all_completed():
        for job_id, reported in seen.items():
            job = proxy.check(job_id)
            assert job["status"] in ("PENDING", "IN_PROGRESS", "COMPLETED"), job
            reported.append((job["status"], job["bytes_done"]))
        return all(reported[-1][0] == "COMPLETED" for reported in seen.values())

    eventually(all_completed, "fifty moves have completed", timeout_seconds=120)
    for reported in seen.values():
        assert [bytes_done for _, bytes_done in reported] == sorted(bytes_done for _, bytes_done in reported)
    assert len(os.listdir(roots.visualizer / "fifty")) == 50
    assert {sha256(path) for path in (roots.visualizer / "fifty").iterdir()} == {sha256(roots.disk / "one")}


@pytest.mark.parametrize(
    "destination", ["archive", *(pytest.param(each, marks=pytest.mark.soak) for each in ("visualizer", "hpc"))]
)
def test_a_sparse_file_of_more_than_four_gibibytes_arrives_with_a_small_worker(service, proxy, roots, destination):
    size = 2**32 + 2**20
    with (roots.disk / "sparse").open("wb") as file:
        file.truncate(size)
        file.seek(size // 2)
        file.write(b"in the middle")

    job_id = proxy.move("local://disk/sparse", {"host": destination, "path": "/sparse"})["id"]
    peaks = Peaks()

    def has_ended():
        for worker in service.workers:
            peaks.look(worker)
        return proxy.check(job_id)["status"] in TERMINAL

    eventually(has_ended, "it has arrived", timeout_seconds=600)
    arrived = getattr(roots, destination) / "sparse"
    assert_arrived(proxy.check(job_id), roots.disk / "sparse", arrived)
    assert 0 < peaks.horse_bytes < 120 * 10**6
    arrived.unlink()
    (roots.disk / "sparse").unlink()


def test_hosts_and_datasets_show_nothing_that_would_help_to_get_in(proxy, openssh):
    hosts, datasets = proxy.hosts(), proxy.datasets()

    assert [(host["name"], host["protocol"]) for host in hosts] == [
        ("disk", "local"),
        ("visualizer", "sftp"),
        ("hpc", "scp"),
        ("archive", "local"),
    ]
    assert hosts[0]["description"] == "What we have"
    assert hosts[0]["roles"] == ["source"]
    assert datasets == [{"name": "DATA_TYPE", "description": "An example"}]
    reported = repr(hosts)
    assert openssh.host_key not in reported
    assert str(openssh.port) not in reported
    assert openssh.key_file.name not in reported
