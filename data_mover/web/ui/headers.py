"""What a browser may do with an answer: pages load only what this service sends, and run no script within them."""

from collections.abc import Callable

from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response

HEADERS = {
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
    "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",
    "X-Content-Type-Options": "nosniff",
}

Handler = Callable[[Request], Response]


def headers_tween(handler: Handler, registry: Registry) -> Handler:
    """Add the headers to every answer: a browser heeds them for whatever it shows."""

    def headers(request: Request) -> Response:
        response = handler(request)
        response.headers.update(HEADERS)
        return response

    return headers
