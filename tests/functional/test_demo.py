"""The demo, as a person starts it."""

import os
import signal
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from data_mover.demo.redis_server import NoRedisServer, find_redis_server
from data_mover.domain.child_environment import environment
from tests.servers.processes import absent, eventually

pytest.importorskip("asyncssh", reason="the SFTP server of the demo comes with the extra `demo`")

DEMO = [sys.executable, "-m", "data_mover.cli.main", "demo", "--mebibytes", "4", "--directory", "demo"]


@pytest.fixture(autouse=True)
def redis_program(tmp_path_factory):
    try:
        find_redis_server(tmp_path_factory.mktemp("programs"))
    except NoRedisServer as error:
        absent(str(error))


@contextmanager
def demo(directory, *arguments):
    """A demo with its output, which is killed with the block if it has not ended."""
    output = directory / "output"
    with (
        output.open("w") as file,
        subprocess.Popen([*DEMO, *arguments], cwd=directory, env=environment(), stdout=file, stderr=file) as process,
    ):
        try:
            yield process, output
        finally:
            process.kill()


def wait_until_up(process, output):
    eventually(lambda: process.poll() is not None or "Ctrl-C ends it" in output.read_text(), "the demo up", 60)
    assert process.poll() is None, output.read_text()


def processes_of(directory):
    """The process ids and command lines of what runs below the directory, or was told of it."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, place = (process / "cmdline").read_text().replace("\0", " "), (process / "cwd").readlink()
        except OSError:
            continue
        if str(directory) in f"{command} {place}":
            found[int(process.name)] = command
    return found


def test_once_moves_a_file_and_leaves_nothing_running(tmp_path):
    with demo(tmp_path, "--once") as (process, output):
        status = process.wait(120)

    assert status == 0, output.read_text()
    assert output.read_text().splitlines()[-1].split() == ["status", "COMPLETED"]
    source, arrived = tmp_path / "demo/source/maps/12.bin", tmp_path / "demo/destination/maps/12.bin"
    assert arrived.read_bytes() == source.read_bytes()
    assert processes_of(tmp_path) == {}


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_stays_up_until_it_is_told_to_end(number, tmp_path):
    with demo(tmp_path) as (process, output):
        wait_until_up(process, output)
        assert len(processes_of(tmp_path)) > 5

        process.send_signal(number)

        assert process.wait(60) == 0
    assert processes_of(tmp_path) == {}


def test_a_process_that_dies_is_started_again(tmp_path):
    with demo(tmp_path) as (process, output):
        wait_until_up(process, output)
        web = pid_of("pserve", tmp_path)

        os.kill(web, signal.SIGKILL)

        eventually(lambda: pid_of("pserve", tmp_path) not in (None, web), "another web process")
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, output.read_text()
    assert processes_of(tmp_path) == {}


def pid_of(word, directory):
    return next((pid for pid, command in processes_of(directory).items() if word in command), None)
