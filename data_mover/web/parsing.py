"""Arguments of calls as values. Raises a Refusal that names the field for every wrong one."""

import re
from datetime import datetime
from typing import Annotated, Any, TypeVar

from pydantic import AwareDatetime, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from data_mover.config.settings import LONGEST_DEADLINE_SECONDS
from data_mover.domain.errors import Refusal
from data_mover.domain.locations import (
    SOURCE_FORMS,
    CatalogueItem,
    Endpoint,
    IfExists,
    Locations,
    catalogue_id,
    invalid,
    missing,
    parse_destination,
    parse_sources,
)
from data_mover.domain.problems import problems_of
from data_mover.domain.selection import Links, Selection
from data_mover.domain.states import FileState, Phase, Priority, Status
from data_mover.services.moves import MoveOptions
from data_mover.services.queries import no_such_job
from data_mover.store.listing import JobFilter

M = TypeVar("M", bound=BaseModel)

_SHA256 = re.compile(r"sha256:([0-9a-fA-F]{64})")
_LARGEST_ID = 2**63 - 1
MOST_IDS = 500
LONGEST_WAIT_SECONDS = 30
_MOST_PATTERNS, _LONGEST_PATTERN = 100, 1000
#: names below a folder have no slash at either end, and no segment `.` or `..`
_NEVER_IN_A_NAME = re.compile(r"^/|/$|(^|/)\.\.?(/|$)")


def _sha256(value: Any) -> Any:
    match = _SHA256.fullmatch(value) if isinstance(value, str) else None
    if match is None:
        raise ValueError("must be sha256: and 64 hexadecimal digits")
    return match[1].lower()


def _patterns(value: Any) -> Any:
    patterns = [value] if isinstance(value, str) else value
    if not isinstance(patterns, list) or not all(isinstance(each, str) and each for each in patterns):
        raise ValueError("must be a pattern like *.tif or **/*.csv, or a list of them")
    if not patterns:
        raise ValueError("the list is empty; without this option every file is taken")
    if len(patterns) > _MOST_PATTERNS or max(map(len, patterns)) > _LONGEST_PATTERN:
        raise ValueError(f"takes {_MOST_PATTERNS} patterns of {_LONGEST_PATTERN} characters at most")
    if futile := [each for each in patterns if _NEVER_IN_A_NAME.search(each)]:
        raise ValueError(f"'{futile[0]}' can match no file; names are seen from the folder, like a.tif or maps/a.tif")
    return patterns


Sha256 = Annotated[str, BeforeValidator(_sha256)]


class Options(BaseModel):
    """The options that `move` takes."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, strict=True)

    #: text of your own: the same key gives the same job, so you can repeat a call whose answer was lost. The same
    #: key with other arguments (label and deadline apart) is refused
    key: Annotated[str, Field(min_length=1, max_length=255)] | None = None
    #: text that `check` and the page show
    label: Annotated[str, Field(max_length=255)] | None = None
    #: `high`, `normal` or `low`
    priority: Annotated[Priority, Field(strict=False)] = Priority.NORMAL
    #: `sha256:` and 64 hexadecimal digits that the source must have
    checksum: Sha256 | None = None
    #: the same for several files, by the names that `files` returns: the base name of a file; the path of one in a
    #: folder, as seen from it (`maps/a.tif`), and in a list with the folder's own name before it
    #: (`layers/maps/a.tif`). A name that none of the files has fails the move with `no-such-file`
    checksums: dict[str, Sha256] = Field(default_factory=dict)
    #: patterns; a file is moved if its name in its folder matches one of them: `*.tif` matches files in the folder
    #: itself, `**/*.csv` files in every folder. `*` and `?` do not cross a slash, `**` as a whole part between
    #: slashes does, `[a-z]` is one of these characters, `[!a-z]` any other, `[*]` the star itself; case counts.
    #: Names are relative to the folder, in a list too; a source that is a file has its base name. Folders in which
    #: nothing matches are left out
    match: Annotated[list[str], BeforeValidator(_patterns)] = Field(default_factory=list)
    #: what becomes of symbolic links in folders: `skip` leaves them out, `follow` moves their targets, `refuse`
    #: fails each link. A source that is itself a link is followed
    links: Annotated[Links, Field(strict=False)] = Links.SKIP
    #: `true`: the worker builds the whole folder beside its final name, and renames it once all of it is proven;
    #: if something exists there, the move fails with `exists`. Of a list, the directory that receives it is built
    #: so, and must not exist yet. A single file is always published at once. An `s3` host cannot do this for
    #: folders and lists (`not-atomic`), and has no empty directories
    atomic: bool = False
    #: what becomes of a file that exists at the final path: `replace` it; `refuse`: it stays, and the move fails
    #: with `exists`; `verify`: it stays, and the move is complete if it has the same bytes, else it fails with
    #: `exists`
    if_exists: Annotated[IfExists, Field(strict=False)] = IfExists.REPLACE
    #: seconds after which the job fails unless it has ended; `data_mover.deadline_seconds` unless given, 604 800
    #: at most
    deadline: Annotated[int, Field(ge=1, le=LONGEST_DEADLINE_SECONDS)] | None = None


def move_request(source: Any, destination: Any, options: Any) -> tuple[Locations, Endpoint | None, MoveOptions]:
    """Return the arguments of `move`. Text without a colon as the source is a data type, followed by its id."""
    if source is None:
        raise missing("source")
    if isinstance(source, str) and source and ":" not in source:
        return (CatalogueItem(source, _following_id(destination, options)),), None, _options(options)
    parsed_options = _options(options)
    return parse_sources(source), parse_destination(destination), parsed_options


def stated_move(source: Any, destination: Any, options: Any) -> tuple[Locations, Endpoint | None, MoveOptions]:
    """Return a move from three named parts. Without a destination the default one is used."""
    if source is None:
        raise missing("source")
    parsed_options = _options(options)
    endpoint = None if destination is None else parse_destination(destination)
    return parse_sources(source), endpoint, parsed_options


def _following_id(value: Any, options: Any) -> str:
    """Return the id behind a data type. The Refusal says how other sources are written."""
    if isinstance(options, dict) and "host" in options:
        raise invalid("options.host", "unknown option; with a destination a source is one argument: " + SOURCE_FORMS)
    try:
        return catalogue_id(value, "id")
    except Refusal:
        raise missing(
            "id", f"text without a colon is a data type, which an id must follow; else write {SOURCE_FORMS}"
        ) from None


def job_id(value: Any) -> int:
    """Return the id of a job, which callers may send as an integer or as text."""
    if value is None or isinstance(value, bool) or not isinstance(value, int | str) or value == "":
        raise missing("id")
    if isinstance(value, str) and not (value.isascii() and value.isdecimal() and len(value) < 20):
        raise no_such_job()
    number = int(value)
    if not 0 < number <= _LARGEST_ID:
        raise no_such_job()
    return number


class FileFilter(BaseModel):
    """Which files of a job are reported."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, strict=True)

    #: only files in this state
    state: Annotated[FileState, Field(strict=False)] | None = None
    #: a number: only files after it; for the next page the last one of this
    after: Annotated[int, Field(ge=-1, le=_LARGEST_ID)] = -1
    #: how many at most, of 1000
    limit: Annotated[int, Field(ge=1, le=1000)] = 100


