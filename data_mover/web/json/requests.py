"""Bodies and queries as values. Raises HTTPBadRequest for one that cannot be read, Refusal for a wrong value."""

import json
import re
from collections.abc import Iterator
from itertools import chain
from typing import Any

from pyramid.httpexceptions import HTTPBadRequest
from pyramid.request import Request

from data_mover.domain.errors import Refusal
from data_mover.domain.locations import Endpoint, Locations, invalid
from data_mover.services.moves import MoveOptions
from data_mover.web.parsing import stated_move, wait_seconds

#: how deep a body is nested at most; no move needs half of it
DEEPEST = 20
_SURROGATE = re.compile("[\ud800-\udfff]")
MOVE_FIELDS = ("source", "destination", "options")


def move_body(request: Request) -> tuple[Locations, Endpoint | None, MoveOptions]:
    """Return the move in the body; the header Idempotency-Key is `options.key`."""
    body = _object(request)
    if unknown := sorted(set(body) - set(MOVE_FIELDS)):
        raise invalid(unknown[0], f"unknown field; known: {', '.join(MOVE_FIELDS)}")
    options = _with_key(body.get("options"), request.headers.get("Idempotency-Key"))
    return stated_move(body.get("source"), body.get("destination"), options)


def no_body(request: Request) -> None:
    """Raise Refusal if the body has any field."""
    if request.body and (unknown := sorted(_object(request))):
        raise invalid(unknown[0], "unknown field; this request takes none")


def query(request: Request, known: tuple[str, ...], numbers: tuple[str, ...] = ()) -> dict[str, Any]:
    """Return the query by name, with integers for `numbers`. Raises Refusal for an unknown name."""
    values = dict(request.GET.mixed())
    if unknown := sorted(set(values) - set(known)):
        raise invalid(unknown[0], f"unknown parameter; known: {', '.join(known) or 'none'}")
    return {name: _number(value) if name in numbers else value for name, value in values.items()}


def wait_query(request: Request) -> float:
    """Return the seconds of `?wait=`."""
    text = query(request, ("wait",)).get("wait", "0")
    try:
        return wait_seconds(float(text))
    except (TypeError, ValueError):
        raise invalid("wait", "must be a number of seconds") from None
    except Refusal as refusal:
        raise Refusal(refusal.reason.replace("'seconds'", "'wait'"), code=refusal.code, field="wait") from None


def _number(value: Any) -> Any:
    is_number = isinstance(value, str) and value.removeprefix("-").isdecimal() and value.isascii() and len(value) < 20
    return int(value) if is_number else value


def _with_key(options: Any, key: str | None) -> Any:
    if key is None or not isinstance(options, dict | None):
        return options
    if options and options.get("key") not in (None, key):
        raise invalid("options.key", "the header Idempotency-Key says another")
    return {**(options or {}), "key": key}


def _object(request: Request) -> dict[str, Any]:
    try:
        body = json.loads(request.body.decode(), parse_constant=_no_number)
    except (ValueError, RecursionError):
        raise HTTPBadRequest("the body is not JSON in UTF-8") from None
    if not isinstance(body, dict):
        raise HTTPBadRequest("the body is not a JSON object")
    for text in _texts(body):
        if "\0" in text:
            raise HTTPBadRequest("the body has the character NUL")
        if _SURROGATE.search(text):
            raise HTTPBadRequest("the body has half a character, a surrogate")
    return body


def _no_number(name: str) -> Any:
    raise ValueError(f"{name} is not JSON")


def _texts(body: dict[str, Any]) -> Iterator[str]:
    """Yield every text of the body. Raises HTTPBadRequest if it is nested too deeply."""
    level: list[Any] = [body]
    for _ in range(DEEPEST):
        yield from (each for each in level if isinstance(each, str))
        objects = [each for each in level if isinstance(each, dict)]
        lists = [each for each in level if isinstance(each, list)]
        level = list(chain.from_iterable(chain(lists, objects, (each.values() for each in objects))))
        if not level:
            return
    raise HTTPBadRequest(f"the body is nested more than {DEEPEST} deep")
