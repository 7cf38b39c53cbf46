"""No host keeps all workers while the moves of others wait."""

import pytest

from tests.servers.deployment import deployment, host_table
from tests.servers.processes import eventually

MEBIBYTE = 2**20


@pytest.fixture
def service(tmp_path, redis_url):
    """Two workers, and a host that would keep both of them for minutes."""
    for name in ("slow", "quick", "inbox"):
        (tmp_path / name).mkdir()
    registry = host_table("inbox", local(tmp_path / "inbox", "destination", max_transfers=10))
    registry += host_table("slow", local(tmp_path / "slow", "source", bandwidth="200KB/s"))
    registry += host_table("quick", local(tmp_path / "quick", "source"))
    extra = f"data_mover.give_way_seconds = 2\ndata_mover.checkpoint_bytes = {2**18}"
    with deployment(tmp_path / "service", redis_url, registry, extra=extra) as service:
        service.start_web()
        for _ in range(2):
            service.start_worker()
        yield service


def local(root, role, **options):
    return {"protocol": "local", "root": root, "roles": [role], **options}


def test_a_move_of_another_host_waits_only_for_a_while_where_one_has_all_workers(service, tmp_path):
    for number in range(4):
        (tmp_path / "slow" / str(number)).write_bytes(bytes([number]) * 30 * MEBIBYTE)
    (tmp_path / "quick" / "small").write_bytes(b"small")
    with service.proxy as proxy:
        slow = [proxy.move(f"local://slow/{number}", f"inbox:/{number}")["id"] for number in range(4)]
        eventually(lambda: running(proxy, slow) == 2, "both workers have a job of the slow host")

        quick = proxy.move("local://quick/small", "inbox:/small")["id"]

        assert service.ended(quick)["status"] == "COMPLETED"
        states = proxy.check_many(slow)
        assert not [state for state in states if state["status"] not in ("PENDING", "IN_PROGRESS")]
        [gave_way] = [state for state in states if "gave way" in state.get("reason", "")]
        assert gave_way["reason"].startswith("gave way to another job")
        assert gave_way["bytes_done"] > 0

        eventually(lambda: running(proxy, slow) == 2, "the slow host has both workers again")


def running(proxy, job_ids):
    return sum(state["phase"] == "transferring" for state in proxy.check_many(job_ids))
