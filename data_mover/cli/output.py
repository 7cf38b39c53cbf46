"""What the commands print: data on stdout, as tables or as JSON; messages on stderr."""

import json
import os
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from data_mover.domain.printable import printable

#: wide enough that a row is a line, for whatever program reads the table
PIPE_WIDTH = 10_000

#: columns whose cells may have several lines where the terminal is narrow; all others stay as wide as they are
WRAPPED = {"description", "label", "name", "path", "reason", "to"}

Struct = Mapping[str, Any]
#: a key of each row, or a function that returns its value
Column = str | Callable[[Any], Any]


#: the keys of what can be written as host:path or type:id
_LOCATIONS = ({"host", "path"}, {"type", "id"})


def print_json(value: Any) -> None:
    click.echo(json.dumps(value, indent=2))


def print_table(table: Table) -> None:
    """Print a table that fits the terminal; where there is none, every row is one line."""
    console = Console()
    if not console.is_terminal and "COLUMNS" not in os.environ:
        console = Console(width=PIPE_WIDTH)
    console.print(table)


def table_of(rows: Sequence[Struct], columns: Mapping[str, Column]) -> Table:
    """Return a table with a row for each struct; columns without any value are left out."""
    texts = {
        title: [_text(column(row) if callable(column) else row[column]) for row in rows]
        for title, column in columns.items()
    }
    table = Table(box=None, pad_edge=False)
    shown = {title: cells for title, cells in texts.items() if any(cells)} if rows else texts
    for title in shown:
        table.add_column(title, overflow="fold", no_wrap=title not in WRAPPED)
    for cells in zip(*shown.values(), strict=True):
        table.add_row(*cells)
    return table


def columns_of(*names: str) -> dict[str, Column]:
    """Return columns that are called as the keys of their values."""
    return dict(zip(names, names, strict=True))


def short_time(time: str) -> str:
    """Return a time of the service to the second, in UTC."""
    return time[:19].replace("T", " ")


def pairs_of(struct: Struct) -> Table:
    """Return a table with a row for each key that has a value, and no empty list."""
    table = Table(box=None, pad_edge=False, show_header=False)
    table.add_column(no_wrap=True)
    table.add_column(overflow="fold")
    for name, value in struct.items():
        if value not in (None, []):
            table.add_row(name, _text(value))
    return table


def _text(value: Any) -> str:
    """Return the value as a cell: a source or destination is as `move` takes it, a list of them or of texts has a
    line for each, other structs are JSON."""
    if _is_location(value):
        return _text(":".join(map(str, value.values())))
    if isinstance(value, list) and all(isinstance(each, str) or _is_location(each) for each in value):
        return "\n".join(map(_text, value))
    plain = json.dumps(value, ensure_ascii=False) if isinstance(value, dict | list) else str(value)
    return "" if value is None else escape(printable(plain))


def _is_location(value: Any) -> bool:
    return isinstance(value, dict) and value.keys() in _LOCATIONS
