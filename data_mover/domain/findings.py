"""The findings of a check, step by step. Backends and the checks of an installation both make findings."""

from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from data_mover.domain.errors import DataMoverError, MoveFailure


@dataclass(frozen=True)
class Finding:
    """The result of a step: whether it succeeded, and what was found or what to do, in one line or several."""

    step: str
    passed: bool
    sentence: str


class Lacking(DataMoverError):
    """A step fails; the text says what to do."""


#: the name of a step, and its function, which returns a sentence, or raises Lacking or a failure
Step = tuple[str, Callable[[], str]]


def find(step: str, look: Callable[[], str]) -> Finding:
    """Run the step; return its finding."""
    try:
        return Finding(step, True, look())
    except MoveFailure as failure:
        return Finding(step, False, f"{failure.reason}. Fix: {failure.who_can_fix}.")
    except DataMoverError as error:
        return Finding(step, False, str(error))


def in_turn(*steps: Step) -> Generator[Finding, None, bool]:
    """Yield the finding of each step, up to the first that fails. Returns whether all succeed."""
    for step, look in steps:
        finding = find(step, look)
        yield finding
        if not finding.passed:
            return False
    return True


@contextmanager
def advised(kind: type[MoveFailure], advice: str) -> Iterator[None]:
    """Map a failure of that kind to Lacking, with the advice on a line of its own. Operators, unlike callers, learn why
    a secret cannot be read."""
    try:
        yield
    except kind as failure:
        why = f": {failure.__cause__}" if type(failure.__cause__) is LookupError else ""
        raise Lacking(f"{failure.reason}{why}.\n{advice}") from failure
