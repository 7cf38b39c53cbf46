"""The pages of moves: the list with its filter, and one move with all that is known of it."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from pyramid.request import Request

from data_mover.domain.errors import Refusal
from data_mover.domain.rights import Verb
from data_mover.domain.states import FileState, Phase, Status
from data_mover.services.bulk import MOST_MOVES
from data_mover.services.queries import HostDescription
from data_mover.store.events import EventReport
from data_mover.store.listing import JobFilter
from data_mover.store.reports import JobReport
from data_mover.web.parsing import file_filter, job_id
from data_mover.web.ui.filter_box import parsed, suggestions

MOVES_OF_A_PAGE = 50
FILES_OF_A_PAGE = 100
TOO_LATE_TO_CANCEL = (Phase.PUBLISHING, Phase.CANCELLING, Phase.ENDING)
#: how many of the newest events are shown
EVENTS_OF_A_PAGE = 200
#: the filters beside the box, by what they are called
TABS = {
    "All": "",
    "Running": "status:in_progress",
    "Waiting": "status:pending",
    "Failed": "status:failed",
    "Completed": "status:completed",
    "Cancelled": "status:cancelled",
}


def list_moves(request: Request) -> dict[str, Any]:
    """Return a page of moves, the newest first: those that match the filter box."""
    text = request.GET.get("q", "").strip()
    hosts = request.queries.hosts(request.caller)
    page: dict[str, Any] = {
        "text": text,
        "moves": [],
        "following": None,
        "problem": None,
        "tabs": TABS,
        "suggestions": suggestions([host.name for host in hosts], request.caller.may(Verb.SEE_ALL)),
        "is_first": "before" not in request.GET,
        "most_matching": MOST_MOVES,
        "can_cancel": (),
        "can_retry": (),
        "matching": 0,
        "example": _example(hosts),
    }
    try:
        filter_, of_caller = parsed(text, _number(request.GET, "before"), MOVES_OF_A_PAGE)
    except Refusal as refusal:
        return {**page, "problem": refusal.reason}
    page["moves"] = request.queries.page(request.caller, filter_, of_caller)
    page |= _rights_over(request, page["moves"])
    if len(page["moves"]) == MOVES_OF_A_PAGE:
        page["following"] = page["moves"][-1].id
    if (page["can_cancel"] or page["can_retry"]) and (page["following"] or not page["is_first"]):
        page["matching"] = request.bulk.begin(request.caller, replace(filter_, before=None), of_caller).matching
    page["is_empty"] = not page["moves"] and filter_ == JobFilter(limit=MOVES_OF_A_PAGE)
    return page


def show_move(request: Request) -> dict[str, Any]:
    """Return what is known of a move, with a page of its files. Raises Refusal if there is no such move."""
    number = job_id(request.matchdict["id"])
    asked = {"state": request.GET.get("state") or None, "after": _number(request.GET, "after")}
    known = {name: value for name, value in asked.items() if value is not None}
    state, after, limit = file_filter({**known, "limit": FILES_OF_A_PAGE})
    move = request.queries.check(request.caller, number)
    files = request.queries.files(request.caller, number, state, after, limit)
    together = _together(request.queries.events(request.caller, number))
    return {
        **_rights_over(request, [move]),
        "move": move,
        "why": request.explanations.explain(request.caller, number),
        "files": files,
        "state": state,
        "states": list(FileState),
        "is_first": after < 0,
        "following": files[-1].number if len(files) == limit else None,
        "events": together[-EVENTS_OF_A_PAGE:],
        "earlier": max(0, len(together) - EVENTS_OF_A_PAGE),
    }


def _together(events: Sequence[EventReport]) -> list[EventReport]:
    """Return the events, with those about files that follow each other as one: the last, with all their files."""
    shown = list[EventReport]()
    for event in events:
        if event.files and shown and shown[-1].event is event.event:
            event = replace(event, files=event.files + (shown.pop().files or 0))
        shown.append(event)
    return shown


def _example(hosts: Sequence[HostDescription]) -> tuple[str, str]:
    """Return source and destination of a move between hosts that there are, as far as there are any."""
    sources, destinations = ([host.name for host in hosts if role in host.roles] for role in ("source", "destination"))
    source = next(iter(sources), "source")
    destination = next((name for name in destinations if name != source), "destination")
    return f"{source}:/folder/file.tif", f"{destination}:/folder/"


def _rights_over(request: Request, moves: Sequence[JobReport]) -> dict[str, Any]:
    """Return the ids of the moves that the reader may cancel, or retry, as they are now; and whose they are, if it sees
    the moves of others."""
    caller, owners = request.caller, dict[int, str]()
    mine = {move.id for move in moves}
    if caller.may(Verb.SEE_ALL):
        owners = dict(request.queries.owners(caller, moves))
        mine = {number for number in mine if caller.may(Verb.ACT_ALL) or owners.get(number) == caller.name}
    ended = {move.id for move in moves if move.status in (Status.FAILED, Status.CANCELLED)}
    live = {move.id for move in moves if not move.status.terminal and move.phase not in TOO_LATE_TO_CANCEL}
    return {
        "owners": owners,
        "can_cancel": mine & live if caller.may(Verb.CANCEL) else (),
        "can_retry": mine & ended if caller.may(Verb.RETRY) else (),
    }


def _number(query: Mapping[str, str], name: str) -> int | str | None:
    """Return the integer of that name; text that is none as it is, for the filter to refuse."""
    text = query.get(name)
    return int(text) if text and text.isascii() and text.isdecimal() and len(text) < 20 else text
