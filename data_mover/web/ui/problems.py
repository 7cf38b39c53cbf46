"""The page that says what was wrong with a request."""

from http import HTTPStatus
from typing import Any

from pyramid.exceptions import BadCSRFToken
from pyramid.httpexceptions import HTTPForbidden, HTTPNotFound
from pyramid.request import Request

from data_mover.domain.errors import Refusal
from data_mover.web.json.problems import NOT_FOUND, PREFIX


def refused(refusal: Refusal, request: Request) -> dict[str, Any]:
    """Return the problem: 404 for what does not exist, 422 for every other refusal."""
    status = HTTPStatus.NOT_FOUND if refusal.code in NOT_FOUND else HTTPStatus.UNPROCESSABLE_ENTITY
    request.response.status = status.value
    return {"title": status.phrase, "sentence": refusal.reason}


def not_allowed(error: HTTPForbidden, request: Request) -> Any:
    """Return the problem; for a program the error as it is."""
    if request.caller is None or request.path_info.startswith(PREFIX):
        return error
    request.response.status = HTTPStatus.FORBIDDEN.value
    return {"title": "Not allowed", "sentence": error.detail or str(error)}


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
