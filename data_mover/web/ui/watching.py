"""Browsers that watch a page: as long as nothing changes, an answer costs no rendering and is empty."""

import hashlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from functools import wraps

from pyramid.httpexceptions import HTTPNotModified
from pyramid.request import Request
from pyramid.response import Response

from data_mover.web.ui.notices import has_notices

#: the most pages that are known; the one that was asked for longest ago is forgotten
MOST_PAGES = 2_000
#: pages are rendered again so often at least: `since:1d` moves on by itself
KNOWN_SECONDS = 60.0

View = Callable[[object, Request], Response]


class Watchers:
    """The tags of the pages that browsers have, each with the stamp at which it was right."""

    def __init__(self) -> None:
        self._changing = threading.Lock()
        self._known = OrderedDict[Hashable, tuple[Hashable, float]]()

    def has(self, page: Hashable, stamp: Hashable) -> bool:
        """Whether the page is as it was at this stamp."""
        with self._changing:
            known, until = self._known.get(page, (None, 0.0))
            if known != stamp or time.monotonic() > until:
                return False
            self._known.move_to_end(page)
            return True

    def note(self, page: Hashable, stamp: Hashable) -> None:
        """Note that the page was rendered after this stamp was taken."""
        with self._changing:
            self._known[page] = stamp, time.monotonic() + KNOWN_SECONDS
            self._known.move_to_end(page)
            while len(self._known) > MOST_PAGES:
                self._known.popitem(last=False)


def watched(view: View) -> View:
    """Decorate a view with an ETag; answer 304 to a browser that has the page as it is."""

    @wraps(view)
    def watch(context: object, request: Request) -> Response:
        stamp = request.changes.stamp()
        if has_notices(request):  # they are no part of the page that is watched from then on
            return view(context, request)
        tag = next(iter(getattr(request.if_none_match, "etags", ())), None)
        if tag and request.watchers.has(_page(request, tag), stamp):
            return HTTPNotModified(headers=[("ETag", f'"{tag}"'), ("Cache-Control", "private, no-cache")])
        response = view(context, request)
        if response.status_code == 200:
            response.etag = hashlib.sha256(response.body).hexdigest()[:32]
            response.cache_control = "private, no-cache"
            response.vary = ("Cookie", "Authorization")
            response.conditional_response = True
            request.watchers.note(_page(request, response.etag), stamp)
        return response

    return watch


def _page(request: Request, tag: str) -> Hashable:
    """Return what identifies a page: for whom, with which rights, its URL and its content."""
    return request.caller, request.path_qs, tag
