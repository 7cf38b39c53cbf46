"""The form for a new move: it shows what the move would do, and then has it done."""

import secrets
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from pyramid.httpexceptions import HTTPSeeOther
from pyramid.request import Request

from data_mover.domain.errors import Refusal
from data_mover.domain.locations import Endpoint, IfExists, Locations
from data_mover.domain.rights import Verb
from data_mover.domain.states import Priority
from data_mover.services.moves import MoveOptions
from data_mover.web.parsing import stated_move
from data_mover.web.ui.notices import say_done

#: how long a page waits for a plan; its script asks again
PLAN_SECONDS = 3.0
#: the options of a move that the form has
OPTIONS = ("label", "if_exists", "priority", "key")
FIELDS = ("source", "destination", *OPTIONS)
#: what the form has before anybody has written into it
_BEGINNING = {"if_exists": IfExists.REPLACE, "priority": Priority.NORMAL}

Stated = tuple[Locations, Endpoint | None, MoveOptions]


def show_form(request: Request) -> dict[str, Any]:
    """Return the form, with what the query says."""
    fields = {name: request.GET.get(name, _BEGINNING.get(name, "")) for name in FIELDS}
    return _page(request, {**fields, "key": f"page-{secrets.token_hex(12)}"})


def plan_move(request: Request) -> dict[str, Any]:
    """Return the form with what the move would do, as far as a worker has found out."""

    def plan(stated: Stated) -> dict[str, Any]:
        with request.wait_slots.slot(request, PLAN_SECONDS) as seconds:
            return _page(request, fields, plan=request.plans.plan(request.caller, *stated, wait_seconds=seconds))

    fields = _sent(request)
    answer: dict[str, Any] = _answered(request, fields, plan)
    return answer


def submit_move(request: Request) -> Any:
    """Record the move, and lead to its page. The form has a key: one that is sent twice is one move."""

    def submit(stated: Stated) -> HTTPSeeOther:
        accepted = request.moves.submit(request.caller, *stated)
        say_done(request, "The move is on record: it will be done, or say why not.")
        return HTTPSeeOther(request.route_path("move", id=accepted.id))

    return _answered(request, _sent(request), submit)


def _answered(request: Request, fields: dict[str, str], act: Callable[[Stated], Any]) -> Any:
    """Return the answer to the form, or the form with the reason for which it is refused."""
    try:
        return act(_stated(fields))
    except Refusal as refusal:
        request.response.status = HTTPStatus.UNPROCESSABLE_ENTITY.value
        return _page(request, fields, refusal=refusal)


def _sent(request: Request) -> dict[str, str]:
    return {name: request.POST.get(name, "").strip() for name in FIELDS}


def _stated(fields: dict[str, str]) -> Stated:
    """Return the move of the form, each line of which is a source. Raises Refusal."""
    sources = [line.strip() for line in fields["source"].splitlines() if line.strip()]
    options = {name: fields[name] for name in OPTIONS if fields[name]}
    source = sources if sources[1:] else next(iter(sources), None)
    return stated_move(source, fields["destination"] or None, options)


def _page(request: Request, fields: dict[str, str], **found: Any) -> dict[str, Any]:
    hosts = request.queries.hosts(request.caller)
    return {
        "fields": fields,
        "from_hosts": [host.name for host in hosts if "source" in host.roles],
        "to_hosts": [host.name for host in hosts if "destination" in host.roles],
        "types": request.queries.datasets(request.caller),
        "may_plan": request.caller.may(Verb.PLAN),
        "if_exists": IfExists,
        "priorities": [priority.value for priority in Priority],
        "plan": None,
        "refusal": None,
        **found,
    }
