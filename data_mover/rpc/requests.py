"""Arguments of calls as values. Whatever is wrong is a Refusal that names the field."""

import re
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from data_mover.jobs.states import Priority
from data_mover.locations import (
    CatalogueItem,
    Endpoint,
    IfExists,
    Location,
    catalogue_id,
    invalid,
    missing,
    parse_destination,
    parse_source,
)
from data_mover.mistakes import mistakes_of
from data_mover.moves import MoveOptions, no_such_job
from data_mover.settings import LONGEST_DEADLINE_SECONDS

_SHA256 = re.compile(r"sha256:([0-9a-fA-F]{64})")
_LARGEST_ID = 2**63 - 1


def _sha256(value: Any) -> Any:
    match = _SHA256.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be sha256: and 64 hexadecimal digits")
    return match[1].lower()


class Options(BaseModel):
    """The options that `move` takes."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, strict=True)

    key: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    label: Annotated[str, Field(max_length=255)] | None = None
    priority: Annotated[Priority, Field(strict=False)] = Priority.NORMAL
    checksum: Annotated[str, BeforeValidator(_sha256)] | None = None
    if_exists: Annotated[IfExists, Field(strict=False)] = IfExists.REPLACE
    deadline: Annotated[int, Field(ge=1, le=LONGEST_DEADLINE_SECONDS)] | None = None


def move_request(source: Any, destination: Any, options: Any) -> tuple[Location, Endpoint | None, MoveOptions]:
    """What `move` was called with. A source without `://` is a data type, and the second argument is its id."""
    if source is None:
        raise missing("source")
    parsed_options = _options(options)
    if isinstance(source, str) and source and "://" not in source:
        return CatalogueItem(source, catalogue_id(destination, "id")), None, parsed_options
    return parse_source(source), parse_destination(destination), parsed_options


def job_id(value: Any) -> int:
    """The id of a job, which callers may send as an integer or as text."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise missing("id")
    if isinstance(value, str) and not (value.isascii() and value.isdecimal() and len(value) < 20):
        raise no_such_job()
    number = int(value)
    if not 0 < number <= _LARGEST_ID:
        raise no_such_job()
    return number


def _options(value: Any) -> MoveOptions:
    if value is None:
        return MoveOptions()
    if not isinstance(value, dict):
        raise missing("options")
    try:
        options = Options.model_validate(value)
    except ValidationError as error:
        mistake = mistakes_of(error, "options")[0]
        known = ", ".join(Options.model_fields)
        raise invalid(
            mistake.key, f"unknown option; known: {known}" if mistake.sentence == "unknown key" else mistake.sentence
        ) from None
    return MoveOptions(
        options.key, options.label, options.priority, options.checksum, options.if_exists, options.deadline
    )
