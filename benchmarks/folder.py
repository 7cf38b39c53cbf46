"""A folder: Data Mover beside rsync, scp, tar through ssh, and rclone. `vis` is an OpenSSH server on loopback, `disk` a
local directory.

    python -m benchmarks folder [--files 1000] [--bytes 10000] [--rtt 0 --rtt 20 --rtt 50] [--from disk] [--to vis]
        [--rounds 5] [--write docs/explanation]

Each round runs all of them in turn. A move counts from the call of `move` until `check` says COMPLETED, with all that
Data Mover does in between: the queue, the list, each file synced, proven by SHA-256, renamed and on record. The others
do less of that or nothing. `--rtt` is a round trip in milliseconds of a proxy that all go through. One large file is
`--files 1 --bytes 1073741824`. `--write` adds table and picture to performance.md. No time passes or fails.
"""

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path

import click
from rich.console import Console

from benchmarks.delay import delayed
from benchmarks.figures import Figures, markdown, picture, table, write_part
from benchmarks.peers import OURS, Course, data_mover, find, peers
from tests.servers.openssh import SshServer, openssh_server

MEBIBYTE = 2**20
ENDS = {"disk": "local", "vis": "SFTP"}


@click.command(help=__doc__)
@click.option("--files", default=1000, show_default=True)
@click.option("--bytes", "size_bytes", default=10_000, show_default=True)
@click.option("--rtt", "round_trips", multiple=True, type=int, default=(0, 20, 50), show_default=True)
@click.option("--from", "from_host", type=click.Choice(["disk", "vis"]), default="disk", show_default=True)
@click.option("--to", "to_host", type=click.Choice(["disk", "vis"]), default="vis", show_default=True)
@click.option("--rounds", default=5, show_default=True)
@click.option("--directory", default="/dev/shm", show_default=True, help="Where files and servers are kept meanwhile.")
@click.option("--write", "documents", type=click.Path(path_type=Path), help="Where performance.md is.")
def folder(
    files: int,
    size_bytes: int,
    round_trips: tuple[int, ...],
    from_host: str,
    to_host: str,
    rounds: int,
    directory: str,
    documents: Path | None,
) -> None:
    title = f"{files} files of {size_bytes} bytes, {ENDS[from_host]} → {ENDS[to_host]}, median of {rounds}"
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=directory)))
        make_files(base / "root" / "source", files, size_bytes)
        server = stack.enter_context(openssh_server(base / "ssh"))
        ends = from_host, to_host
        every = [measure(base, server, milliseconds, rounds, ends) for milliseconds in round_trips]
    Console(width=160).print(table(title, every))
    if documents:
        write(documents, title, every, f"folder-{files}-{size_bytes}-{from_host}-{to_host}")


def measure(base: Path, server: SshServer, milliseconds: int, rounds: int, ends: tuple[str, str]) -> Figures:
    """Return the seconds of all movers, at one round trip."""
    with ExitStack() as stack:
        port = stack.enter_context(delayed(server.port, milliseconds / 1000)) if milliseconds else server.port
        course = Course(base, server, port, *ends)
        movers = {OURS: data_mover(stack, course), **peers(course)}
        seconds: dict[str, list[float]] = {name: [] for name in movers}
        for _ in range(rounds):
            for name, move in movers.items():
                seconds[name].append(seconds_of(move, course, name))
    return Figures(milliseconds, seconds)


def seconds_of(move: Callable[[], None], course: Course, name: str) -> float:
    """Return how long it took. Raises ClickException if not every file has arrived."""
    shutil.rmtree(course.target, ignore_errors=True)
    began = time.monotonic()
    move()
    took = time.monotonic() - began
    if sizes(course.target) != sizes(course.source):
        raise click.ClickException(f"{name} has not copied everything")
    return took


def sizes(directory: Path) -> dict[str, int]:
    return {entry.name: entry.stat().st_size for entry in os.scandir(directory)}


def write(documents: Path, title: str, every: list[Figures], name: str) -> None:
    """Write picture and table for `performance.md`."""
    (documents / f"performance-{name}.svg").write_text(picture(title, every), "utf-8")
    part = f"{markdown(title, every)}\n{versions()}\n\n![{title}](performance-{name}.svg)\n"
    write_part(documents / "performance.md", name, part)


def versions() -> str:
    """Return the first line that each peer says of itself."""
    asked = {"rsync": "--version", "ssh": "-V", "rclone": "version"}
    said = []
    for program, option in asked.items():
        if path := find(program):
            answer = subprocess.run([path, option], capture_output=True, text=True, check=True)
            said.append((answer.stdout or answer.stderr).splitlines()[0].strip())
    return "; ".join(said) + f"; {os.cpu_count()} cores."


def make_files(directory: Path, count: int, size_bytes: int) -> None:
    directory.mkdir(parents=True)
    for number in range(count):
        with (directory / f"{number:06}").open("wb") as file:
            for offset in range(0, size_bytes, MEBIBYTE):
                file.write(os.urandom(min(MEBIBYTE, size_bytes - offset)))
