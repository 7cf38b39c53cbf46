"""A disk whose server is gone: whoever touches it hangs in the kernel, where no signal and no time-out reach."""

import signal
import time
from concurrent.futures import ThreadPoolExecutor
from shutil import which

import pytest
from sqlalchemy import insert

from data_mover.backends.local.mount import answers
from data_mover.config.settings import Settings
from data_mover.store.database import Database
from data_mover.store.models import TemporaryFile
from tests.servers.deployment import deployment, host_table
from tests.servers.processes import eventually

EXTRA = """
data_mover.fault_points = true
data_mover.stop_seconds = 0
data_mover.retry_first_seconds = 0.2
data_mover.probe_longest_seconds = 0.5
"""


@pytest.fixture
def service(tmp_path, redis_url, monkeypatch):
    for name in ("disk", "mounted", "orders"):
        (tmp_path / name).mkdir()
    (tmp_path / "disk" / "a").write_text("a")
    monkeypatch.setenv("DATA_MOVER_FAULTS", str(tmp_path / "orders"))
    (tmp_path / "disk" / "large").write_bytes(bytes(3_000_000))
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "stat").write_text(
        f'#!/bin/sh\n[ -e {tmp_path}/dead ] && exec sleep 60\nexec {which("stat")} "$@"\n'
    )
    (tmp_path / "bin" / "stat").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"), prepend=":")
    patience = {"protocol": "local", "idle_timeout_seconds": 1, "connect_timeout_seconds": 1}
    registry = host_table("disk", {**patience, "root": tmp_path / "disk", "roles": ["source"]})
    registry += host_table("mounted", {**patience, "root": tmp_path / "mounted", "roles": ["destination"]})
    slow = {"root": tmp_path / "disk", "roles": ["source"], "bandwidth": "200KB/s"}
    registry += host_table("slow", {**patience, **slow})
    with deployment(tmp_path / "service", redis_url, registry, extra=EXTRA) as service:
        service.start_web()
        service.start_worker()
        service.start_sweeper()
        yield service


@pytest.fixture
def order_hang(tmp_path):
    """Make whoever reaches the point hang there."""

    def order(point):
        (tmp_path / ".hang").write_text("hang")
        (tmp_path / ".hang").rename(tmp_path / "orders" / point)

    return order


def test_a_worker_that_hangs_says_so_leaves_and_is_there_for_the_next_job(service, order_hang):
    order_hang("opened")
    with service.proxy as proxy:
        job_id = proxy.move("local://disk/a", "local://mounted/a")["id"]
        eventually(
            lambda: "stalled" in [event.get("code") for event in proxy.events(job_id)], "it is reported as stalled", 90
        )
        eventually(lambda: "worker-stuck" in service.log("worker"), "the log says so", 30)
        job = service.ended(job_id)

    assert (job["status"], job["attempt"]) == ("COMPLETED", 2)
    assert service.workers[0].poll() is None


def test_a_move_that_hangs_and_is_cancelled_takes_no_worker(service, order_hang):
    order_hang("opened")
    with service.proxy as proxy:
        job_id = proxy.move("local://disk/a", "local://mounted/a")["id"]
        eventually(lambda: "fault-point opened hang" in service.log("worker"), "it hangs", 90)

        proxy.cancel(job_id)

        assert service.ended(job_id)["status"] == "CANCELLED"
        assert "worker-stuck" in service.log("worker")
        next_id = proxy.move("local://disk/a", "local://mounted/a")["id"]
        assert service.ended(next_id)["status"] == "COMPLETED"


def test_a_worker_that_hangs_and_is_stopped_hands_its_job_back(service, order_hang):
    order_hang("opened")
    with service.proxy as proxy:
        job_id = proxy.move("local://disk/a", "local://mounted/a")["id"]
        eventually(lambda: "fault-point opened hang" in service.log("worker"), "it hangs", 90)

        service.workers[0].send_signal(signal.SIGTERM)

        assert service.workers[0].wait(30) == 0
        assert "worker-stuck" in service.log("worker")
        service.start_worker()
        assert service.ended(job_id)["status"] == "COMPLETED"


