"""What people do to all moves that match a filter: they are asked first, and then see how far it has come."""

from typing import Any, NamedTuple

from pyramid.request import Request

from data_mover.domain.rights import Verb
from data_mover.services.bulk import MOST_MOVES, BulkProgress
from data_mover.web.parsing import job_id
from data_mover.web.ui.actions import back, moves_are, path_of
from data_mover.web.ui.filter_box import parsed
from data_mover.web.ui.moves import MOVES_OF_A_PAGE
from data_mover.web.ui.notices import say_done, say_refused

_LONGEST_REFUSAL = 200


class Words(NamedTuple):
    """An action in words."""

    button: str
    done: str
    #: which of the moves that match it is for, and why others are left alone
    which: str
    left: str


WORDS = {
    Verb.CANCEL: Words("Cancel", "cancelled", "Those that have not ended", "they have ended, or are about to"),
    Verb.RETRY: Words(
        "Retry",
        "tried again",
        "Those that have failed or were cancelled, and were not retried before,",
        "they have not failed, or were retried before",
    ),
}


def act_on_all(request: Request) -> Any:
    """Return the page that asks; or act on the next moves, and return how far it has come. Leads back once all is done.

    Raises Refusal for a filter that means nothing.
    """
    verb, text = Verb(request.matched_route.name), request.POST.get("q", "").strip()
    filter_, of_caller = parsed(text, None, MOVES_OF_A_PAGE)
    has_begun = "before" in request.POST
    if has_begun:
        act = {Verb.CANCEL: request.moves.cancel, Verb.RETRY: request.moves.retry}[verb]
        progress = request.bulk.step(
            request.caller, verb, filter_, of_caller, _sent(request), lambda number: act(request.caller, number)
        )
    else:
        progress = request.bulk.begin(request.caller, filter_, of_caller)
    if progress.is_over:
        _say(request, WORDS[verb], progress)
        return back(request)
    return {
        "words": WORDS[verb],
        "text": text,
        "progress": progress,
        "has_begun": has_begun,
        "most_moves": MOST_MOVES,
        "leads_back": path_of(request.POST.get("back", "/")),
    }


def _sent(request: Request) -> BulkProgress:
    """Return the progress as the form has it. Its numbers are shown, and bound nobody but the sender."""
    return BulkProgress(
        matching=_count(request, "matching"),
        oldest=job_id(request.POST.get("oldest", "")),
        before=job_id(request.POST.get("before", "")),
        done=_count(request, "done"),
        refused=_count(request, "refused"),
        refusal=request.POST.get("refusal", "")[:_LONGEST_REFUSAL],
    )


def _count(request: Request, name: str) -> int:
    text = request.POST.get(name, "")
    return int(text) if text.isascii() and text.isdecimal() and len(text) < 10 else 0


def _say(request: Request, words: Words, progress: BulkProgress) -> None:
    """Have the next page say what was done, and what was not."""
    if progress.done:
        say_done(request, f"{moves_are(progress.done)} {words.done}.")
    refusals = []
    if progress.refused:
        refusals.append(f"{moves_are(progress.refused)} not {words.done}. {progress.refusal}")
    left = progress.matching - progress.done - progress.refused
    if left > 0:
        refusals.append(f"{moves_are(left)} left alone: {words.left}, or belong to others.")
    say_refused(request, refusals or ([] if progress.done else ["No move matches."]))