def file_filter(value: Any) -> tuple[FileState | None, int, int]:
    """Return the arguments of `files`: a state, the number after which the page begins, and its limit."""
    if value is None:
        return file_filter({})
    filter_ = _validated(FileFilter, value, "filter")
    return filter_.state, filter_.after, filter_.limit


class EventFilter(BaseModel):
    """Which events of a job are reported."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, strict=True)

    after: Annotated[int, Field(ge=0, le=_LARGEST_ID)] = 0


def event_after(value: Any) -> int:
    """Return the number after which the events begin."""
    return _validated(EventFilter, value, "filter").after


def _instant(value: Any) -> Any:
    try:
        instant = datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError("must be a time like 2027-01-31T12:00:00Z") from None
    if instant.tzinfo is None:
        raise ValueError("must say its time zone, like 2027-01-31T12:00:00Z")
    return instant


#: text that every database can compare
PlainText = Annotated[str, Field(min_length=1, max_length=255, pattern=r"^[^\x00]*$")]
Instant = Annotated[AwareDatetime, BeforeValidator(_instant)]


class JobFilterModel(BaseModel):
    """Which jobs are listed."""

    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True, strict=True)

    #: only jobs with this status
    status: Annotated[Status, Field(strict=False)] | None = None
    #: only jobs in this phase
    phase: Annotated[Phase, Field(strict=False)] | None = None
    #: of a source or the destination
    host: PlainText | None = None
    #: only jobs with exactly this label
    label: PlainText | None = None
    #: why it failed, or why its last attempt did
    code: PlainText | None = None
    #: whose jobs; those of others are seen with the verb `see-all` alone
    caller: PlainText | None = None
    #: submitted then or later, like `2027-01-31T12:00:00Z`
    since: Instant | None = None
    #: submitted earlier than that
    until: Instant | None = None
    #: an id: only older jobs; for the next page the last one of this
    before: Annotated[int, Field(ge=1, le=_LARGEST_ID)] | None = None
    #: how many at most, of 500
    limit: Annotated[int, Field(ge=1, le=500)] = 50


def job_filter(value: Any) -> tuple[JobFilter, str | None]:
    """Return the arguments of `jobs`: the filter, and the caller whose jobs are requested."""
    fields = _validated(JobFilterModel, {} if value is None else value, "filter").model_dump()
    caller = fields.pop("caller")
    return JobFilter(**fields), caller


def job_ids(value: Any) -> list[int | None]:
    """Return the ids of `check_many`; None for a value that cannot be an id."""
    if not isinstance(value, list):
        raise missing("ids", "write a list of ids")
    if len(value) > MOST_IDS:
        raise invalid("ids", f"takes {MOST_IDS} ids at most")
    return [_possible_id(each) for each in value]


def wait_seconds(value: Any) -> float:
    """Return how long `wait` may last, in seconds."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= LONGEST_WAIT_SECONDS:
        raise invalid("seconds", f"must be a number from 0 to {LONGEST_WAIT_SECONDS}")
    return float(value)


def _possible_id(value: Any) -> int | None:
    try:
        return job_id(value)
    except Refusal:
        return None


def _options(value: Any) -> MoveOptions:
    if value is None:
        return MoveOptions()
    options = _validated(Options, value, "options")
    return MoveOptions(
        key=options.key,
        label=options.label,
        priority=options.priority,
        checksum=options.checksum,
        selection=Selection(tuple(options.match), options.links, options.checksums, options.atomic),
        if_exists=options.if_exists,
        deadline_seconds=options.deadline,
    )


def _validated(model: type[M], value: Any, field: str) -> M:
    """Return the struct as the model. Raises Refusal for a wrong value or an unknown name."""
    if not isinstance(value, dict):
        raise missing(field)
    try:
        return model.model_validate(value)
    except ValidationError as error:
        problem = problems_of(error, field)[0]
        unknown = f"unknown {field.removesuffix('s')}; known: {', '.join(model.model_fields)}"
        raise invalid(problem.key, unknown if problem.sentence == "unknown key" else problem.sentence) from None
