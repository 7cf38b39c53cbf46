"""The access rule: without a callers' file only this machine, for pages and calls alike."""

from collections.abc import Callable

from pyramid.httpexceptions import HTTPBadRequest, HTTPForbidden
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response

from data_mover.services.access import is_from_this_machine

Handler = Callable[[Request], Response]


def access_tween(handler: Handler, registry: Registry) -> Handler:
    """Answer 403 before the request is read."""

    def access(request: Request) -> Response:
        if not is_from_this_machine(request.environ):
            return HTTPForbidden(
                "data_mover.callers = none: only requests of this machine, to a loopback name, are served"
            )
        if not _is_utf8(request.environ["PATH_INFO"]):
            return HTTPBadRequest("the path is not UTF-8")
        return handler(request)

    return access


def _is_utf8(path_info: str) -> bool:
    """Whether the path is UTF-8. WSGI passes its bytes as Latin-1."""
    try:
        path_info.encode("latin-1").decode()
    except UnicodeDecodeError:
        return False
    return True
