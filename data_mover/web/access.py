"""Who is let in: without a callers' file only this machine, for pages and calls alike."""

from collections.abc import Callable

from pyramid.httpexceptions import HTTPForbidden
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response

from data_mover.callers import is_from_this_machine

Handler = Callable[[Request], Response]


def access_tween(handler: Handler, registry: Registry) -> Handler:
    """Answers 403 before anything of the request is read."""

    def access(request: Request) -> Response:
        if is_from_this_machine(request.environ):
            return handler(request)
        return HTTPForbidden("data_mover.callers = none: only requests of this machine, to a loopback name, are served")

    return access
