"""The page with the newest jobs, and the health checks."""

from dataclasses import asdict
from http import HTTPStatus
from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPServiceUnavailable
from pyramid.request import Request

from data_mover.domain.errors import ServiceUnavailable
from data_mover.domain.printable import printable

NEWEST = 50


def includeme(config: Configurator) -> None:
    config.add_route("home", "/")
    config.add_route("health", "/health")
    config.add_route("ready", "/health/ready")
    config.add_view(home, route_name="home", renderer="templates/home.html", request_method="GET")
    config.add_view(health, route_name="health", renderer="json", request_method="GET")
    config.add_view(ready, route_name="ready", renderer="json", request_method="GET")
    config.add_exception_view(unavailable, context=ServiceUnavailable)


def shown(value: Any) -> Any:
    """What an expression of a template shows; Jinja escapes it for HTML."""
    return printable(value) if type(value) is str else value


def home(request: Request) -> dict[str, Any]:
    """The newest jobs and the hosts, as people read them."""
    newest = request.queries.newest(request.caller, NEWEST)
    return {"jobs": newest, "hosts": request.queries.hosts(), "problems": request.readiness.missing()}


def health(request: Request) -> dict[str, str]:
    """Whether the database answers; a probe reads 200 or 503."""
    request.queries.hosts()
    return {"status": "ok"}


def ready(request: Request) -> dict[str, Any]:
    """Whether moves can run: 200, or 503 with what is missing and the way out."""
    missing = request.readiness.missing()
    if missing:
        request.response.status = HTTPStatus.SERVICE_UNAVAILABLE.value
    return {"status": "missing" if missing else "ok", "missing": [asdict(part) for part in missing]}


def unavailable(error: ServiceUnavailable, request: Request) -> HTTPServiceUnavailable:
    """The answer while the database is away."""
    return HTTPServiceUnavailable(str(error))
