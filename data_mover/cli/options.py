"""The options before the name of a command."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click
from rich.table import Table

from data_mover.checks.report import Check, show_json, show_lines
from data_mover.cli.output import print_json, print_table


@dataclass(frozen=True)
class GlobalOptions:
    """The global options: operators name the ini of a deployment, callers the URL of a service."""

    ini: str | None
    url: str | None
    token_file: Path | None
    as_json: bool

    @property
    def required_ini(self) -> str:
        """The ini. Raises UsageError if it is missing."""
        if self.ini is None:
            raise click.UsageError("say which deployment: data_mover -c production.ini ...")
        return self.ini

    def show_checks(self, checks: Iterable[Check]) -> bool:
        """Print the findings of checks as lines or as JSON; return whether all steps succeeded."""
        return show_json(checks) if self.as_json else show_lines(checks)

    def show(self, value: Any, table: Table) -> None:
        """Print the value as JSON if that was asked for, else the table."""
        if self.as_json:
            print_json(value)
        else:
            print_table(table)
