"""One large file to an OpenSSH server on loopback: Data Mover's verified move beside scp and rclone.

    python -m benchmarks.large_file [--mebibytes 1024] [--rounds 3] [--directory /dev/shm]

Each round runs every mover once, in turn. A move counts from the call of `move` until `check` says COMPLETED, with
everything that Data Mover does in between: the queue, the SHA-256 of both sides, fsync, the rename. scp verifies
nothing; rclone, where it is installed, is measured with its checksums and without.
"""

import os
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from tests.servers.deployment import TERMINAL, Deployment, deployment, host_table
from tests.servers.openssh import SshServer, openssh_server
from tests.servers.redis import redis_server

MEBIBYTE = 2**20


@click.command(help=__doc__)
@click.option("--mebibytes", default=1024, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--directory", default="/dev/shm", show_default=True, help="Where files and servers are kept meanwhile.")
def main(mebibytes: int, rounds: int, directory: str) -> None:
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=directory)))
        source = _make_file(base / "source" / "file", mebibytes)
        (base / "root").mkdir()
        server = stack.enter_context(openssh_server(base / "ssh"))
        movers = _movers(stack, base, server, source)
        seconds = _measure(movers, rounds, base / "root" / "file")
    _report(seconds, mebibytes)


def _movers(stack: ExitStack, base: Path, server: SshServer, source: Path) -> dict[str, Callable[[], None]]:
    """Return the movers that are measured, by name."""
    service = _service(stack, base, server)
    target = base / "root" / "file"
    movers: dict[str, Callable[[], None]] = {
        "Data Mover, sftp, verified": lambda: _move(service, "sftp"),
        "Data Mover, scp, verified": lambda: _move(service, "scp"),
        "scp": lambda: _scp(server, source, target),
        "scp, aes128-gcm": lambda: _scp(server, source, target, "-oCiphers=aes128-gcm@openssh.com"),
    }
    if shutil.which("rclone"):
        movers["rclone, verified"] = lambda: _rclone(base, server, source, target)
        movers["rclone, not verified"] = lambda: _rclone(base, server, source, target, "--ignore-checksum")
    return movers


def _service(stack: ExitStack, base: Path, server: SshServer) -> Deployment:
    url = stack.enter_context(redis_server(base / "redis"))
    registry = host_table("disk", {"protocol": "local", "root": base / "source", "roles": ["source"]})
    for protocol in ("sftp", "scp"):
        registry += host_table(protocol, server.options(base / "root", protocol=protocol))
    service = stack.enter_context(deployment(base / "service", url, registry, pace=""))
    service.start_web()
    service.start_worker()
    return service


def _move(service: Deployment, host: str) -> None:
    with service.proxy as proxy:
        job_id = proxy.move("local://disk/file", {"host": host, "path": "/file"})["id"]
        while (job := proxy.check(job_id))["status"] not in TERMINAL:
            time.sleep(0.05)
    if job["status"] != "COMPLETED":
        raise click.ClickException(f"the move has failed: {job}")


def _scp(server: SshServer, source: Path, target: Path, *options: str) -> None:
    trust = ["-oStrictHostKeyChecking=no", "-oUserKnownHostsFile=/dev/null", "-oLogLevel=ERROR"]
    where = f"{server.username}@127.0.0.1:{target}"
    subprocess.run(
        ["scp", "-q", "-i", server.key_file, "-P", str(server.port), *trust, *options, source, where], check=True
    )


def _rclone(base: Path, server: SshServer, source: Path, target: Path, *options: str) -> None:
    remote = f":sftp,host=127.0.0.1,port={server.port},user={server.username},key_file={server.key_file}:{target}"
    command = [
        "rclone",
        "copyto",
        "--config",
        str(base / "rclone.conf"),
        "--ignore-times",
        *options,
        str(source),
        remote,
    ]
    subprocess.run(command, check=True, capture_output=True)


def _measure(movers: dict[str, Callable[[], None]], rounds: int, target: Path) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in movers}
    for _ in range(rounds):
        for name, move in movers.items():
            target.unlink(missing_ok=True)
            began = time.monotonic()
            move()
            seconds[name].append(time.monotonic() - began)
    return seconds


def _report(seconds: dict[str, list[float]], mebibytes: int) -> None:
    rates = {name: mebibytes * MEBIBYTE / 1e6 / statistics.median(each) for name, each in seconds.items()}
    ours = next(iter(rates.values()))
    table = Table("mover", "MB/s (median)", "ours / this", title=f"one file of {mebibytes} MiB")
    for name, rate in rates.items():
        table.add_row(name, f"{rate:.0f}", f"{ours / rate:.2f}")
    Console().print(table)


def _make_file(path: Path, mebibytes: int) -> Path:
    path.parent.mkdir()
    with path.open("wb") as file:
        for _ in range(mebibytes):
            file.write(os.urandom(MEBIBYTE))
    return path


if __name__ == "__main__":
    main()
