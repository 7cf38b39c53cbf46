"""Prints findings: plain lines, with colours on a terminal."""

from collections.abc import Iterable

import click

from data_mover.domain.findings import Finding
from data_mover.domain.printable import printable

_STEP_WIDTH = 12
_NEXT_LINE = "\n" + " " * (_STEP_WIDTH + 8)


def show(title: str, findings: Iterable[Finding]) -> bool:
    """Print each finding as soon as it is made; return whether all steps succeeded."""
    click.secho(printable(title), bold=True)
    all_passed = True
    for finding in findings:
        word = click.style("ok  ", fg="green") if finding.passed else click.style("FAIL", fg="red", bold=True)
        lines = map(printable, finding.sentence.split("\n"))
        click.echo(f"  {word}  {finding.step:{_STEP_WIDTH}}{_NEXT_LINE.join(lines)}")
        all_passed &= finding.passed
    return all_passed
