"""The commands of callers, over `/api/v1`. Data is written to stdout, everything else to stderr."""

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, NoReturn

import click
from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn
from rich.table import Table

from data_mover.cli.options import GlobalOptions
from data_mover.client import Client, ClientError, Move, MoveFailed, NotAllowed, NotAuthenticated, Rejected
from data_mover.domain.printable import printable

FAILED, REFUSED, TIMED_OUT, NOT_ALLOWED, UNAVAILABLE, INTERRUPTED = 1, 2, 3, 4, 5, 130


@dataclass(frozen=True)
class Service:
    """The service, and how its answers are shown."""

    url: str | None
    token_file: Path | None
    as_json: bool

    @contextmanager
    def client(self) -> Iterator[Client]:
        """Yield a client. Ends the command with the exit status of the client's error."""
        try:
            with Client(self._required_url(), self._token()) as client:
                yield client
        except ClientError as error:
            _end(str(error), _status_of(error))
        except TimeoutError as error:
            _end(f"{error}; the move continues", TIMED_OUT)
        except ValueError as error:
            raise click.UsageError(str(error)) from error

    def show(self, value: Any, shown: Table) -> None:
        """Print the value as JSON if that was asked for, else as the table."""
        click.echo(json.dumps(value, indent=2)) if self.as_json else Console().print(shown)

    def _required_url(self) -> str:
        if self.url is None:
            raise click.UsageError("say which service: data_mover --url https://host ..., or $DATA_MOVER_URL")
        return self.url

    def _token(self) -> str | None:
        if self.token_file is None:
            return os.environ.get("DATA_MOVER_TOKEN")
        try:
            return self.token_file.read_text().strip()
        except OSError as error:
            raise click.UsageError(f"--token-file: {error.strerror}") from error


def chosen_service() -> Service:
    """Return the service that the options before the command name."""
    options: GlobalOptions = click.get_current_context().obj
    return Service(options.url, options.token_file, options.as_json)


@click.command()
@click.argument("source", nargs=-1, required=True)
@click.argument("destination")
@click.option("--wait", "waits", is_flag=True, help="Wait until it has ended, and show how far it is.")
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to wait at most; the move continues.")
@click.option("--key", help="The same key gives the same move.")
@click.option("--label", help="A word to find the move by.")
@click.option("--priority", type=click.Choice(["low", "normal", "high"]))
@click.option("--if-exists", type=click.Choice(["replace", "refuse", "verify"]))
@click.option("--checksum", help="sha256:... that the source must have.")
def move(source: Sequence[str], destination: str, waits: bool, timeout: float | None, **options: Any) -> None:
    """Move SOURCE... to DESTINATION, each like host:/path, type:id or a URL."""
    service = chosen_service()
    with service.client() as client:
        accepted = client.move(_one_or_several(source), destination, **_given(options))
        if waits or timeout is not None:
            _wait_for(service, [accepted], timeout)
        elif service.as_json:
            click.echo(json.dumps({"id": accepted.id, "status": accepted.status}))
        else:
            click.echo(accepted.id)


@click.command()
@click.argument("source", nargs=-1, required=True)
@click.argument("destination")
@click.option("--if-exists", type=click.Choice(["replace", "refuse", "verify"]))
def plan(source: Sequence[str], destination: str, **options: Any) -> None:
    """Report what `move` would do, and change nothing."""
    service = chosen_service()
    with service.client() as client:
        answer = client.plan(_one_or_several(source), destination, **_given(options))
        service.show(answer, pairs(answer))
    if answer["code"] is not None:
        raise SystemExit(FAILED)


