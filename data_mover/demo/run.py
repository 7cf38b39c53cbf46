"""`data_mover demo`: the whole service on one machine, and the move of a file."""

import hashlib
import importlib.util
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import Any
from xmlrpc.client import Error, ServerProxy

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn

from data_mover.demo.crash import Crash
from data_mover.demo.deployment import CHECKPOINT_BYTES, DemoDirectory, demo_directory
from data_mover.demo.processes import Processes
from data_mover.demo.redis_server import describe, find_redis_server
from data_mover.domain.child_environment import environment, script, script_directories
from data_mover.domain.errors import DataMoverError
from data_mover.domain.signals import signals_as_interrupts

WEB_TIMEOUT_SECONDS = 60
MOVE_TIMEOUT_SECONDS = 600
LOOK_EVERY_SECONDS = 0.2
MEBIBYTE = 1024 * 1024
FILE = "/maps/12.bin"
TERMINAL = ("COMPLETED", "FAILED", "CANCELLED")

INVITATION = """
Data Mover is up. Its page is {base_url}/, its logs are in {logs}, and Ctrl-C ends it.
Try next, in another terminal:
  {command} --url {base_url} list
  {command} --url {base_url} explain 1
  {command} --url {base_url} move map:12 visualizer:/again/ --wait
  {command} -c {ini} doctor
  python3 -c 'from xmlrpc.client import ServerProxy; print(ServerProxy("{endpoint}").move("map", 12))'"""


class DemoFailed(DataMoverError):
    """The demo failed."""


@click.command()
@click.option("--once", is_flag=True, help="End after the move: with status 0 if the file arrived.")
@click.option(
    "--directory",
    type=click.Path(file_okay=False, path_type=Path),
    default=Path("var/demo"),
    show_default=True,
    help="Where everything is kept; emptied at the start.",
)
@click.option("--mebibytes", type=click.IntRange(min=1), default=256, show_default=True, help="The size of the file.")
def demo(once: bool, directory: Path, mebibytes: int) -> None:
    """Start all of Data Mover and an SFTP server, move a file there, kill its worker in mid-copy, and stay up."""
    sys.exit(run_demo(once, directory, mebibytes))


def run_demo(once: bool, directory: Path = Path("var/demo"), mebibytes: int = 256) -> int:
    """Run the demo; return the exit status. All processes have ended by then."""
    try:
        with signals_as_interrupts():
            _show(once, directory, mebibytes)
    except (DataMoverError, OSError) as error:
        click.echo(f"The demo failed. {error}", err=True)
        return 1
    except KeyboardInterrupt:
        click.echo("The demo was interrupted.", err=True)
        return 130
    return 0


def _show(once: bool, path: Path, mebibytes: int) -> None:
    _require_extra("asyncssh", "supervisor")
    with demo_directory(path) as directory:
        _make_schema(directory)
        redis = find_redis_server(directory.programs)
        click.echo(f"Taking {describe(redis)}")
        click.echo(f"Starting Redis, an SFTP server, web, workers and sweeper in {directory.path}")
        with Processes(directory.path, directory.supervisor, _variables(directory, redis)) as processes:
            digest = _make_file(directory.source / FILE.lstrip("/"), mebibytes)
            service = ServerProxy(directory.endpoint)
            _wait_for_web(service, processes)
            with _answered(processes):
                job = _move(service, processes)
            _prove(job, directory, digest)
            if not once:
                click.echo(_invitation(directory))
                _stay(processes)


def _invitation(directory: DemoDirectory) -> str:
    """Return the lines to try next; each can be copied into a shell."""
    return INVITATION.format(
        command=shlex.quote(script("data_mover")),
        ini=shlex.quote(str(directory.ini)),
        logs=directory.logs,
        base_url=directory.base_url,
        endpoint=directory.endpoint,
    )


def _require_extra(*packages: str) -> None:
    missing = [package for package in packages if importlib.util.find_spec(package) is None]
    if missing:
        raise DemoFailed(f"It needs {' and '.join(missing)}: pip install 'data_mover[demo]'.")


def _make_schema(directory: DemoDirectory) -> None:
    command = [sys.executable, "-m", "data_mover.cli.initialize_db", str(directory.ini)]
    made = subprocess.run(command, env=environment(), capture_output=True, text=True, check=False)
    if made.returncode != 0:
        raise DemoFailed(f"The database cannot be made:\n{made.stderr}")


def _variables(directory: DemoDirectory, redis: Path) -> dict[str, str]:
    """Return the variables by which supervisord finds its programs."""
    directory.redis_link.symlink_to(redis)
    path = [directory.redis_link.parent, *script_directories(), os.environ.get("PATH", os.defpath)]
    return {"DATA_MOVER_INI": str(directory.ini), "PATH": os.pathsep.join(map(str, path))}


