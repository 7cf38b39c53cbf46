"""Waits for moves to end, with a progress bar for each."""

import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from typing import Any

import click
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from data_mover.cli.options import GlobalOptions
from data_mover.cli.output import columns_of, pairs_of, table_of
from data_mover.cli.service import FAILED, INTERRUPTED, Service, end
from data_mover.client import Client, Move, MoveFailed
from data_mover.client.moves import patiently

#: the interval of looks at the moves
LOOK_EVERY_SECONDS = 0.5
#: what is shown of one move that has ended, and of each of several
END = ("id", "status", "path", "bytes_done", "files_done", "sha256", "verified", "reason", "code", "who_can_fix")
ENDS = columns_of("id", "status", "path", "verified", "reason", "who_can_fix")


def wait_for(options: GlobalOptions, service: Service, moves: Sequence[Move], timeout: float | None) -> None:
    """Wait until all have ended, and show how. Ends the command with status 1 if one is not COMPLETED.

    Raises TimeoutError after `timeout` seconds.
    """
    try:
        for each in moves:
            if not each.ended:
                click.echo(f"move {each.id} is on record; Ctrl-C leaves it running", err=True)
        with _progress(options) as progress:
            _follow(moves, progress, float("inf") if timeout is None else time.monotonic() + timeout)
    except KeyboardInterrupt:
        end(f"Left running. Come back with: {service.command('wait', *(each.id for each in moves))}", INTERRUPTED)
    ends = [each.answer for each in moves]
    options.show(ends, pairs_of({key: ends[0][key] for key in END}) if len(ends) == 1 else table_of(ends, ENDS))
    if any(each.status != "COMPLETED" for each in moves):
        raise SystemExit(FAILED)


def plan_of(client: Client, source: Any, destination: str, timeout: float, options: dict[str, Any]) -> dict[str, Any]:
    """Return the plan once it is complete, or what is known of it after `timeout` seconds."""
    until = time.monotonic() + timeout
    with Console(stderr=True).status("A worker looks at the hosts"):
        answer = client.plan(source, destination, **options)
        while not answer["complete"] and time.monotonic() < until:
            time.sleep(LOOK_EVERY_SECONDS)
            answer = client.plan(source, destination, **options)
    return answer


def _follow(moves: Sequence[Move], progress: Progress, until: float) -> None:
    bars = {each.id: progress.add_task(f"move {each.id}", total=None) for each in moves if not each.ended}
    while live := [each for each in moves if not each.ended]:
        if time.monotonic() > until:
            raise TimeoutError(", ".join(f"move {each.id} is still {each.status}" for each in live))
        patiently(partial(_look_at, live), until)
        for each in live:
            _show_progress(progress, bars[each.id], each)


def _look_at(live: Sequence[Move]) -> None:
    """Ask for all, and wait a moment for the first one to end."""
    for each in live[1:]:
        each.refresh()
    with suppress(MoveFailed, TimeoutError):
        live[0].wait(LOOK_EVERY_SECONDS)


def _show_progress(progress: Progress, bar: TaskID, move: Move) -> None:
    answer = move.answer
    files = f", {answer['files_done']} of {answer['files_total']} files" if (answer["files_total"] or 0) > 1 else ""
    description = f"move {move.id} {answer['phase'] or move.status}{files}"
    progress.update(bar, description=description, completed=answer["bytes_done"], total=answer["bytes_total"])


def _progress(options: GlobalOptions) -> Progress:
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=None),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=console,
        expand=True,
        disable=options.as_json or not console.is_terminal,
    )