@click.command("list")
@click.option("--status", help="PENDING, IN_PROGRESS, COMPLETED, FAILED or CANCELLED.")
@click.option("--phase")
@click.option("--host", help="Source or destination.")
@click.option("--label")
@click.option("--since", help="Submitted then or later, like 2027-01-31T12:00:00Z.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
def list_(limit: int, **filter_: str | None) -> None:
    """List your moves, the newest first."""
    service = chosen_service()
    with service.client() as client:
        moves = [move.answer for move in islice(client.list(**filter_), limit)]
    columns = {
        "id": "id",
        "status": "status",
        "phase": "phase",
        "to": lambda each: f"{each['destination']['host']}:{each['path'] or each['destination']['path']}",
        "files": lambda each: f"{each['files_done']} of {each['files_total']}",
        "label": "label",
        "reason": "reason",
    }
    service.show(moves, table(moves, columns))


@click.command()
@click.argument("move_id", metavar="ID", type=int)
def show(move_id: int) -> None:
    """Show all properties of the move ID."""
    service = chosen_service()
    with service.client() as client:
        answer = client.get(move_id).answer
    service.show(answer, pairs(answer))


@click.command()
@click.argument("move_id", metavar="[ID]", type=int, required=False)
def watch(move_id: int | None) -> None:
    """Show the progress of the move ID, or of all your live moves, until they have ended."""
    service = chosen_service()
    with service.client() as client:
        live = [client.get(move_id)] if move_id is not None else _live(client)
        _wait_for(service, live, None)


@click.command()
@click.argument("move_id", metavar="ID", type=int)
@click.option("--state", help="pending, transferring, verified, published, skipped or failed.")
def files(move_id: int, state: str | None) -> None:
    """List the files of the move ID."""
    service = chosen_service()
    with service.client() as client:
        found = list(client.get(move_id).files(state))
    columns = {name: name for name in ("number", "name", "state", "size_bytes", "verified", "reason")}
    service.show(found, table(found, columns))


@click.command()
@click.argument("move_id", metavar="ID", type=int)
def events(move_id: int) -> None:
    """List the events of the move ID, the oldest first."""
    service = chosen_service()
    with service.client() as client:
        found = client.get(move_id).events()
    columns = {name: name for name in ("number", "at", "event", "to", "phase", "attempt", "reason")}
    service.show(found, table(found, columns))


@click.command()
@click.argument("move_id", metavar="ID", type=int)
def explain(move_id: int) -> None:
    """Explain what the move ID waits for, and who can release it."""
    service = chosen_service()
    with service.client() as client:
        answer = client.get(move_id).explain()
    service.show(answer, pairs(answer))


@click.command()
@click.argument("move_ids", metavar="ID...", type=int, nargs=-1, required=True)
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to wait at most; the moves continue.")
def wait(move_ids: Sequence[int], timeout: float | None) -> None:
    """Wait until every move ID has ended."""
    service = chosen_service()
    with service.client() as client:
        _wait_for(service, [client.get(move_id) for move_id in move_ids], timeout)


@click.command()
@click.argument("move_ids", metavar="ID...", type=int, nargs=-1, required=True)
def cancel(move_ids: Sequence[int]) -> None:
    """Cancel each move ID."""
    service = chosen_service()
    with service.client() as client:
        stopped = [client.get(move_id).cancel().answer for move_id in move_ids]
    service.show(stopped, table(stopped, {"id": "id", "status": "status", "phase": "phase"}))


@click.command()
@click.argument("move_ids", metavar="ID...", type=int, nargs=-1, required=True)
def retry(move_ids: Sequence[int]) -> None:
    """Retry each failed or cancelled move ID."""
    service = chosen_service()
    with service.client() as client:
        again = [{"retry_of": move_id, **client.get(move_id).retry().answer} for move_id in move_ids]
    service.show(again, table(again, {"retry of": "retry_of", "id": "id", "status": "status"}))


@click.command()
def types() -> None:
    """List the data types whose items can be moved by id."""
    service = chosen_service()
    with service.client() as client:
        found = client.datasets()
    service.show(found, table(found, {"name": "name", "description": "description"}))


def _wait_for(service: Service, moves: Sequence[Move], timeout: float | None) -> None:
    """Wait, and show the ends of the moves. Ends the command with status 1 if one is not COMPLETED."""
    until = None if timeout is None else time.monotonic() + timeout
    try:
        for each in moves:
            click.echo(f"move {each.id} is on record; Ctrl-C leaves it running", err=True)
        with _progress(service) as bars:
            for each in moves:
                _wait_for_one(each, bars, None if until is None else max(0.0, until - time.monotonic()))
    except KeyboardInterrupt:
        ids = " ".join(str(each.id) for each in moves)
        _end(f"The moves run on. Come back with: data_mover --url {service.url} wait {ids}", INTERRUPTED)
    _show_ends(service, [each.answer for each in moves])


def _wait_for_one(move: Move, bars: Progress, timeout: float | None) -> None:
    bar = bars.add_task(f"move {move.id}", total=None)

    def progress(now: Move) -> None:
        done, total = now.answer["bytes_done"], now.answer["bytes_total"]
        bars.update(bar, completed=done, total=total, description=f"move {now.id} {now.answer['phase'] or now.status}")

    try:
        move.wait(timeout, progress)
    except MoveFailed:
        bars.stop_task(bar)


def _show_ends(service: Service, ends: list[dict[str, Any]]) -> None:
    columns = {name: name for name in ("id", "status", "path", "verified", "sha256", "reason", "who_can_fix")}
    service.show(ends, table(ends, columns))
    if any(each["status"] != "COMPLETED" for each in ends):
        raise SystemExit(FAILED)


def _progress(service: Service) -> Progress:
    columns = (BarColumn(), DownloadColumn(), TransferSpeedColumn(), TimeRemainingColumn())
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        *columns,
        console=console,
        disable=service.as_json or not console.is_terminal,
    )


def _live(client: Client) -> list[Move]:
    return [*client.list(status="IN_PROGRESS"), *client.list(status="PENDING")]


def _one_or_several(sources: Sequence[str]) -> str | list[str]:
    return sources[0] if len(sources) == 1 else list(sources)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}


def table(rows: Sequence[dict[str, Any]], columns: dict[str, Any]) -> Table:
    """Return a table with a row for each; columns without any value are left out. A column is a key, or a function that
    returns its text."""
    texts = {
        title: [_text(column(row) if callable(column) else row[column]) for row in rows]
        for title, column in columns.items()
    }
    table = Table(box=None, pad_edge=False)
    shown = {title: cells for title, cells in texts.items() if any(cells)} if rows else texts
    for title in shown:
        table.add_column(title, overflow="fold")
    for cells in zip(*shown.values(), strict=True):
        table.add_row(*cells)
    return table


def pairs(struct: dict[str, Any]) -> Table:
    """Return a table with a row for each key that has a value."""
    table = Table(box=None, pad_edge=False, show_header=False)
    for name, value in struct.items():
        if value is not None:
            table.add_row(name, _text(value))
    return table


def _text(value: Any) -> str:
    plain = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
    return "" if value is None else escape(printable(plain))


def _status_of(error: ClientError) -> int:
    if isinstance(error, Rejected):
        return REFUSED
    if isinstance(error, NotAuthenticated | NotAllowed):
        return NOT_ALLOWED
    return FAILED if isinstance(error, MoveFailed) else UNAVAILABLE


def _end(sentence: str, status: int) -> NoReturn:
    click.echo(printable(sentence), err=True)
    sys.exit(status)
