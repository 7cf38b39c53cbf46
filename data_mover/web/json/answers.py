"""Values as JSON: every key is present, null if unknown; bytes are integers, times ISO 8601 in UTC."""

import dataclasses
import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from pyramid.response import Response


def answer(value: Any) -> Response:
    """Return the response with the value as its body."""
    return Response(json.dumps(value, default=_plain).encode(), content_type="application/json", charset=None)


def on_record(value: Any, location: str) -> Response:
    """Return 202 with the URL of the new move."""
    response = answer(value)
    response.status_code = 202
    response.location = location
    return response


def known_by_its_tag(value: Any) -> Response:
    """Return the response with an ETag; it becomes 304 for a client that has this body already."""
    response = answer(value)
    response.etag = hashlib.sha256(response.body).hexdigest()[:32]
    response.cache_control = "private, no-cache"
    response.conditional_response = True
    return response


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    raise TypeError(f"{type(value).__name__} has no form in JSON")
