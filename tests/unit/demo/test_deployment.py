"""The directory of the demo is a deployment without problems, private, and never somebody else's."""

import os
import stat
import tempfile

import pytest

from data_mover.config.registry_file import load_registry
from data_mover.config.settings import Settings
from data_mover.demo.deployment import LONGEST_SOCKET_PATH, DirectoryInUse, demo_directory
from data_mover.doorbell import redis_connection


@pytest.fixture
def tmp_path(tmp_path_factory):
    """With a short path: that of a socket may have 107 bytes, and a link to a long one begins with it."""
    return tmp_path_factory.mktemp("d")


@pytest.mark.parametrize("name", ["demo", "with spaces", "somebody@somewhere", "x" * 120])
def test_its_configuration_has_no_problems(name, tmp_path):
    with demo_directory(tmp_path / name) as directory:
        settings = Settings.from_ini(str(directory.ini))
        registry = load_registry(settings.registry, settings.open_web)

    assert set(registry.hosts) == {"disk", "visualizer"}
    assert str(registry.datasets["map"].locations("12")[0]) == "disk:/maps/12.bin"


def test_others_can_read_nothing_of_it(tmp_path):
    with demo_directory(tmp_path / "demo") as directory:
        paths = directory.path, directory.redis, directory.login_key, directory.host_key

        assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [0o700, 0o700, 0o600, 0o600]


def test_every_run_starts_anew(tmp_path):
    with demo_directory(tmp_path / "demo") as first:
        first_key = first.login_key.read_bytes()
        (first.source / "old.bin").touch()

    with demo_directory(tmp_path / "demo") as second:
        assert second.login_key.read_bytes() != first_key
        assert not any(second.source.iterdir())


def test_a_redis_server_that_was_fetched_is_kept(tmp_path):
    with demo_directory(tmp_path / "demo") as first:
        first.programs.mkdir()
        (first.programs / "redis-server").touch()

    with demo_directory(tmp_path / "demo") as second:
        assert (second.programs / "redis-server").exists()


def test_files_that_the_demo_did_not_make_are_left_alone(tmp_path):
    (tmp_path / "thesis.txt").write_text("years of work")

    with pytest.raises(DirectoryInUse, match="has files that the demo did not make"), demo_directory(tmp_path):
        pass

    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_two_demos_do_not_share_a_directory(tmp_path):
    with (
        demo_directory(tmp_path / "demo"),
        pytest.raises(DirectoryInUse, match="A demo runs in"),
        demo_directory(tmp_path / "demo"),
    ):
        pass


def test_sockets_of_a_directory_with_a_long_path_are_reached_by_a_private_link(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    with demo_directory(tmp_path / ("x" * 120)) as directory:
        settings = Settings.from_ini(str(directory.ini))
        with redis_connection(settings.redis_url, None) as connection:
            socket = connection.connection_pool.connection_kwargs["path"]

        assert os.path.realpath(socket) == str(directory.redis / "redis.sock")
        assert len(socket) <= LONGEST_SOCKET_PATH
        assert directory.short.is_symlink()
        assert stat.S_IMODE(directory.short.parent.stat().st_mode) == 0o700

    assert list(tmp_path.iterdir()) == [directory.path]


def test_where_no_path_is_short_enough_for_a_socket_the_error_says_what_to_set(tmp_path, monkeypatch):
    long = tmp_path / ("x" * 120)
    long.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(long))

    with (
        pytest.raises(DirectoryInUse, match="too long for the path of a socket; set TMPDIR"),
        demo_directory(long / "d"),
    ):
        pass
