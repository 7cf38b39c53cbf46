"""What callers of the service wait for: `move`, `check`, many small moves, and a single one.

    python -m benchmarks service [--moves 1000] [--workers 2] [--submitters 8] [--max-transfers 4]
        [--write docs/explanation]

Each figure is measured on SQLite and, where its server is installed, on PostgreSQL: how many `move` and `check` are
answered a second while no worker runs; how many moves of 10 kB to an SFTP host are COMPLETED a second, from the first
submission to the last end; and how long one takes on a service that has nothing else to do. The submitters are threads
of one Python process and take a part of the machine's time, too.
"""

import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import click
from rich.console import Console
from rich.table import Table

from benchmarks.figures import write_part
from tests.servers.deployment import OWN_DATABASE, Deployment, deployment, host_table
from tests.servers.openssh import openssh_server
from tests.servers.postgresql import postgresql_server
from tests.servers.processes import eventually
from tests.servers.redis import redis_server

SIZE_BYTES = 10_000
#: how many moves are measured one after the other, on an idle service
SINGLE = 20
#: the longest wait for the last of all moves
LONGEST_SECONDS = 600


@dataclass(frozen=True)
class Service:
    """The service that is measured, with the figures so far."""

    name: str
    deployment: Deployment
    submitters: int
    figures: dict[str, str]

    def answered(self, name: str, calls: Iterable[Callable[[], float]]) -> None:
        """Make the calls, as many at once as there are submitters; each returns its seconds."""
        began = time.monotonic()
        with ThreadPoolExecutor(self.submitters) as pool:
            seconds = sorted(pool.map(lambda call: call(), calls))
        rate = len(seconds) / (time.monotonic() - began)
        slow = seconds[int(0.99 * len(seconds))]
        self.figures[name] = f"{rate:.0f} a second, 99 % within {slow * 1000:.0f} ms"


@click.command(help=__doc__)
@click.option("--moves", default=1000, show_default=True)
@click.option("--workers", default=2, show_default=True)
@click.option("--submitters", default=8, show_default=True)
@click.option("--max-transfers", default=4, show_default=True, help="Of both hosts, as in the registry.")
@click.option("--directory", default="/dev/shm", show_default=True, help="Where files and servers are kept meanwhile.")
@click.option("--write", "documents", type=click.Path(path_type=Path), help="Where performance.md is.")
def service(
    moves: int, workers: int, submitters: int, max_transfers: int, directory: str, documents: Path | None
) -> None:
    measured = list[Service]()
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=directory)))
        (base / "root" / "source").mkdir(parents=True)
        for number in range(moves):
            (base / "root" / "source" / str(number)).write_bytes(os.urandom(SIZE_BYTES))
        server = stack.enter_context(openssh_server(base / "ssh"))
        limit = {"max_transfers": max_transfers}
        registry = host_table("disk", {"protocol": "local", "root": base / "root", "roles": ["source"]} | limit)
        registry += host_table("vis", server.options(base / "root") | limit)
        for name, url in databases(stack, base):
            redis = stack.enter_context(redis_server(base / f"redis-{name}"))
            run = stack.enter_context(deployment(base / name, redis, registry, database_url=url, pace=""))
            run.start_web()
            run.start_sweeper()
            measured.append(Service(name, run, submitters, {}))
            measure(measured[-1], moves, workers)
    title = f"{moves} moves of {SIZE_BYTES} bytes, {submitters} submitters, {workers} workers"
    rows = [(figure, *(each.figures[figure] for each in measured)) for figure in measured[0].figures]
    table = Table("", *(each.name for each in measured), title=title)
    for row in rows:
        table.add_row(*row)
    Console(width=120).print(table)
    if documents:
        lines = [f"| | {' | '.join(each.name for each in measured)} |", "|---|" + "---|" * len(measured)]
        lines += [f"| {' | '.join(row)} |" for row in rows]
        write_part(documents / "performance.md", "service", f"### {title}\n\n" + "\n".join(lines) + "\n")


def databases(stack: ExitStack, base: Path) -> Iterator[tuple[str, str]]:
    """Yield the databases by name, with their URLs."""
    yield "SQLite", OWN_DATABASE
    yield "PostgreSQL", stack.enter_context(postgresql_server(base / "postgresql"))


def measure(run: Service, moves: int, workers: int) -> None:
    run.answered("move, no worker", (submission(run.deployment, number, "waiting") for number in range(moves)))
    run.answered("check, no worker", (look(run.deployment, number + 1) for number in range(moves)))
    for _ in range(workers):
        run.deployment.start_worker()
    wait_for_all(run.deployment)
    began = time.monotonic()
    with ThreadPoolExecutor(run.submitters) as pool:
        list(pool.map(lambda number: submission(run.deployment, number, "target")(), range(moves)))
    wait_for_all(run.deployment)
    run.figures["moves, submitted and completed"] = f"{moves / (time.monotonic() - began):.0f} a second"
    seconds = [alone(run.deployment, number) for number in range(SINGLE)]
    run.figures["one move, idle service"] = f"{statistics.median(seconds) * 1000:.0f} ms"


def submission(run: Deployment, number: int, target: str) -> Callable[[], float]:
    """Return a call that submits the move of a file, and returns its seconds."""

    def submit() -> float:
        began = time.monotonic()
        with run.proxy as proxy:
            proxy.move({"host": "disk", "path": f"/source/{number}"}, {"host": "vis", "path": f"/{target}/{number}"})
        return time.monotonic() - began

    return submit


def look(run: Deployment, job_id: int) -> Callable[[], float]:
    def check() -> float:
        began = time.monotonic()
        with run.proxy as proxy:
            proxy.check(job_id)
        return time.monotonic() - began

    return check


def alone(run: Deployment, number: int) -> float:
    """Return how long a move takes until `wait` says COMPLETED."""
    with run.proxy as proxy:
        began = time.monotonic()
        path = f"/alone/{number}"
        job = proxy.move({"host": "disk", "path": f"/source/{number}"}, {"host": "vis", "path": path})
        job = proxy.wait(job["id"], 30)
        took = time.monotonic() - began
    if job["status"] != "COMPLETED":
        raise click.ClickException(f"A move has not ended well: {job}")
    return took


def wait_for_all(run: Deployment) -> None:
    """Return once no move waits or runs. Raises ClickException if one has failed."""

    def open_moves() -> int:
        return sum(len(proxy.jobs({"status": status, "limit": 1})) for status in ("PENDING", "IN_PROGRESS"))

    with run.proxy as proxy:
        eventually(lambda: not open_moves(), "all moves have ended", LONGEST_SECONDS)
        if failed := proxy.jobs({"status": "FAILED", "limit": 1}):
            raise click.ClickException(f"A move has failed: {failed[0]}")
