"""A worker that has nothing to do."""

import pytest
from redis import Redis

from tests.servers.deployment import deployment, host_table
from tests.servers.processes import eventually
from tests.servers.redis import redis_server

#: longer than a connection of redis-py waits for an answer unless configured otherwise
SECONDS = 7


@pytest.fixture
def redis(tmp_path):
    with redis_server(tmp_path / "redis") as url:
        yield url


def test_it_waits_at_redis_without_a_break(tmp_path, redis):
    registry = host_table("disk", {"protocol": "local", "root": tmp_path, "roles": ["source"]})
    with deployment(tmp_path / "service", redis, registry) as service, Redis.from_url(redis) as connection:
        service.start_sweeper()
        service.start_worker()

        def waits():
            clients = connection.client_list()
            return [client for client in clients if client["cmd"] == "blpop" and int(client["age"]) >= SECONDS]

        eventually(waits, "the worker has waited for long on one connection")

        assert "ERROR" not in service.log("worker")
