"""Whether a browser sends a request for a page of another site."""

from urllib.parse import urlsplit

from pyramid.request import Request


def is_same_origin(request: Request) -> bool:
    """Whether the request is no browser's, or of a page of this service."""
    origin = request.headers.get("Origin")
    if request.headers.get("Sec-Fetch-Site", "none") not in ("none", "same-origin"):
        return False
    try:
        return origin is None or urlsplit(origin).netloc == request.host
    except ValueError:
        return False
