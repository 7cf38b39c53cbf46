"""Logging in, with name and token or at an issuer of OpenID Connect, and logging out."""

from typing import Any

from pyramid.httpexceptions import HTTPForbidden, HTTPNotFound, HTTPSeeOther
from pyramid.request import Request
from pyramid.security import forget

from data_mover.config.callers import Issuer
from data_mover.services.issuer_login import LoginFailed
from data_mover.web.access import LOGIN, SecurityPolicy
from data_mover.web.sessions import keep_begun, take_begun
from data_mover.web.ui.actions import path_of

_REFUSED = "Name or token is wrong, or the token has ended."
_ANSWER = ("code", "state", "iss", "error")


def show_login(request: Request) -> Any:
    """Return the form; without a callers' file nobody logs in."""
    if not _policy(request).has_login:
        return HTTPSeeOther("/")
    return _page(request, path_of(request.GET.get("next", "/")))


def log_in(request: Request) -> Any:
    """Begin a session and lead to the page that was asked for; or return the form again."""
    name, token = request.POST.get("name", "").strip(), request.POST.get("token", "").strip()
    leads_to = path_of(request.POST.get("next", "/"))
    if _policy(request).log_in(request, name, token):
        return HTTPSeeOther(leads_to)
    request.response.status = HTTPForbidden.code
    return _page(request, leads_to, name=name, refusal=_REFUSED)


def begin_at_issuer(request: Request) -> HTTPSeeOther:
    """Lead to the issuer, which leads back to `finish_at_issuer`. Raises LoginFailed if the issuer is away."""
    issuer = _issuer(request)
    begun, url = _policy(request).issuer_logins.begin(issuer, _callback(request, issuer))
    keep_begun(request, begun, path_of(request.GET.get("next", "/")))
    return HTTPSeeOther(url)


def finish_at_issuer(request: Request) -> HTTPSeeOther:
    """Begin a session for whoever comes from the issuer, and lead to the page that was asked for. Raises
    LoginFailed."""
    issuer, (begun, leads_to) = _issuer(request), take_begun(request)
    if begun is None:
        raise LoginFailed("No login was begun in this browser, or it is over. Log in again.")
    answer = {name: request.GET[name] for name in _ANSWER if name in request.GET}
    login = _policy(request).issuer_logins.finish(issuer, begun, _callback(request, issuer), answer)
    _policy(request).log_in_at_issuer(request, login)
    return HTTPSeeOther(leads_to)


def failed(failure: LoginFailed, request: Request) -> dict[str, Any]:
    """Return the form with the sentence of a login at an issuer that has failed."""
    _policy(request).record_failed_login(request, _issuer(request).name)
    request.response.status = HTTPForbidden.code
    return _page(request, "/", refusal=str(failure))


def log_out(request: Request) -> HTTPSeeOther:
    """End the session, and have the browser forget the pages that it has shown."""
    forget(request)
    return HTTPSeeOther(LOGIN, headers=[("Clear-Site-Data", '"cache"')])


def _page(request: Request, leads_to: str, name: str = "", refusal: str | None = None) -> dict[str, Any]:
    policy = _policy(request)
    return {
        "next": leads_to,
        "name": name,
        "refusal": refusal,
        "issuers": policy.login_issuers,
        "takes_tokens": policy.takes_tokens,
    }


def _issuer(request: Request) -> Issuer:
    """Return the issuer of the path. Raises HTTPNotFound if nobody logs in there."""
    named = (each for each in _policy(request).login_issuers if each.name == request.matchdict["issuer"])
    issuer = next(named, None)
    if issuer is None:
        raise HTTPNotFound
    return issuer


def _callback(request: Request, issuer: Issuer) -> str:
    """Return the URL to which the issuer leads back; the issuer compares it with the one that it knows."""
    url: str = request.route_url("login_callback", issuer=issuer.name)
    return url


def _policy(request: Request) -> SecurityPolicy:
    policy: SecurityPolicy = request.registry.data_mover_security_policy
    return policy
