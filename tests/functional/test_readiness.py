"""Missing parts of the service are reported to callers, to probes, on the page and in the log."""

import json
from contextlib import ExitStack
from urllib.error import HTTPError
from urllib.parse import urljoin
from urllib.request import urlopen

import pytest

from tests.servers.deployment import deployment, host_table, nobody_there
from tests.servers.processes import eventually
from tests.servers.redis import redis_server


@pytest.fixture
def own_redis(tmp_path):
    """Redis until it is closed, and its URL."""
    with ExitStack() as stack:
        yield stack, stack.enter_context(redis_server(tmp_path / "redis"))


@pytest.fixture
def service(tmp_path, own_redis):
    for name in ("disk", "archive"):
        (tmp_path / name).mkdir()
    (tmp_path / "disk" / "a").write_text("a")
    registry = host_table("disk", {"protocol": "local", "root": tmp_path / "disk", "roles": ["source"]})
    registry += host_table("archive", {"protocol": "local", "root": tmp_path / "archive", "roles": ["destination"]})
    registry += host_table("away", nobody_there())
    with deployment(tmp_path / "service", own_redis[1], registry) as service:
        service.start_web()
        yield service


def readiness(service):
    """The status of the answer, and the codes of what is missing."""
    try:
        with urlopen(urljoin(service.url, "/health/ready")) as answer:
            return answer.status, [part["code"] for part in json.load(answer)["missing"]]
    except HTTPError as error:
        return error.code, [part["code"] for part in json.load(error)["missing"]]


def page(service):
    with urlopen(urljoin(service.url, "/")) as answer:
        return answer.read().decode()


def test_whatever_is_not_there_is_named_with_the_way_out(service, own_redis):
    assert readiness(service) == (503, ["no-worker", "no-sweeper"])
    assert "starts one with <code>data_mover worker</code>" in page(service)
    assert "starts one with <code>data_mover sweep</code>" in page(service)
    with service.proxy as proxy:
        job_id = proxy.move("local://disk/a", "local://archive/a")["id"]
        job = proxy.check(job_id)
        assert (job["status"], job["code"]) == ("PENDING", "no-worker")
        assert "`data_mover worker`" in job["reason"]

    service.start_sweeper()
    eventually(lambda: "no-worker there is work" in service.log("sweeper"), "the sweeper has missed the workers")
    service.start_worker()
    assert service.ended(job_id)["status"] == "COMPLETED"
    eventually(lambda: readiness(service) == (200, []), "nothing is missing")
    assert 'class="problem"' not in page(service)

    own_redis[0].close()
    assert readiness(service) == (503, ["no-redis"])
    assert "Redis does not answer" in page(service)
    with service.proxy as proxy:
        job_id = proxy.move("local://disk/a", "local://archive/b")["id"]
        job, why = proxy.check(job_id), proxy.explain(job_id)
        assert (job["status"], job["code"], why["cause"]) == ("PENDING", "no-redis", "no-redis")
        assert job["reason"] == why["sentence"]
        assert "Redis does not answer" in job["reason"]
        assert [each["code"] for each in (*proxy.check_many([job_id]), proxy.jobs()[0])] == ["no-redis"] * 2


def test_a_worker_says_that_there_is_no_sweeper(service):
    service.start_worker()

    eventually(lambda: "no-sweeper no sweep was made" in service.log("worker"), "the worker has missed the sweeper")


def test_a_host_that_cannot_be_reached_says_why_and_what_says_more(service):
    service.start_worker()
    with service.proxy as proxy:
        job_id = proxy.move("local://disk/a", "sftp://away/a")["id"]
        eventually(lambda: proxy.check(job_id)["phase"] == "blocked", "the move waits for the host")
        job = proxy.check(job_id)
        (away,) = (host for host in proxy.hosts() if host["name"] == "away")

    assert "away: it refuses the connection; nothing listens at this address and port" in job["reason"]
    assert "`data_mover hosts check away` says more" in job["reason"]
    assert "it refuses the connection" in away["reason"]
