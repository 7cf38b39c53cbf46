"""The page with the newest jobs, and the health checks."""

from dataclasses import asdict
from http import HTTPStatus
from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPServiceUnavailable
from pyramid.request import Request

from data_mover.domain.errors import ServiceUnavailable
from data_mover.domain.printable import printable
from data_mover.domain.rights import Verb

NEWEST = 50


def includeme(config: Configurator) -> None:
    config.add_route("home", "/")
    config.add_route("health", "/health")
    config.add_route("ready", "/health/ready")
    config.add_view(
        home, route_name="home", renderer="templates/home.html", request_method="GET", permission=Verb.CHECK
    )
    config.add_view(health, route_name="health", renderer="json", request_method="GET")
    config.add_view(ready, route_name="ready", renderer="json", request_method="GET")
    config.add_exception_view(unavailable, context=ServiceUnavailable)


def shown(value: Any) -> Any:
    """Return the value of a template's expression as printable text; Jinja escapes it for HTML."""
    return printable(value) if type(value) is str else value


def home(request: Request) -> dict[str, Any]:
    """Return the newest jobs and the hosts, for the page."""
    newest = request.queries.newest(request.caller, NEWEST)
    return {"jobs": newest, "hosts": request.queries.hosts(request.caller), "problems": request.readiness.missing()}


def health(request: Request) -> dict[str, str]:
    """Answer 200 if the database answers, else 503."""
    request.readiness.require_database()
    return {"status": "ok"}


def ready(request: Request) -> dict[str, Any]:
    """Answer 200 if moves can run, else 503 with what is missing and the way out."""
    missing = request.readiness.missing()
    if missing:
        request.response.status = HTTPStatus.SERVICE_UNAVAILABLE.value
    return {"status": "missing" if missing else "ok", "missing": [asdict(part) for part in missing]}


def unavailable(error: ServiceUnavailable, request: Request) -> HTTPServiceUnavailable:
    """Return the answer while the database is unavailable."""
    return HTTPServiceUnavailable(str(error))
