"""What people do to moves, one or many at a time: cancel and retry. Each answer leads back to a page that says what
was done."""

from collections.abc import Callable
from typing import TypeVar
from urllib.parse import urlsplit

from pyramid.httpexceptions import HTTPSeeOther
from pyramid.request import Request

from data_mover.domain.errors import Refusal
from data_mover.web.parsing import MOST_IDS, job_id
from data_mover.web.ui.notices import say_done, say_refused

T = TypeVar("T")


def cancel_moves(request: Request) -> HTTPSeeOther:
    """Cancel the moves of the form."""
    done = _each(request, lambda number: request.moves.cancel(request.caller, number))
    if done:
        say_done(request, f"{moves_are(len(done))} cancelled.")
    return back(request)


def retry_moves(request: Request) -> HTTPSeeOther:
    """Retry the moves of the form. One that was retried alone leads to the new move."""
    done = _each(request, lambda number: request.moves.retry(request.caller, number))
    if len(done) == 1:
        say_done(request, "This move does it again.")
        return HTTPSeeOther(request.route_path("move", id=done[0].id))
    if done:
        say_done(request, f"{moves_are(len(done))} tried again.")
    return back(request)


def back(request: Request) -> HTTPSeeOther:
    """Return the way to the page that the form was on."""
    return HTTPSeeOther(path_of(request.POST.get("back", "/")))


def path_of(url: str) -> str:
    """Return the URL if it is a path of this service, else that of the first page: a form leads nowhere else."""
    parts = urlsplit(url)
    is_ours = not parts.scheme and not parts.netloc and parts.path.startswith("/") and "\\" not in url
    return url if is_ours and url.isprintable() and not url.startswith("//") else "/"


def _each(request: Request, act: Callable[[int], T]) -> list[T]:
    """Act on each move; return the answers, and have the next page say what was refused."""
    done, refused = list[T](), list[str]()
    for text in request.POST.getall("move")[:MOST_IDS]:
        try:
            done.append(act(job_id(text)))
        except Refusal as refusal:
            refused.append(f"Move {text[:20]}: {refusal.reason}")
    say_refused(request, refused or ([] if done else ["No move is selected."]))
    return done


def moves_are(count: int) -> str:
    """Return the beginning of a sentence about so many moves."""
    return "One move is" if count == 1 else f"{count:,} moves are"
