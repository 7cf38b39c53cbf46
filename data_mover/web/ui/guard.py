"""The guard before the pages: refuses requests that cannot be read, and forms that a page of another site may have
sent."""

from collections.abc import Callable
from contextlib import suppress

from pyramid.httpexceptions import HTTPBadRequest, HTTPException, HTTPForbidden, HTTPUnsupportedMediaType
from pyramid.interfaces import IRoutesMapper
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response

from data_mover.web.access import is_of_a_page
from data_mover.web.origins import is_same_origin

FORM = "application/x-www-form-urlencoded"

Handler = Callable[[Request], Response]


def guard_tween(handler: Handler, registry: Registry) -> Handler:
    """Answer requests that must not be read; pass on all others."""

    routes = registry.getUtility(IRoutesMapper)

    def guard(request: Request) -> Response:
        return (_refusal(request) if is_of_a_page(request) and is_known(request) else None) or handler(request)

    def is_known(request: Request) -> bool:
        """Whether there is such a page: else it is not found, whatever was sent."""
        with suppress(UnicodeDecodeError):
            return routes(request)["route"] is not None
        return False

    return guard


def _refusal(request: Request) -> HTTPException | None:
    try:
        request.GET.mixed()
    except UnicodeDecodeError:
        return HTTPBadRequest("the query is not UTF-8")
    if request.method != "POST":
        return None
    if not is_same_origin(request):
        return HTTPForbidden("forms of pages of other origins are refused")
    content_type = request.headers.get("Content-Type", "").lower().replace(" ", "")
    if content_type not in (FORM, f"{FORM};charset=utf-8"):
        return HTTPUnsupportedMediaType(f"forms have the content type {FORM}")
    return None
