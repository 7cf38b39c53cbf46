"""The page that says what was wrong with a request."""

from http import HTTPStatus
from typing import Any

from pyramid.exceptions import BadCSRFToken
from pyramid.httpexceptions import HTTPForbidden, HTTPNotFound
from pyramid.request import Request
from pyramid.security import Denied

from data_mover.domain.errors import Refusal
from data_mover.web.json.problems import NOT_FOUND, PREFIX

_LACKS_A_RIGHT = "You do not have the right to do this. Whoever runs the service grants it in the callers' file."


def refused(refusal: Refusal, request: Request) -> dict[str, Any]:
    """Return the problem: 404 for what does not exist, 422 for every other refusal."""
    if refusal.code in NOT_FOUND:
        request.response.status = HTTPStatus.NOT_FOUND.value
        return {"title": "Not found", "sentence": refusal.reason}
    request.response.status = HTTPStatus.UNPROCESSABLE_ENTITY.value
    return {"title": "Not done", "sentence": refusal.reason}


def not_allowed(error: HTTPForbidden, request: Request) -> Any:
    """Return the problem; for a program the error as it is."""
    if request.caller is None or request.path_info.startswith(PREFIX):
        return error
    request.response.status = HTTPStatus.FORBIDDEN.value
    sentence = _LACKS_A_RIGHT if isinstance(error.result, Denied) else error.detail or str(error)
    return {"title": "Not allowed", "sentence": sentence}


def not_found(error: HTTPNotFound, request: Request) -> Any:
    """Return the problem; for a program the error as it is."""
    if request.caller is None or request.path_info.startswith(PREFIX):
        return error
    request.response.status = HTTPStatus.NOT_FOUND.value
    return {"title": "Not found", "sentence": "There is no such page."}


def too_old(error: BadCSRFToken, request: Request) -> dict[str, str]:
    """Return the problem of a form without the token of its session."""
    request.response.status = HTTPStatus.BAD_REQUEST.value
    return {"title": "Too old", "sentence": "The form was too old, and nothing was done. Go back, and send it again."}
