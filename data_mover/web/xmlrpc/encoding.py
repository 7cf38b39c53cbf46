"""Encodes our values for XML-RPC, which has no None, no large integer, no time zone, no control character."""

import dataclasses
import re
from collections.abc import Mapping
from datetime import UTC, datetime
from enum import Enum
from typing import Any
from xmlrpc.client import Fault, dumps

from pyramid.request import Request

#: counts of bytes and seconds are sent as `double`: XML-RPC's integers end at 2 147 483 647
DOUBLES = (
    "bytes_done",
    "bytes_free",
    "bytes_per_second",
    "bytes_reserved",
    "bytes_total",
    "seconds_left",
    "size_bytes",
)

_NOT_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LARGEST_INT = 2**31 - 1


def wire_value(value: Any) -> Any:
    """Return the value in types that every XML-RPC client reads; keys whose value is None are left out."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _struct({field.name: getattr(value, field.name) for field in dataclasses.fields(value)})
    if isinstance(value, Mapping):
        return _struct(value)
    if isinstance(value, list | tuple):
        return [wire_value(item) for item in value]
    return _scalar(value)


def as_xml(value: Any) -> str:
    """Return the body of an XML-RPC response."""
    content = Fault(value.faultCode, _text(value.faultString)) if isinstance(value, Fault) else (wire_value(value),)
    return dumps(content, methodresponse=True)


class XmlRpcRenderer:
    """Pyramid's renderer for answers and faults."""

    def __call__(self, info: Any) -> Any:
        return self._render

    def _render(self, value: Any, system: Mapping[str, Any]) -> str:
        request: Request = system["request"]
        request.response.content_type = "text/xml"
        return as_xml(value)


def _struct(values: Mapping[str, Any]) -> dict[str, Any]:
    return {
        _text(key): float(value) if key in DOUBLES else wire_value(value)
        for key, value in values.items()
        if value is not None
    }


def _scalar(value: Any) -> Any:
    if isinstance(value, Enum):
        return _scalar(value.value)
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, datetime):
        return value.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    if isinstance(value, int) and abs(value) > _LARGEST_INT:
        return float(value)
    return value


def _text(value: str) -> str:
    """Replace characters that XML cannot express: one of them would make the whole answer unreadable."""
    return _NOT_XML.sub("\N{REPLACEMENT CHARACTER}", str(value)).replace("\r", "\N{REPLACEMENT CHARACTER}")
