"""Prints the findings of checks: as plain lines with colours on a terminal, or as JSON."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass

import click

from data_mover.domain.findings import Finding
from data_mover.domain.printable import printable

_STEP_WIDTH = 12
_NEXT_LINE = "\n" + " " * (_STEP_WIDTH + 8)


@dataclass(frozen=True)
class Check:
    """What is checked, and its findings, which are made one after the other."""

    subject: str
    findings: Iterable[Finding]


def show_lines(checks: Iterable[Check]) -> bool:
    """Print each finding as soon as it is made; return whether all steps succeeded."""
    all_passed = True
    for check in checks:
        click.secho(printable(check.subject), bold=True)
        for finding in check.findings:
            word = click.style("ok  ", fg="green") if finding.passed else click.style("FAIL", fg="red", bold=True)
            lines = map(printable, finding.sentence.split("\n"))
            click.echo(f"  {word}  {finding.step:{_STEP_WIDTH}}{_NEXT_LINE.join(lines)}")
            all_passed &= finding.passed
    return all_passed


def show_json(checks: Iterable[Check]) -> bool:
    """Print a list with an object for each finding: subject, step, passed, sentence. Return whether all succeeded."""
    found = [{"subject": check.subject, **asdict(finding)} for check in checks for finding in check.findings]
    click.echo(json.dumps(found, indent=2))
    return all(each["passed"] for each in found)
