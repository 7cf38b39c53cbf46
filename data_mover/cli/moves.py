"""The commands of callers, over `/api/v1`. Data is written to stdout, everything else to stderr."""

from collections.abc import Sequence
from itertools import islice
from typing import Any

import click

from data_mover.cli.options import GlobalOptions
from data_mover.cli.output import Column, columns_of, pairs_of, print_json, short_time, table_of
from data_mover.cli.service import FAILED, TIMED_OUT, chosen_service, end
from data_mover.cli.waiting import plan_of, wait_for
from data_mover.client import Client, Move


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
@click.pass_obj
def move(
    globals_: GlobalOptions,
    /,
    source: Sequence[str],
    destination: str,
    waits: bool,
    timeout: float | None,
    **options: str | None,
) -> None:
    """Move SOURCE... to DESTINATION, each like host:/path, type:id or a URL."""
    service = chosen_service()
    with service.client() as client:
        accepted = client.move(_one_or_several(source), destination, **_given(options))
        if waits or timeout is not None:
            wait_for(globals_, service, [accepted], timeout)
        elif globals_.as_json:
            print_json({"id": accepted.id, "status": accepted.status})
        else:
            click.echo(accepted.id)


@click.command()
@click.argument("source", nargs=-1, required=True)
@click.argument("destination")
@click.option("--if-exists", type=click.Choice(["replace", "refuse", "verify"]))
@click.option(
    "--timeout", type=click.FloatRange(min=0), default=60, show_default=True, help="Seconds to wait for it at most."
)
@click.pass_obj
def plan(
    globals_: GlobalOptions, /, source: Sequence[str], destination: str, timeout: float, **options: str | None
) -> None:
    """Report what `move` would do, and change nothing."""
    with chosen_service().client() as client:
        answer = plan_of(client, _one_or_several(source), destination, timeout, _given(options))
    globals_.show(answer, pairs_of(answer))
    if answer["code"] is not None:
        raise SystemExit(FAILED)
    if not answer["complete"]:
        end("The plan is not complete yet: no worker has looked at all of it. Ask again.", TIMED_OUT)


@click.command("list")
@click.option("--status", help="PENDING, IN_PROGRESS, COMPLETED, FAILED or CANCELLED.")
@click.option("--phase")
@click.option("--host", help="Source or destination.")
@click.option("--label")
@click.option("--caller", help="Another caller, whose moves you may see.")
@click.option("--since", help="Submitted then or later, like 2027-01-31T12:00:00Z.")
@click.option("--until", help="Submitted before.")
@click.option("--limit", type=click.IntRange(min=1), default=20, show_default=True)
@click.pass_obj
def list_(globals_: GlobalOptions, /, limit: int, **filter_: str | None) -> None:
    """List your moves, the newest first."""
    with chosen_service().client() as client:
        moves = [move.answer for move in islice(client.list(**filter_), limit)]
    columns: dict[str, Column] = {
        "id": "id",
        "status": "status",
        "phase": "phase",
        "to": lambda each: f"{each['destination']['host']}:{each['path'] or each['destination']['path']}",
        "files": lambda each: f"{each['files_done']} of {each['files_total']}",
        "label": "label",
        "reason": "reason",
    }
    globals_.show(moves, table_of(moves, columns))


@click.command()
@click.argument("move_id", metavar="ID", type=int)
@click.pass_obj
def show(globals_: GlobalOptions, move_id: int) -> None:
    """Show all properties of the move ID."""
    with chosen_service().client() as client:
        answer = client.get(move_id).answer
    globals_.show(answer, pairs_of(answer))


@click.command()
@click.argument("move_id", metavar="[ID]", type=int, required=False)
@click.pass_obj
def watch(globals_: GlobalOptions, move_id: int | None) -> None:
    """Show the progress of the move ID, or of all your live moves, until they have ended."""
    service = chosen_service()
    with service.client() as client:
        live = [client.get(move_id)] if move_id is not None else _live(client)
        if not live:
            click.echo("No move of yours is live.", err=True)
        wait_for(globals_, service, live, None)


@click.command()
@click.argument("move_id", metavar="ID", type=int)
@click.option("--state", help="pending, transferring, verified, published, skipped or failed.")
@click.pass_obj
def files(globals_: GlobalOptions, move_id: int, state: str | None) -> None:
    """List the files of the move ID."""
    with chosen_service().client() as client:
        found = list(client.get(move_id).files(state))
    globals_.show(found, table_of(found, columns_of("number", "name", "state", "size_bytes", "verified", "reason")))


@click.command()
@click.argument("move_id", metavar="ID", type=int)
@click.pass_obj
def events(globals_: GlobalOptions, move_id: int) -> None:
    """List the events of the move ID, the oldest first."""
    with chosen_service().client() as client:
        found = client.get(move_id).events()
    columns: dict[str, Column] = {
        "no": "number",
        "at": lambda each: short_time(each["at"]),
        "event": "event",
        "state": lambda each: each["phase"] or each["to"],
        "attempt": "attempt",
        "reason": "reason",
    }
    globals_.show(found, table_of(found, columns))


@click.command()
@click.argument("move_id", metavar="ID", type=int)
@click.pass_obj
def explain(globals_: GlobalOptions, move_id: int) -> None:
    """Explain what the move ID waits for, and who can release it."""
    with chosen_service().client() as client:
        answer = client.get(move_id).explain()
    globals_.show(answer, pairs_of(answer))


@click.command()
@click.argument("move_ids", metavar="ID...", type=int, nargs=-1, required=True)
@click.option("--timeout", type=click.FloatRange(min=0), help="Seconds to wait at most; the moves continue.")
@click.pass_obj
def wait(globals_: GlobalOptions, move_ids: Sequence[int], timeout: float | None) -> None:
    """Wait until every move ID has ended."""
    service = chosen_service()
    with service.client() as client:
        wait_for(globals_, service, [client.get(move_id) for move_id in dict.fromkeys(move_ids)], timeout)


@click.command()
@click.argument("move_ids", metavar="ID...", type=int, nargs=-1, required=True)
@click.pass_obj
def cancel(globals_: GlobalOptions, move_ids: Sequence[int]) -> None:
    """Cancel each move ID."""
    with chosen_service().client() as client:
        stopped = [client.get(move_id).cancel().answer for move_id in move_ids]
    globals_.show(stopped, table_of(stopped, columns_of("id", "status", "phase")))


@click.command()
@click.argument("move_ids", metavar="ID...", type=int, nargs=-1, required=True)
@click.pass_obj
def retry(globals_: GlobalOptions, move_ids: Sequence[int]) -> None:
    """Retry each failed or cancelled move ID."""
    with chosen_service().client() as client:
        again = [{"retry_of": move_id, **client.get(move_id).retry().answer} for move_id in move_ids]
    globals_.show(again, table_of(again, {"retry of": "retry_of", **columns_of("id", "status")}))


@click.command()
@click.pass_obj
def types(globals_: GlobalOptions) -> None:
    """List the data types whose items can be moved by id."""
    with chosen_service().client() as client:
        found = client.datasets()
    globals_.show(found, table_of(found, columns_of("name", "description")))


def _live(client: Client) -> list[Move]:
    return [*client.list(status="IN_PROGRESS"), *client.list(status="PENDING")]


def _one_or_several(sources: Sequence[str]) -> str | list[str]:
    return sources[0] if len(sources) == 1 else list(sources)


def _given(options: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in options.items() if value is not None}
