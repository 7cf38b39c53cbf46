"""Config problems, as sentences that name the key and never show the value: it may be a secret."""

from collections.abc import Iterator
from contextlib import contextmanager

from pydantic import ValidationError

from data_mover.domain.errors import ConfigProblem, ConfigurationError


@contextmanager
def ending_the_process() -> Iterator[None]:
    """End the process with every problem of its configuration, without a traceback."""
    try:
        yield
    except ConfigurationError as error:
        raise SystemExit(str(error)) from error


def problems_of(error: ValidationError, prefix: str = "") -> list[ConfigProblem]:
    """Return every problem, each with its whole key: `hosts.vis.port`."""
    return [
        ConfigProblem(_key(prefix, details["loc"]), _sentence(details["type"], details["msg"]))
        for details in error.errors(include_input=False, include_url=False)
    ]


def _key(prefix: str, location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in (prefix, *location) if part != "")


def _sentence(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "unknown key"
    if kind == "missing":
        return "is missing"
    if kind in ("too_short", "string_too_short"):
        return "must not be empty"
    return message.removeprefix("Value error, ")
