"""The page of failures, by code and host."""

from typing import Any

from pyramid.request import Request

from data_mover.services.history import FailureGroup


def list_failures(request: Request) -> dict[str, Any]:
    """Return the failures of late, each group with the filter that shows its moves."""
    return {"groups": [(group, _filter(group)) for group in request.history.failures(request.caller)]}


def _filter(group: FailureGroup) -> str:
    return f"status:failed code:{group.code}" + (f" host:{group.host}" if group.host else "")
