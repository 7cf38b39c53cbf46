"""Browsers that watch a page: as long as nothing changes, an answer costs no rendering and is empty; what has changed
is rendered once for all browsers of a caller."""

import hashlib
import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import wraps
from typing import Generic, TypeVar

from pyramid.csrf import get_csrf_token
from pyramid.httpexceptions import HTTPNotModified
from pyramid.request import Request
from pyramid.response import Response

from data_mover.web.ui.notices import WATCHES, has_notices

#: the most pages that browsers have, and the most that are kept rendered; the one used longest ago is forgotten
MOST_WATCHED = 2_000
MOST_RENDERED = 50
#: pages are rendered again so often at least: what is shown of `since:1d` changes by itself
KEPT_SECONDS = 60.0
#: stands for the token of the session in a page that is rendered for all
PLACEHOLDER = secrets.token_hex(20)
_IS_FOR_ALL = "data_mover.page_for_all"
_HEADERS = [("Cache-Control", "private, no-cache"), ("Vary", "Cookie, Authorization")]

View = Callable[[object, Request], Response]
V = TypeVar("V")


class _Kept(Generic[V]):
    """Values that hold as long as a stamp is the same, and for a while. Threads share it."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._changing = threading.Lock()
        self._values = OrderedDict[Hashable, tuple[Hashable, float, V]]()

    def get(self, key: Hashable, stamp: Hashable) -> V | None:
        with self._changing:
            known = self._values.get(key)
            if known is None or known[0] != stamp or time.monotonic() > known[1]:
                return None
            self._values.move_to_end(key)
            return known[2]

    def keep(self, key: Hashable, stamp: Hashable, value: V) -> None:
        with self._changing:
            self._values[key] = stamp, time.monotonic() + KEPT_SECONDS, value
            self._values.move_to_end(key)
            while len(self._values) > self._most:
                self._values.popitem(last=False)


class Watchers:
    """The pages that browsers have, each with the stamp at which it was right, and the pages rendered of late."""

    def __init__(self) -> None:
        self.tags = _Kept[bool](MOST_WATCHED)
        self.pages = _Kept[bytes](MOST_RENDERED)


def watched(view: View) -> View:
    """Decorate a view with an ETag; answer 304 to a browser that has the page as it is. Whoever loads a page, and does
    not watch it yet, gets it as it is at that moment."""

    @wraps(view)
    def watch(context: object, request: Request) -> Response:
        if has_notices(request):  # they are no part of the page that is watched from then on
            return view(context, request)
        stamp, page, watchers = request.changes.stamp(), _page(request), request.watchers
        tag = next(iter(getattr(request.if_none_match, "etags", ())), None)
        if tag and watchers.tags.get((*page, tag), stamp):
            return HTTPNotModified(headers=[("ETag", f'"{tag}"'), *_HEADERS])
        body = watchers.pages.get(page, stamp) if WATCHES in request.headers else None
        if body is None:
            response = _rendered_for_all(view, context, request)
            if response.status_code != 200:
                return response
            body = response.body
            watchers.pages.keep(page, stamp, body)
        return _answer(request, body.replace(PLACEHOLDER.encode(), get_csrf_token(request).encode()), stamp)

    return watch


def token_for(request: Request) -> str:
    """Return the token of the session for a form, or what stands for it in a page that is rendered for all."""
    return PLACEHOLDER if request.environ.get(_IS_FOR_ALL) else get_csrf_token(request)


def _rendered_for_all(view: View, context: object, request: Request) -> Response:
    request.environ[_IS_FOR_ALL] = True
    try:
        return view(context, request)
    finally:
        del request.environ[_IS_FOR_ALL]


def _answer(request: Request, body: bytes, stamp: Hashable) -> Response:
    tag = hashlib.sha256(body).hexdigest()[:32]
    request.watchers.tags.keep((*_page(request), tag), stamp, True)
    response = Response(body, content_type="text/html", charset="utf-8")
    response.headers.update(_HEADERS)
    response.etag = tag
    response.conditional_response = True
    return response


def _page(request: Request) -> tuple[Hashable, ...]:
    """Return what identifies a page: for whom, with which rights, and its URL."""
    return request.caller, request.host_url, request.path_qs
