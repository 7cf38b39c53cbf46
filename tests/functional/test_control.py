"""Callers and operators control moves that run, and moves affect each other."""

import os
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from tests.servers.deployment import XmlRpc, deployment, host_table
from tests.servers.openssh import openssh_server
from tests.servers.processes import eventually, free_port

SETTINGS = """
data_mover.retry_first_seconds = 0.2
data_mover.probe_longest_seconds = 0.5
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory, openssh, redis_url):
    base = tmp_path_factory.mktemp("control")
    roots = SimpleNamespace(disk=base / "disk", vis=base / "vis")
    for root in (roots.disk, roots.vis):
        root.mkdir()
    (roots.disk / "a").write_bytes(b"content")
    (roots.disk / "large").write_bytes(os.urandom(20_000_000))
    away = free_port()
    hosts = {"idle_timeout_seconds": 5, "connect_timeout_seconds": 2}
    registry = (
        host_table("disk", {"protocol": "local", "root": roots.disk, "roles": ["source"]})
        + host_table("vis", openssh.options(roots.vis, **hosts))
        + host_table("same", openssh.options(roots.vis.parent, **hosts))
        + host_table("slow", openssh.options(roots.vis, bandwidth="2MB/s", **hosts))
        + host_table("away", openssh.options(roots.vis, port=away, **hosts))
    )
    with deployment(base / "service", redis_url, registry, extra=SETTINGS) as service:
        service.start_web()
        service.start_worker()
        service.start_worker()
        service.start_sweeper()
        yield SimpleNamespace(service=service, roots=roots, away=away)


@pytest.fixture
def proxy(world):
    with XmlRpc(world.service.url) as proxy:
        yield proxy


def temporary_files(world):
    return [name for name in os.listdir(world.roots.vis) if name.startswith(".data_mover-")]


def in_mid_copy(proxy, job_id):
    eventually(lambda: proxy.check(job_id)["bytes_done"] > 0, "bytes have moved")


def test_a_running_move_that_is_cancelled_stops_and_leaves_nothing(world, proxy):
    job_id = proxy.move("local://disk/large", "sftp://slow/cancelled")["id"]
    in_mid_copy(proxy, job_id)

    answer = proxy.cancel(job_id)

    assert (answer["status"], answer.get("phase")) in [("IN_PROGRESS", "cancelling"), ("CANCELLED", None)]
    job = world.service.ended(job_id, 10)
    assert job["status"] == "CANCELLED"
    assert "phase" not in job
    assert not (world.roots.vis / "cancelled").exists()
    assert temporary_files(world) == []
    assert proxy.cancel(job_id) == job


def test_what_is_complete_can_neither_be_cancelled_nor_done_again(world, proxy):
    job_id = world.service.ended(proxy.move("local://disk/a", "sftp://vis/done")["id"])["id"]

    assert (proxy.cancel(job_id)["status"], proxy.cancel(job_id)["code"]) == ("REJECTED", "too-late")
    assert (proxy.retry(job_id)["status"], proxy.retry(job_id)["code"]) == ("REJECTED", "not-ended")
    assert proxy.check(job_id)["status"] == "COMPLETED"


def test_the_log_of_a_job_shows_what_happened_to_it_and_of_no_job_there_is_one(world, proxy):
    job_id = proxy.move("local://disk/a", "sftp://vis/logged")["id"]
    job = eventually(lambda: (job := proxy.check(job_id))["status"] == "COMPLETED" and job, "the file arrives")

    log = proxy.events(job_id)

    assert [line["number"] for line in log] == list(range(1, len(log) + 1))
    assert (log[0]["event"], log[0]["to"], log[0]["phase"]) == ("submitted", "PENDING", "queued")
    assert (log[1]["event"], log[1]["from"], log[1]["attempt"]) == ("claimed", "PENDING", 1)
    assert (log[-1]["event"], log[-1]["to"], "phase" in log[-1]) == ("completed", "COMPLETED", False)
    assert (log[0]["at"], "from" in log[0], "worker" in log[0]) == (job["submitted_at"], False, False)
    assert proxy.events(999_999)["reason"] == "Job does not exist"


def test_what_has_failed_can_be_done_again(world, proxy):
    failed = world.service.ended(proxy.move("local://disk/late", "sftp://vis/late", {"label": "seven"})["id"])
    assert failed["code"] == "no-such-file"
    (world.roots.disk / "late").write_bytes(b"here now")

    again = world.service.ended(proxy.retry(failed["id"])["id"])

    assert (again["status"], again["retry_of"], again["label"]) == ("COMPLETED", failed["id"], "seven")
    assert (world.roots.vis / "late").read_bytes() == b"here now"
    assert proxy.check(failed["id"]) == failed


def test_the_same_retry_asked_for_again_makes_no_second_job(world, proxy):
    job_id = proxy.move("local://disk/a", "sftp://away/a")["id"]
    proxy.cancel(job_id)
    eventually(lambda: proxy.check(job_id)["status"] == "CANCELLED", "it is cancelled")

    first, second = proxy.retry(job_id), proxy.retry(job_id)

    assert first["id"] == second["id"]
    proxy.cancel(first["id"])


def test_retries_of_one_job_that_race_make_one_job(world, proxy):
    job_id = proxy.move("local://disk/a", "sftp://away/raced")["id"]
    proxy.cancel(job_id)
    eventually(lambda: proxy.check(job_id)["status"] == "CANCELLED", "it is cancelled")

    def ask(_):
        with world.service.proxy as own:
            return own.retry(job_id)["id"]

    with ThreadPoolExecutor(8) as callers:
        ids = set(callers.map(ask, range(24)))

    assert len(ids) == 1
    proxy.cancel(ids.pop())


@pytest.mark.parametrize(("if_exists", "outcome"), [("refuse", "exists"), ("verify", None), ("replace", None)])
def test_what_stands_at_the_destination_is_treated_as_was_asked(world, proxy, if_exists, outcome):
    (world.roots.vis / if_exists).write_bytes(b"content")

    job = world.service.ended(proxy.move("local://disk/a", f"sftp://vis/{if_exists}", {"if_exists": if_exists})["id"])

    assert job.get("code") == outcome
    assert (world.roots.vis / if_exists).read_bytes() == b"content"


def test_two_moves_to_one_path_take_turns_and_the_older_one_does_not_undo_the_later(world, proxy):
    """The path is one, though the hosts' names and roots are two."""
    first = proxy.move("local://disk/large", "sftp://slow/contested")["id"]
    in_mid_copy(proxy, first)
    second = proxy.move("local://disk/a", "sftp://same/vis/contested")["id"]
    eventually(lambda: "same path" in proxy.check(second).get("reason", ""), "the second one says that it waits")

    jobs = [world.service.ended(job_id) for job_id in (first, second)]

    assert [job["status"] for job in jobs] == ["COMPLETED", "COMPLETED"]
    assert jobs[0]["ended_at"] <= jobs[1]["ended_at"]
    assert (world.roots.vis / "contested").read_bytes() == b"content"


def test_moves_to_a_host_that_is_away_wait_and_go_through_when_it_is_back(world, proxy, openssh, tmp_path):
    ids = [proxy.move("local://disk/a", f"sftp://away/back-{number}")["id"] for number in range(5)]
    others = [proxy.move("local://disk/a", f"sftp://vis/other-{number}")["id"] for number in range(5)]

    assert {world.service.ended(job_id)["status"] for job_id in others} == {"COMPLETED"}
    reported = [eventually(lambda job_id=job_id: blocked(proxy.check(job_id)), "it is blocked") for job_id in ids]
    assert {job["code"] for job in reported} == {"host-unreachable"}
    assert all(job["next_attempt_at"] for job in reported)

    with openssh_server(openssh.key_file.parent, port=world.away):
        ended = [world.service.ended(job_id) for job_id in ids]
    assert {job["status"] for job in ended} == {"COMPLETED"}
    assert max(job["attempt"] for job in ended) <= 2


def blocked(job):
    return job if job.get("phase") == "blocked" else None
