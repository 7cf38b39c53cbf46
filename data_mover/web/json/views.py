"""The calls of `/api/v1`. Each turns a request into values, calls a use case, and answers."""

import json
from collections.abc import Callable, Mapping
from importlib.resources import files as resources
from typing import Any

from pyramid.request import Request
from pyramid.response import Response

from data_mover.domain.rights import Verb
from data_mover.services.moves import Accepted
from data_mover.web.json.answers import answer, known_by_its_tag, on_record
from data_mover.web.json.requests import move_body, no_body, query, wait_query
from data_mover.web.parsing import event_after, file_filter, job_filter, job_id
from data_mover.web.structs import event_struct, host_struct

FILTERS = ("status", "phase", "host", "label", "code", "caller", "since", "until", "before", "limit")

View = Callable[[Request], Response]


def create_move(request: Request) -> Response:
    return _accepted(request, request.moves.submit(request.caller, *move_body(request)))


def list_moves(request: Request) -> Response:
    """Return a page of moves; a full one has a link to the next."""
    filter_, of_caller = job_filter(query(request, FILTERS, ("before", "limit")))
    moves = request.queries.page(request.caller, filter_, of_caller)
    following = _next(request, "before", moves[-1].id) if len(moves) == filter_.limit else None
    return known_by_its_tag({"moves": moves, "next": following})


def get_move(request: Request) -> Response:
    """Return the move; with `?wait=` once it has ended or the seconds are over."""
    number, seconds = _id(request), wait_query(request)
    with request.wait_slots.slot(request, seconds) as allowed:
        return known_by_its_tag(request.queries.wait(request.caller, number, min(seconds, allowed)))


def list_files(request: Request) -> Response:
    """Return a page of the move's files; a full one has a link to the next."""
    state, after, limit = file_filter(query(request, ("state", "after", "limit"), ("after", "limit")))
    found = request.queries.files(request.caller, _id(request), state, after, limit)
    following = _next(request, "after", found[-1].number) if len(found) == limit else None
    return known_by_its_tag({"files": found, "next": following})


def list_events(request: Request) -> Response:
    after = event_after(query(request, ("after",), ("after",)))
    events = request.queries.events(request.caller, _id(request))
    return known_by_its_tag({"events": [event_struct(event) for event in events if event.number > after]})


def explain_move(request: Request) -> Response:
    query(request, ())
    return known_by_its_tag(request.explanations.explain(request.caller, _id(request)))


def cancel_move(request: Request) -> Response:
    no_body(request)
    return answer(request.moves.cancel(request.caller, _id(request)))


def retry_move(request: Request) -> Response:
    no_body(request)
    return _accepted(request, request.moves.retry(request.caller, _id(request)))


def plan_move(request: Request) -> Response:
    asked = move_body(request)
    with request.wait_slots.slot(request) as seconds:
        return answer(request.plans.plan(request.caller, *asked, wait_seconds=seconds))


def list_hosts(request: Request) -> Response:
    query(request, ())
    return known_by_its_tag({"hosts": [host_struct(host) for host in request.queries.hosts(request.caller)]})


def pause_host(request: Request) -> Response:
    no_body(request)
    request.host_control.pause(request.caller, request.matchdict["name"])
    return _host(request)


def resume_host(request: Request) -> Response:
    no_body(request)
    request.host_control.resume(request.caller, request.matchdict["name"])
    return _host(request)


def list_datasets(request: Request) -> Response:
    query(request, ())
    return known_by_its_tag({"datasets": request.queries.datasets(request.caller)})


def openapi(request: Request) -> Response:
    return known_by_its_tag(DOCUMENT)


DOCUMENT: Mapping[str, Any] = json.loads((resources(__package__) / "openapi.json").read_text())

#: by name of the route: its path below /api/v1, and for each method its view and the verb that its caller needs
ROUTES: Mapping[str, tuple[str, Mapping[str, tuple[View, Verb | None]]]] = {
    "api.moves": ("/moves", {"GET": (list_moves, Verb.CHECK), "POST": (create_move, Verb.MOVE)}),
    "api.move": ("/moves/{id}", {"GET": (get_move, Verb.CHECK)}),
    "api.files": ("/moves/{id}/files", {"GET": (list_files, Verb.CHECK)}),
    "api.events": ("/moves/{id}/events", {"GET": (list_events, Verb.CHECK)}),
    "api.explain": ("/moves/{id}/explain", {"GET": (explain_move, Verb.CHECK)}),
    "api.cancel": ("/moves/{id}/cancel", {"POST": (cancel_move, Verb.CANCEL)}),
    "api.retry": ("/moves/{id}/retry", {"POST": (retry_move, Verb.RETRY)}),
    "api.plan": ("/plan", {"POST": (plan_move, Verb.PLAN)}),
    "api.hosts": ("/hosts", {"GET": (list_hosts, None)}),
    "api.pause": ("/hosts/{name}/pause", {"POST": (pause_host, Verb.HOSTS)}),
    "api.resume": ("/hosts/{name}/resume", {"POST": (resume_host, Verb.HOSTS)}),
    "api.datasets": ("/datasets", {"GET": (list_datasets, None)}),
    "api.openapi": ("/openapi.json", {"GET": (openapi, None)}),
}


def _id(request: Request) -> int:
    return job_id(request.matchdict["id"])


def _accepted(request: Request, accepted: Accepted) -> Response:
    return on_record(accepted, request.route_path("api.move", id=accepted.id))


def _host(request: Request) -> Response:
    name = request.matchdict["name"]
    return answer(next(host_struct(host) for host in request.queries.hosts(request.caller) if host.name == name))


def _next(request: Request, key: str, value: int) -> str:
    """Return the path and query of the next page."""
    path: str = request.current_route_path(_query={**request.GET.mixed(), key: value})
    return path