def test_a_plan_that_hangs_is_answered_and_the_job_beside_it_continues_elsewhere(service, order_hang):
    order_hang("answering")
    with service.proxy as proxy, ThreadPoolExecutor(1) as pool:
        plan = pool.submit(planned, service, "local://disk/a", "local://mounted/a")
        eventually(lambda: "fault-point answering hang" in service.log("worker"), "it hangs", 90)
        job_id = proxy.move("local://slow/large", "local://mounted/b")["id"]

        assert plan.result()["code"] == "stalled"
        job = service.ended(job_id)
        assert (job["status"], job["attempt"]) == ("COMPLETED", 2)
        assert "hangs in the kernel" in " ".join(event.get("reason", "") for event in proxy.events(job_id))
        assert "worker-stuck plan" in service.log("worker")
        next_id = proxy.move("local://disk/a", "local://mounted/a")["id"]
        assert service.ended(next_id)["status"] == "COMPLETED"


def test_no_plan_touches_a_disk_that_does_not_answer(service, tmp_path):
    (tmp_path / "dead").touch()

    plan = planned(service, "local://disk/a", "local://mounted/a")

    assert (plan["phase"], plan["code"]) == ("blocked", "host-unreachable")


def test_clearing_that_hangs_takes_no_worker(service, order_hang):
    job_id = moved(service)
    order_hang("clearing")
    leave_behind(service, job_id)

    eventually(lambda: "worker-stuck clearing on mounted" in service.log("worker"), "it is noticed", 90)

    with service.proxy as proxy:
        job_id = proxy.move("local://disk/a", "local://mounted/b")["id"]
        assert service.ended(job_id)["status"] == "COMPLETED"


def test_nothing_is_cleared_on_a_disk_that_does_not_answer(service, tmp_path):
    job_id = moved(service)
    (tmp_path / "dead").touch()
    leave_behind(service, job_id)

    eventually(lambda: "temporary-files-stay host=mounted" in service.log("worker"), "it has been looked at", 90)

    assert "host-failed host=mounted" in service.log("worker")


def test_what_is_left_is_cleared_beside_a_long_copy(service, tmp_path):
    """By the only worker."""
    (tmp_path / "disk" / "large").write_bytes(bytes(20_000_000))
    job_id = moved(service)
    with service.proxy as proxy:
        long = proxy.move("local://slow/large", "local://mounted/b")["id"]
        eventually(lambda: proxy.check(long)["bytes_done"] > 0, "it is in mid-copy")

        leave_behind(service, job_id)

        eventually(lambda: "temporary-file-cleared" in service.log("worker"), "it is cleared", 90)
        assert proxy.check(long)["status"] == "IN_PROGRESS"


def moved(service):
    """A move that has ended well."""
    with service.proxy as proxy:
        job_id = proxy.move("local://disk/a", "local://mounted/a")["id"]
        assert service.ended(job_id)["status"] == "COMPLETED"
    return job_id


def leave_behind(service, job_id):
    """Record a temporary file that the move has left."""
    row = {"job_id": job_id, "attempt": 1, "host": "mounted", "path": f"/.data_mover-{job_id}-0-1-{'0' * 16}"}
    database = Database(Settings.from_ini(str(service.ini)).database_url())
    with database.writing() as session:
        session.execute(insert(TemporaryFile).values(kind="file", not_before_ms=0, **row))
    database.close()


def planned(service, *arguments):
    """The answer once it is complete."""
    with service.proxy as proxy:
        return eventually(lambda: (plan := proxy.plan(*arguments))["complete"] and plan, "there is an answer", 60)


def test_a_file_system_that_does_not_answer_is_not_waited_for(tmp_path, monkeypatch):
    assert answers(str(tmp_path), 10)
    assert answers(str(tmp_path / "nothing"), 10)

    (tmp_path / "stat").write_text("#!/bin/sh\nexec sleep 60\n")
    (tmp_path / "stat").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")
    began = time.monotonic()
    assert not answers(str(tmp_path), 0.2)
    assert time.monotonic() - began < 30
