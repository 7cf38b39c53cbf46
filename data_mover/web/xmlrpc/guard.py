"""The guard before the parser: refuses requests that are no XML-RPC call, or could harm the parser."""

import re
from collections.abc import Callable
from xmlrpc.client import Fault

from pyramid.httpexceptions import (
    HTTPBadRequest,
    HTTPException,
    HTTPForbidden,
    HTTPMethodNotAllowed,
    HTTPNotFound,
    HTTPRequestEntityTooLarge,
    HTTPUnsupportedMediaType,
)
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response

from data_mover.web.origins import is_same_origin
from data_mover.web.xmlrpc.encoding import as_xml

MAX_BODY_BYTES = 256 * 1024
PATHS = ("/data_mover", "/data_mover/")
CONTENT_TYPES = ("text/xml", "application/xml")
#: the encodings that may be declared, the first is the default; expat would pass any other name to Python's codecs
ENCODINGS = ("utf-8", "us-ascii", "iso-8859-1")
PARSE_ERROR = -32700

_DECLARED_ENCODING = re.compile(rb"""(?:\xef\xbb\xbf)?<\?xml\s[^>]*?\bencoding\s*=\s*["']([^"'>]*)""")

Handler = Callable[[Request], Response]


def guard_tween(handler: Handler, registry: Registry) -> Handler:
    """Answer requests that must not be parsed; pass on all others."""

    def guard(request: Request) -> Response:
        if not request.path_info.startswith(PATHS[0]):
            return handler(request)
        return _http_refusal(request) or _parse_refusal(request.body) or handler(request)

    return guard


def _http_refusal(request: Request) -> HTTPException | None:
    if request.path_info not in PATHS:  # a route matches before a final newline, too
        return HTTPNotFound(f"calls are made to {PATHS[0]}")
    if request.method != "POST":
        return HTTPMethodNotAllowed("XML-RPC calls are made with POST", headers=[("Allow", "POST")])
    if not is_same_origin(request):
        return HTTPForbidden("calls of pages of other origins are refused")
    if request.query_string:
        return HTTPBadRequest("XML-RPC calls have no query string")
    if request.content_type.lower() not in CONTENT_TYPES:
        return HTTPUnsupportedMediaType("XML-RPC calls have the content type text/xml")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        return HTTPUnsupportedMediaType("XML-RPC calls have no content encoding")
    if (request.content_length or 0) > MAX_BODY_BYTES:
        return HTTPRequestEntityTooLarge(f"a call has at most {MAX_BODY_BYTES} bytes")
    return None


def _parse_refusal(body: bytes) -> Response | None:
    """Return a fault for a body that must not be parsed. NUL is checked first, so that UTF-16 cannot hide a document
    type."""
    if b"\0" in body:
        return _fault("the request is not UTF-8")
    if _declared_encoding(body) not in ENCODINGS:
        return _fault(f"the encodings are {', '.join(ENCODINGS)}")
    if b"<!DOCTYPE" in body.upper() or b"<!ENTITY" in body.upper():
        return _fault("document types and entities are refused")
    return None


def _declared_encoding(body: bytes) -> str:
    match = _DECLARED_ENCODING.match(body)
    return match[1].decode("latin-1").lower() if match else ENCODINGS[0]


def _fault(sentence: str) -> Response:
    return Response(as_xml(Fault(PARSE_ERROR, f"parse error; {sentence}")), content_type="text/xml", charset="utf-8")
