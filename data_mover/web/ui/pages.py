"""The page with the newest jobs, and the health check."""

from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPServiceUnavailable
from pyramid.request import Request

from data_mover.domain.errors import ServiceUnavailable

NEWEST = 50


def includeme(config: Configurator) -> None:
    config.add_route("home", "/")
    config.add_route("health", "/health")
    config.add_view(home, route_name="home", renderer="templates/home.html", request_method="GET")
    config.add_view(health, route_name="health", renderer="json", request_method="GET")
    config.add_exception_view(unavailable, context=ServiceUnavailable)


def home(request: Request) -> dict[str, Any]:
    """The newest jobs and the hosts, as people read them."""
    return {"jobs": request.queries.newest(request.caller, NEWEST), "hosts": request.queries.hosts()}


def health(request: Request) -> dict[str, str]:
    """Whether the database answers; a probe reads 200 or 503."""
    request.queries.hosts()
    return {"status": "ok"}


def unavailable(error: ServiceUnavailable, request: Request) -> HTTPServiceUnavailable:
    """The answer while the database is away."""
    return HTTPServiceUnavailable(str(error))
