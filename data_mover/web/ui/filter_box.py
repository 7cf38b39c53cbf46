"""The filter box: `status:failed host:hpc since:1d label:"two words"` as a filter, and what it suggests."""

import re
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from data_mover.domain.errors import Refusal
from data_mover.domain.locations import invalid
from data_mover.domain.states import Phase, Status
from data_mover.store.listing import JobFilter
from data_mover.web.parsing import job_filter

#: each qualifier, with what it asks for
QUALIFIERS = {
    "status": "how a move stands",
    "phase": "what a move that has not ended does",
    "host": "the host of a source or of the destination",
    "caller": "whose moves",
    "label": "the label of a move",
    "code": "why a move failed, or why its last attempt did",
    "since": "submitted in the last 30m, 12h, 7d or 2w, or since a day like 2027-01-31",
    "until": "submitted before",
}
_WORD = re.compile(r'(?:([a-z]+):)?(?:"([^"]*)"|(\S+))')
_AGO = re.compile(r"(\d{1,4})([mhdw])")
_UNITS = {"m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
_TIMES = ("since", "until")


def parsed(text: str, before: Any, limit: int) -> tuple[JobFilter, str | None]:
    """Return the filter, and the caller whose moves are asked for. `before` is the id before which the page begins.

    Raises Refusal with a sentence that names the word that is wrong.
    """
    fields: dict[str, Any] = {"limit": limit, "before": before}
    for name, quoted, plain in _WORD.findall(text):
        value = quoted or plain
        if name not in QUALIFIERS:
            known = ", ".join(f"{each}:" for each in QUALIFIERS)
            written = f"{name}:{value}" if name else value
            raise invalid(written, f"a word of the filter has one of {known} before it")
        if name in fields:
            raise invalid(name, "is written once")
        fields[name] = _value(name, value)
    return job_filter({name: value for name, value in fields.items() if value is not None})


def suggestions(hosts: Iterable[str], sees_all: bool) -> Sequence[str]:
    """Return what can be written into the box; what ends with a colon needs a word more."""
    values: dict[str, Iterable[str]] = {
        "status": (status.lower() for status in Status),
        "phase": Phase,
        "host": hosts,
        "caller": ("",) if sees_all else (),
        "label": ("",),
        "code": ("",),
        "since": ("1h", "1d", "7d"),
        "until": ("",),
    }
    return [f"{name}:{value}" for name, each in values.items() for value in each]


def _value(name: str, written: str) -> str:
    if name == "status":
        return written.upper()
    return _instant(written, name) if name in _TIMES else written


def _instant(written: str, name: str) -> str:
    """Return the instant in ISO 8601: so long ago, the beginning of a day in UTC, or as it is written."""
    if match := _AGO.fullmatch(written):
        return (datetime.now(UTC) - timedelta(**{_UNITS[match[2]]: int(match[1])})).isoformat()
    try:
        instant = datetime.fromisoformat(written)
    except ValueError:
        raise Refusal(
            f"Invalid parameter '{name}': must be like 30m, 12h, 7d, 2w or 2027-01-31",
            code="invalid-parameter",
            field=name,
        ) from None
    return (instant if instant.tzinfo else instant.replace(tzinfo=UTC)).isoformat()
