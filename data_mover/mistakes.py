"""What pydantic found wrong, as sentences that name the key and never show the value: it may be a secret."""

from pydantic import ValidationError

from data_mover.errors import Mistake


def mistakes_of(error: ValidationError, prefix: str = "") -> list[Mistake]:
    """Every mistake, each with its whole key: `hosts.vis.port`."""
    return [
        Mistake(_key(prefix, details["loc"]), _sentence(details["type"], details["msg"]))
        for details in error.errors(include_input=False, include_url=False)
    ]


def _key(prefix: str, location: tuple[int | str, ...]) -> str:
    return ".".join(str(part) for part in (prefix, *location) if part != "")


def _sentence(kind: str, message: str) -> str:
    if kind == "extra_forbidden":
        return "unknown key"
    if kind == "missing":
        return "is missing"
    return message.removeprefix("Value error, ")
