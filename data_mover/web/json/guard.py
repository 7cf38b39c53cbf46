"""The guard before the views: against requests that must not be read, and those that a web page of another origin could
make a browser send."""

from collections.abc import Callable

from pyramid.httpexceptions import (
    HTTPBadRequest,
    HTTPException,
    HTTPForbidden,
    HTTPRequestEntityTooLarge,
    HTTPUnsupportedMediaType,
)
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response

from data_mover.web.json.problems import PREFIX
from data_mover.web.origins import is_same_origin

MAX_BODY_BYTES = 256 * 1024

Handler = Callable[[Request], Response]


def guard_tween(handler: Handler, registry: Registry) -> Handler:
    """Answer requests that must not be read; pass on all others."""

    def guard(request: Request) -> Response:
        if not request.path_info.startswith(PREFIX):
            return handler(request)
        return _http_refusal(request) or handler(request)

    return guard


def _http_refusal(request: Request) -> HTTPException | None:
    if not _query_is_utf8(request):
        return HTTPBadRequest("the query is not UTF-8")
    return _body_refusal(request) if request.method == "POST" else None


def _body_refusal(request: Request) -> HTTPException | None:
    """Return the refusal of a POST. A form of another origin cannot send application/json, and neither it nor a script
    can send our Origin."""
    if not is_same_origin(request):
        return HTTPForbidden("requests of pages of other origins are refused")
    content_type = request.content_type.lower()
    if content_type != "application/json" and (content_type or _has_body(request)):
        return HTTPUnsupportedMediaType("requests have the content type application/json")
    if request.headers.get("Content-Encoding", "identity").lower() != "identity":
        return HTTPUnsupportedMediaType("requests have no content encoding")
    if (request.content_length or 0) > MAX_BODY_BYTES:
        return HTTPRequestEntityTooLarge(f"a request has at most {MAX_BODY_BYTES} bytes")
    return None


def _has_body(request: Request) -> bool:
    return bool(request.content_length) or "Transfer-Encoding" in request.headers


def _query_is_utf8(request: Request) -> bool:
    try:
        request.GET.mixed()
    except UnicodeDecodeError:
        return False
    return True