def _wait_for_web(service: ServerProxy, processes: Processes) -> None:
    for _ in _looks(WEB_TIMEOUT_SECONDS, processes):
        try:
            service.datasets()
        except OSError:
            continue
        except Error as error:
            raise DemoFailed(f"The web process answers with an error: {error}; see {processes.log('web')}.") from error
        return
    raise DemoFailed(f"The web process does not answer; see {processes.log('web')}.")


def _looks(timeout_seconds: float, processes: Processes) -> Iterator[None]:
    """Yield at intervals until the time is up. Raises ProcessDied if a process does not stay up."""
    deadline = time.monotonic() + timeout_seconds
    while time.monotonic() < deadline:
        processes.check()
        yield
        time.sleep(LOOK_EVERY_SECONDS)


@contextmanager
def _answered(processes: Processes) -> Iterator[None]:
    """Map errors of calls to DemoFailed."""
    try:
        yield
    except (OSError, Error) as error:
        raise DemoFailed(f"The web process answers with an error: {error}; see {processes.log('web')}.") from error


def _make_file(path: Path, mebibytes: int) -> str:
    """Write a file that cannot be compressed; return its SHA-256."""
    click.echo(f"Making a file of {mebibytes} MiB of random bytes")
    path.parent.mkdir(parents=True)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        for _ in range(mebibytes):
            block = os.urandom(MEBIBYTE)
            digest.update(block)
            file.write(block)
    return digest.hexdigest()


def _move(service: ServerProxy, processes: Processes) -> Mapping[str, Any]:
    """Submit the move; return the job once it has ended."""
    source, destination = {"host": "disk", "path": FILE}, {"host": "visualizer", "path": FILE}
    click.echo(f"move({source}, {destination})")
    answer: Any = service.move(source, destination)
    if "id" not in answer:
        raise DemoFailed(f"The move was refused: {answer}")
    click.echo(f"answered {answer}")
    return _watch(service, answer["id"], processes)


def _watch(service: ServerProxy, job_id: Any, processes: Processes) -> Mapping[str, Any]:
    columns = TextColumn("{task.description}"), BarColumn(), DownloadColumn(binary_units=True), TransferSpeedColumn()
    with Progress(*columns, console=Console()) as progress:
        crash = Crash(processes, partial(progress.console.print, soft_wrap=True), 2 * CHECKPOINT_BYTES)
        bar = progress.add_task("queued", total=None)
        for _ in _looks(MOVE_TIMEOUT_SECONDS, processes):
            job: Any = service.check(job_id)
            crash.look(job, lambda: _worker_of(service, job_id))
            words = " ".join(filter(None, [job["status"], job.get("phase"), job.get("reason")]))
            progress.update(bar, description=words, completed=job.get("bytes_done", 0), total=job.get("bytes_total"))
            if job["status"] in TERMINAL:
                _say_what_was_not_shown(crash)
                return job  # type: ignore[no-any-return]
    raise DemoFailed(f"The move has not ended after {MOVE_TIMEOUT_SECONDS} s: {job}")


def _worker_of(service: ServerProxy, job_id: Any) -> str:
    """Return machine:pid of the job's worker, by the last event that names one."""
    events: Any = service.events(job_id)
    return str(next(each["worker"] for each in reversed(events) if each.get("worker")))


def _say_what_was_not_shown(crash: Crash) -> None:
    if not crash.killed:
        click.echo("The file arrived before its worker could be killed in mid-copy; a larger one shows that, too.")
    elif crash.resumed_at_byte is None:
        click.echo("No byte was known to be on the disk when the worker was killed: the copy began again.")


def _prove(job: Mapping[str, Any], directory: DemoDirectory, digest: str) -> None:
    """Print what is known about the file that arrived. Raises DemoFailed unless it is the one that was sent."""
    if job["status"] != "COMPLETED":
        raise DemoFailed(f"The move is {job['status']}: {job.get('reason')} ({job.get('code')})")
    arrived = directory.destination / FILE.lstrip("/")
    with arrived.open("rb") as file:
        found = hashlib.file_digest(file, "sha256").hexdigest()
    if not found == digest == job["sha256"]:
        raise DemoFailed(f"{arrived} has the SHA-256 {found}, the source {digest}, the job says {job['sha256']}")
    click.echo(f"path      {job['path']}, which is {arrived}")
    click.echo(f"size      {job['bytes_total']:,.0f} bytes")
    click.echo(f"SHA-256   {job['sha256']}")
    click.echo(f"verified  {job['verified']} by Data Mover; the demo has read both files itself and found them equal")
    seconds = (datetime.fromisoformat(job["ended_at"]) - datetime.fromisoformat(job["started_at"])).total_seconds()
    click.echo(f"time      {seconds:.1f} s from the start of the copy to its proof")
    click.echo(f"status    {job['status']}")


def _stay(processes: Processes) -> None:
    """Return at Ctrl-C. Raises ProcessDied if a process does not stay up before."""
    try:
        for _ in _looks(float("inf"), processes):
            pass
    except KeyboardInterrupt:
        click.echo("\nEnding.")
