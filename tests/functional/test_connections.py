"""How often a worker logs in at a host whose jobs follow each other."""

from contextlib import contextmanager

import pytest

from tests.servers.deployment import deployment, host_table
from tests.servers.processes import eventually
from tests.servers.proxy import Fault, proxy

JOBS = 12


@pytest.fixture
def network(openssh):
    with proxy(openssh.port) as network:
        yield network


@contextmanager
def service(tmp_path, redis_url, openssh, network, **limits):
    """A service in which JOBS moves to `hpc` wait for the first worker; yields it and the moves."""
    for name in ("disk", "hpc"):
        (tmp_path / name).mkdir()
    (tmp_path / "disk" / "a").write_text("a")
    registry = host_table("disk", {"protocol": "local", "root": tmp_path / "disk", "roles": ["source"]})
    registry += host_table("hpc", openssh.options(tmp_path / "hpc", port=network.port, **limits))
    with deployment(tmp_path / "service", redis_url, registry, extra="data_mover.retry_first_seconds = 0.2") as running:
        running.start_web()
        running.start_sweeper()
        with running.proxy as proxy:
            yield running, [proxy.move("local://disk/a", f"sftp://hpc/{number}")["id"] for number in range(JOBS)]


def test_jobs_that_follow_each_other_share_a_login_which_ends_with_them(tmp_path, redis_url, openssh, network):
    with service(tmp_path, redis_url, openssh, network) as (running, moves):
        running.start_worker()

        assert {running.ended(job_id)["status"] for job_id in moves} == {"COMPLETED"}
        eventually(lambda: not network.connections, "the worker has logged out")

    assert network.made == 1


def test_where_a_host_takes_one_job_at_a_time_each_has_its_own_login(tmp_path, redis_url, openssh, network):
    with service(tmp_path, redis_url, openssh, network, max_transfers=1) as (running, moves):
        running.start_worker()

        assert {running.ended(job_id)["status"] for job_id in moves} == {"COMPLETED"}

    assert network.made == JOBS


def test_a_login_that_ends_between_two_jobs_costs_no_job(tmp_path, redis_url, openssh, network):
    with service(tmp_path, redis_url, openssh, network) as (running, moves):
        running.start_worker()
        for job_id in moves:
            running.ended(job_id)
            network.strike(Fault.CUT)

        assert {running.ended(job_id)["status"] for job_id in moves} == {"COMPLETED"}
