"""A deployment under the supervisor configuration that is shipped: whatever is killed restarts, and moves continue."""

import os
import signal
import socket
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from data_mover.demo.deployment import SUPERVISOR
from tests.servers.deployment import Deployment, XmlRpc, deployment, host_table
from tests.servers.processes import answers, descendants, eventually, free_port, program, running

pytest.importorskip("supervisor", reason="supervisord comes with the extra `supervisor`")

REDIS_CONF = Path(__file__).resolve().parents[2] / "redis" / "redis.conf"
BIN = Path(sys.executable).parent
PATIENT = "data_mover.stop_seconds = 5"
PROGRAMS = ["redis", "web", "worker-1", "worker-2", "sweeper"]


@pytest.fixture(scope="module")
def silent_port():
    """A port that accepts connections and never answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        yield listener.getsockname()[1]


@pytest.fixture(scope="module")
def supervised(tmp_path_factory, silent_port):
    """A deployment as docs/how-to/install.md has it, with the shipped redis.conf on another port, without a password,
    and with less patience for workers that are asked to stop."""
    program("redis-server")
    directory, redis_port = tmp_path_factory.mktemp("super vised"), free_port()
    local = {"protocol": "local", "roles": ["source", "destination"]}
    for name in ("disk", "visualizer", "logs", "redis"):
        (directory / name).mkdir()
    registry = "".join(host_table(name, {**local, "root": name}) for name in ("disk", "visualizer"))
    registry += host_table("silent", silent_host(silent_port))
    redis_conf = REDIS_CONF.read_text().replace("port 6379", f"port {redis_port}")
    (directory / "redis" / "redis.conf").write_text(redis_conf)
    (directory / "redis" / "redis-password.conf").touch()
    configuration = SUPERVISOR.read_text().replace("stopwaitsecs = 90", "stopwaitsecs = 1")
    (directory / "supervisord.conf").write_text(configuration)
    with (
        deployment(directory, f"redis://127.0.0.1:{redis_port}/0", registry, extra=PATIENT) as service,
        supervisord(service) as pid,
    ):
        eventually(lambda: answers(service.port), "the web process listening", 60)
        yield service, pid


@contextmanager
def supervisord(service):
    environment = {**os.environ, "PATH": f"{BIN}:{os.environ['PATH']}", "DATA_MOVER_INI": str(service.ini)}
    command = [str(BIN / "supervisord"), "-c", str(service.directory / "supervisord.conf")]
    with running(command, service.directory / "output", env=environment) as process:
        yield process.pid
        started = descendants(process.pid)
        process.terminate()
        assert process.wait(60) == 0
        assert [pid for pid in started if Path(f"/proc/{pid}").exists()] == []


def silent_host(port):
    return {
        "protocol": "sftp",
        "address": "127.0.0.1",
        "port": port,
        "username": "nobody",
        "password": "env:HOME",
        "host_key": "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIJl3dIeudNqd0DPMRD6OIh65tjkxFNOtwGcWB2gCgPhk",
        "root": "/",
        "roles": ["source"],
        "connect_timeout_seconds": 600,
    }


def supervisorctl(service: Deployment, *arguments: str) -> str:
    command = [str(BIN / "supervisorctl"), "-c", str(service.directory / "supervisord.conf"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout.strip()


def pid_of(service: Deployment, name: str) -> int:
    """The process that runs, or 0; asked of supervisord itself, for a supervisorctl takes much longer."""
    from supervisor.xmlrpc import SupervisorTransport

    transport = SupervisorTransport(serverurl=f"unix://{service.directory / 'supervisor.sock'}")
    with XmlRpc("http://127.0.0.1", transport) as supervisord:
        return supervisord.supervisor.getProcessInfo(full_name(name))["pid"]


def full_name(name):
    return f"worker:{name}" if name.startswith("worker") else name


def move_a_file(service, name):
    (service.directory / "disk" / name).write_text(name)
    with service.proxy as proxy:
        job = proxy.move({"host": "disk", "path": f"/{name}"}, {"host": "visualizer", "path": f"/{name}"})
    assert service.ended(job["id"])["status"] == "COMPLETED"
    assert (service.directory / "visualizer" / name).read_text() == name


@pytest.mark.parametrize("name", PROGRAMS)
def test_what_is_killed_is_back_and_moves_continue(supervised, name):
    service, _ = supervised
    pid = eventually(lambda: pid_of(service, name), f"{name} running")

    os.kill(pid, signal.SIGKILL)

    eventually(lambda: pid_of(service, name) not in (0, pid), f"{name} running again")
    eventually(lambda: answers(service.port), "the web process listening", 60)
    move_a_file(service, name)


def test_all_at_once(supervised):
    service, pid = supervised
    pids = {name: pid_of(service, name) for name in PROGRAMS}

    for each in descendants(pid):
        os.kill(each, signal.SIGKILL)

    for name, killed in pids.items():
        eventually(lambda name=name, killed=killed: pid_of(service, name) not in (0, killed), f"{name} running again")
    eventually(lambda: answers(service.port), "the web process listening", 60)
    move_a_file(service, "all")


def test_a_worker_that_does_not_stop_in_time_is_killed_and_what_it_runs_dies_with_it(supervised):
    service, _ = supervised
    with service.proxy as proxy:
        job = proxy.move({"host": "silent", "path": "/a"}, {"host": "visualizer", "path": "/a"})
        eventually(lambda: proxy.check(job["id"])["status"] == "IN_PROGRESS", "a worker that waits for the host")
    workers = [pid_of(service, name) for name in ("worker-1", "worker-2")]
    processes = [*workers, *(each for worker in workers for each in descendants(worker))]
    assert len(processes) > len(workers)

    supervisorctl(service, "stop", "worker:*")

    eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in processes), "the end of all of them")
    supervisorctl(service, "start", "worker:*")
    move_a_file(service, "afterwards")
