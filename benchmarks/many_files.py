"""A folder of small files to an OpenSSH server on loopback: Data Mover's verified move beside rsync.

    python -m benchmarks.many_files [--files 1000] [--bytes 10000] [--milliseconds 0] [--rounds 3] [--from sftp]

Each round runs both in turn. A move counts from the call of `move` until `check` says COMPLETED, with everything that
Data Mover does in between: the queue, the list, each file synced, read back, renamed and on record. rsync does nothing
of that. `--milliseconds` is the round trip of a proxy that both go through.
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

from benchmarks.delay import delayed
from tests.servers.deployment import TERMINAL, Deployment, deployment, host_table
from tests.servers.openssh import SshServer, openssh_server
from tests.servers.redis import redis_server


@click.command(help=__doc__)
@click.option("--files", default=1000, show_default=True)
@click.option("--bytes", "size_bytes", default=10_000, show_default=True)
@click.option("--milliseconds", default=0, show_default=True)
@click.option("--rounds", default=3, show_default=True)
@click.option("--from", "source", type=click.Choice(["disk", "vis"]), default="disk", show_default=True)
@click.option("--to", "destination", type=click.Choice(["disk", "vis"]), default="vis", show_default=True)
@click.option("--directory", default="/dev/shm", show_default=True, help="Where files and servers are kept meanwhile.")
def main(
    files: int, size_bytes: int, milliseconds: int, rounds: int, source: str, destination: str, directory: str
) -> None:
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=directory)))
        _make_files(base / "root" / "source", files, size_bytes)
        server = stack.enter_context(openssh_server(base / "ssh"))
        port = stack.enter_context(delayed(server.port, milliseconds / 1000)) if milliseconds else server.port
        service = _service(stack, base, server, port)
        movers: dict[str, Callable[[], None]] = {
            "Data Mover": lambda: _move(service, source, destination),
            "rsync -a -W": lambda: _rsync(base, server, port),
        }
        seconds = _measure(movers, rounds, base / "root" / "target")
    _report(seconds, f"{files} files of {size_bytes} bytes, {source} → {destination}, {milliseconds} ms")


def _service(stack: ExitStack, base: Path, server: SshServer, port: int) -> Deployment:
    url = stack.enter_context(redis_server(base / "redis"))
    local = {"protocol": "local", "root": base / "root", "roles": ["source", "destination"]}
    registry = host_table("disk", local) + host_table("vis", server.options(base / "root", port=port))
    service = stack.enter_context(deployment(base / "service", url, registry, pace=""))
    service.start_web()
    service.start_worker()
    return service


def _move(service: Deployment, source: str, destination: str) -> None:
    with service.proxy as proxy:
        job_id = proxy.move({"host": source, "path": "/source"}, {"host": destination, "path": "/target"})["id"]
        while (job := proxy.check(job_id))["status"] not in TERMINAL:
            time.sleep(0.02)
    if job["status"] != "COMPLETED":
        raise click.ClickException(f"the move has failed: {job}")


def _rsync(base: Path, server: SshServer, port: int) -> None:
    trust = "-oStrictHostKeyChecking=no -oUserKnownHostsFile=/dev/null -oLogLevel=ERROR"
    shell = f"ssh -i {server.key_file} -p {port} {trust}"
    where = f"{server.username}@127.0.0.1:{base}/root/target"
    subprocess.run(["rsync", "-a", "-W", "-e", shell, f"{base}/root/source/", where], check=True)


def _measure(movers: dict[str, Callable[[], None]], rounds: int, target: Path) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in movers}
    for _ in range(rounds):
        for name, move in movers.items():
            shutil.rmtree(target, ignore_errors=True)
            began = time.monotonic()
            move()
            seconds[name].append(time.monotonic() - began)
    return seconds


def _report(seconds: dict[str, list[float]], title: str) -> None:
    ours = statistics.median(seconds["Data Mover"])
    table = Table("mover", "seconds (median)", "ours / this", title=title)
    for name, each in seconds.items():
        median = statistics.median(each)
        table.add_row(name, f"{median:.2f}", f"{median / ours:.2f}")
    Console().print(table)


def _make_files(directory: Path, count: int, size_bytes: int) -> None:
    directory.mkdir(parents=True)
    for number in range(count):
        (directory / f"{number:06}").write_bytes(os.urandom(size_bytes))


if __name__ == "__main__":
    main()
