"""The limits of one caller and of one move."""

from typing import Any
from xmlrpc.client import MultiCall

import pytest

from data_mover.services.plans import MOST_PLANS
from tests.servers.deployment import deployment, host_table
from tests.servers.processes import eventually


@pytest.fixture
def service(tmp_path, redis_url):
    for name in ("disk", "archive"):
        (tmp_path / name).mkdir()
    registry = host_table("disk", {"protocol": "local", "root": tmp_path / "disk", "roles": ["source"]})
    registry += host_table("archive", {"protocol": "local", "root": tmp_path / "archive", "roles": ["destination"]})
    with deployment(tmp_path / "service", redis_url, registry, extra="data_mover.max_files = 3") as service:
        service.start_web()
        yield service


def test_a_caller_waits_for_so_many_plans_and_a_move_has_so_many_files(service, tmp_path):
    for name, count in (("few", 2), ("many", 3)):
        (tmp_path / "disk" / name).mkdir()
        for number in range(count):
            (tmp_path / "disk" / name / str(number)).touch()
    with service.proxy as proxy:
        plans = MultiCall(proxy)
        for number in range(MOST_PLANS + 2):
            plans.plan(f"local://disk/{number}", "local://archive/a")
        results: Any = plans()
        answers = list(results)
        assert [answer.get("code") for answer in answers[MOST_PLANS:]] == ["too-many-plans"] * 2
        assert "too-many-plans" not in [answer.get("code") for answer in answers[:MOST_PLANS]]

        service.start_worker()
        moves = {name: proxy.move(f"local://disk/{name}", "local://archive/")["id"] for name in ("few", "many")}
        ended = {name: service.ended(job_id) for name, job_id in moves.items()}

    assert ended["few"]["status"] == "COMPLETED"
    assert (ended["many"]["status"], ended["many"]["code"]) == ("FAILED", "too-large")
    assert not (tmp_path / "archive" / "many").exists()


def test_what_a_source_shows_counts_also_where_nothing_of_it_is_taken_in_plans_and_moves(service, tmp_path):
    for number in range(3):
        (tmp_path / "disk" / "wide" / str(number)).mkdir(parents=True)
    source, target, options = "local://disk/wide", "local://archive/", {"match": ["nothing"]}
    with service.proxy as proxy:
        service.start_worker()
        job_id = proxy.move(source, target, options)["id"]
        planned = eventually(lambda: complete(proxy.plan(source, target, options)), "the plan is answered")
        moved = service.ended(job_id)

    assert (moved["status"], moved["code"]) == ("FAILED", "too-large")
    assert planned["code"] == "too-large"
    assert planned["reason"] == moved["reason"]


def test_links_that_make_paths_without_end_are_counted_in_plans_and_moves(service, tmp_path):
    """Of 30 directories each has two links to the next one: 2 to the power of 30 paths."""
    for number in range(30):
        (tmp_path / "disk" / "maze" / str(number)).mkdir(parents=True)
        for name in ("left", "right"):
            (tmp_path / "disk" / "maze" / str(number) / name).symlink_to(f"../{number + 1}")
    (tmp_path / "disk" / "maze" / "30").mkdir()
    source, target, options = "local://disk/maze/0", "local://archive/", {"links": "follow"}
    with service.proxy as proxy:
        service.start_worker()
        job_id = proxy.move(source, target, options)["id"]
        planned = eventually(lambda: complete(proxy.plan(source, target, options)), "the plan is answered")
        moved = service.ended(job_id)

    assert (moved["status"], moved["code"], planned["code"]) == ("FAILED", "too-large", "too-large")


def complete(plan):
    return plan if plan["complete"] else None
