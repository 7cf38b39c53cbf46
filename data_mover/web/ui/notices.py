"""What the next page says once: what was done, and what was refused."""

from typing import NamedTuple

from pyramid.request import Request

#: a header of the page's script: what it asks for is not read as a whole
WATCHES = "X-Watches"
_DONE, _REFUSED = "done", "refused"
#: a cookie has room for so much
_MOST, _LONGEST = 4, 300


class Notices(NamedTuple):
    done: list[str]
    refused: list[str]


def say_done(request: Request, sentence: str) -> None:
    """Have the next page say what was done."""
    request.session.flash(sentence, _DONE)


def say_refused(request: Request, sentences: list[str]) -> None:
    """Have the next page say what was refused: the first of many."""
    more = len(sentences) - _MOST
    for sentence in [*sentences[:_MOST], *([f"{more} more were refused."] if more > 0 else [])]:
        request.session.flash(sentence[:_LONGEST], _REFUSED)


def has_notices(request: Request) -> bool:
    """Whether this request's page says anything once."""
    if WATCHES in request.headers:
        return False
    return bool(request.session.peek_flash(_DONE) or request.session.peek_flash(_REFUSED))


def taken(request: Request) -> Notices:
    """Return what this page says, which no other page says then."""
    if not has_notices(request):
        return Notices([], [])
    return Notices(request.session.pop_flash(_DONE), request.session.pop_flash(_REFUSED))
