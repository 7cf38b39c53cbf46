"""redis/redis.conf, as a real server reads it."""

import subprocess
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError

from tests.servers.processes import free_port, program, running, started

CONFIGURATION = Path(__file__).resolve().parents[2] / "redis" / "redis.conf"


@pytest.fixture
def port(tmp_path):
    """The port of a server that has the configuration and a password."""
    (tmp_path / "redis-password.conf").write_text("requirepass open-sesame\n")
    port, log = free_port(), tmp_path / "log"
    with running([program("redis-server"), str(CONFIGURATION), "--port", str(port)], log, cwd=tmp_path) as process:
        started(process, port, log)
        yield port


def test_who_knows_the_password_is_served_and_nobody_else(port):
    with Redis(port=port, password="open-sesame") as connection:
        assert connection.ping()

    with Redis(port=port) as stranger, pytest.raises(AuthenticationError):
        stranger.ping()


def test_what_is_written_is_kept_and_never_evicted(port):
    with Redis(port=port, password="open-sesame", decode_responses=True) as connection:
        settings = connection.config_get("appendonly", "appendfsync", "maxmemory-policy")

    assert settings == {"appendonly": "yes", "appendfsync": "always", "maxmemory-policy": "noeviction"}


def test_without_a_password_file_it_does_not_start(tmp_path):
    command = [program("redis-server"), str(CONFIGURATION), "--port", str(free_port())]

    server = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False)

    assert server.returncode != 0
    assert "redis-password.conf" in server.stdout + server.stderr
