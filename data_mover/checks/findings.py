"""What a check finds, step by step, and how it is shown: plain lines, with colours on a terminal."""

from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import click

from data_mover.domain.errors import DataMoverError, MoveFailure

_STEP_WIDTH = 12
_INDENT = " " * (_STEP_WIDTH + 8)


@dataclass(frozen=True)
class Finding:
    """One step: whether it holds, and what there is to say of it or to do about it, in one line or several."""

    step: str
    holds: bool
    sentence: str


class Lacking(DataMoverError):
    """A step does not hold; the text says what to do."""


#: the name of a step, and what looks: it returns what there is to say, or raises Lacking or a failure
Step = tuple[str, Callable[[], str]]


def find(step: str, look: Callable[[], str]) -> Finding:
    """What is found by looking."""
    try:
        return Finding(step, True, look())
    except MoveFailure as failure:
        return Finding(step, False, f"{failure.reason}. To be mended by the {failure.who_can_fix}.")
    except DataMoverError as error:
        return Finding(step, False, str(error))


def in_turn(*steps: Step) -> Generator[Finding, None, bool]:
    """The finding of each step, up to the first that does not hold. Returns whether all of them do."""
    for step, look in steps:
        finding = find(step, look)
        yield finding
        if not finding.holds:
            return False
    return True


@contextmanager
def advised(kind: type[MoveFailure], advice: str) -> Iterator[None]:
    """A failure of that kind is Lacking, with the advice on a line of its own."""
    try:
        yield
    except kind as failure:
        raise Lacking(f"{failure.reason}.\n{advice}") from failure


def show(title: str, findings: Iterable[Finding]) -> bool:
    """Shows each finding as soon as it is made; whether all of them hold."""
    click.secho(title, bold=True)
    all_hold = True
    for finding in findings:
        word = click.style("ok  ", fg="green") if finding.holds else click.style("FAIL", fg="red", bold=True)
        click.echo(f"  {word}  {finding.step:{_STEP_WIDTH}}{finding.sentence.replace(chr(10), chr(10) + _INDENT)}")
        all_hold &= finding.holds
    return all_hold
