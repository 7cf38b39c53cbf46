"""The health checks for supervisors and proxies."""

from dataclasses import asdict
from http import HTTPStatus
from typing import Any

from pyramid.config import Configurator
from pyramid.httpexceptions import HTTPServiceUnavailable
from pyramid.request import Request

from data_mover.domain.errors import ServiceUnavailable


def includeme(config: Configurator) -> None:
    config.add_route("health", "/health")
    config.add_route("ready", "/health/ready")
    config.add_view(health, route_name="health", renderer="json", request_method="GET")
    config.add_view(ready, route_name="ready", renderer="json", request_method="GET")
    config.add_exception_view(unavailable, context=ServiceUnavailable)


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
