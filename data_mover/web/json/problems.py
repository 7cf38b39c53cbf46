"""Problem details (RFC 9457) for refusals and errors, with our `code`, `reason` and `field`."""

import json
import logging
from collections.abc import Callable
from http import HTTPStatus
from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPException, HTTPInternalServerError, HTTPMethodNotAllowed
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response

from data_mover.domain.errors import Refusal

log = logging.getLogger(__name__)

Handler = Callable[[Request], Response]

PREFIX = "/api/v1/"
CONTENT_TYPE = "application/problem+json"
#: refusals that say that something does not exist
NOT_FOUND = ("no-such-job", "no-such-host")
#: headers of an error that say what to do
KEPT_HEADERS = ("Allow", "Retry-After", "WWW-Authenticate")


def includeme(config: Configurator) -> None:
    """Add the tween. Include this last, so that the errors of the access rule become problem details, too."""
    config.add_tween("data_mover.web.json.problems.problems_tween")


def problems_tween(handler: Handler, registry: Registry) -> Handler:
    """Turn every error in an answer of `/api/v1` into problem details, one of this program, too."""

    def problems(request: Request) -> Response:
        if not request.environ["PATH_INFO"].startswith(PREFIX):  # bytes that are not checked yet
            return handler(request)
        try:
            response = handler(request)
        except Exception:
            log.exception("request-broke method=%s", request.method)
            response = HTTPInternalServerError("The service has failed; its log says where.")
        return problem_of(response) if response.status_code >= 400 else response

    return problems


def refused(refusal: Refusal, request: Request) -> Response:
    """Return 404 for what does not exist, 422 for every other refusal."""
    status = HTTPStatus.NOT_FOUND if refusal.code in NOT_FOUND else HTTPStatus.UNPROCESSABLE_ENTITY
    return _problem(status, refusal.reason, refusal.code, refusal.field)


def wrong_method(methods: tuple[str, ...]) -> Callable[[Request], HTTPException]:
    """Return a view that names the methods of its route."""

    def view(request: Request) -> HTTPException:
        return HTTPMethodNotAllowed(f"takes {' and '.join(methods)}", headers=[("Allow", ", ".join(methods))])

    return view


def problem_of(response: Response) -> Response:
    """Return the error as problem details, unless it is one already."""
    if response.content_type == CONTENT_TYPE:
        return response
    status = HTTPStatus(response.status_code)
    sentence = getattr(response, "detail", None) or status.description or status.phrase
    problem = _problem(status, sentence, status.phrase.lower().replace(" ", "-"), None)
    problem.headerlist += [(name, value) for name, value in response.headerlist if name in KEPT_HEADERS]
    return problem


def _problem(status: HTTPStatus, sentence: str, code: str, field: str | None) -> Response:
    details: dict[str, Any] = {
        "type": "about:blank",
        "title": status.phrase,
        "status": status.value,
        "detail": sentence,
        "code": code,
        "reason": sentence,
        "field": field,
    }
    return Response(json.dumps(details).encode(), status=status.value, content_type=CONTENT_TYPE)
