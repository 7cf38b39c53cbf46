"""Logging in with name and token, and logging out."""

from typing import Any

from pyramid.httpexceptions import HTTPForbidden, HTTPSeeOther
from pyramid.request import Request
from pyramid.security import forget

from data_mover.web.access import LOGIN, SecurityPolicy
from data_mover.web.ui.actions import path_of


def show_login(request: Request) -> Any:
    """Return the form; without a callers' file nobody logs in."""
    if not _policy(request).has_login:
        return HTTPSeeOther("/")
    return {"next": path_of(request.GET.get("next", "/")), "name": "", "is_refused": False}


def log_in(request: Request) -> Any:
    """Begin a session and lead to the page that was asked for; or return the form again."""
    name, token = request.POST.get("name", "").strip(), request.POST.get("token", "").strip()
    leads_to = path_of(request.POST.get("next", "/"))
    if _policy(request).log_in(request, name, token):
        return HTTPSeeOther(leads_to)
    request.response.status = HTTPForbidden.code
    return {"next": leads_to, "name": name, "is_refused": True}


def log_out(request: Request) -> HTTPSeeOther:
    """End the session, and have the browser forget the pages that it has shown."""
    forget(request)
    return HTTPSeeOther(LOGIN, headers=[("Clear-Site-Data", '"cache"')])


def _policy(request: Request) -> SecurityPolicy:
    policy: SecurityPolicy = request.registry.data_mover_security_policy
    return policy
