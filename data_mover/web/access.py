"""The access rule, for pages and calls alike: who calls is known before a request is read.

With a callers' file a token is needed: as the password of HTTP Basic beside the caller's name, or as a bearer token;
or, for pages alone, a session that was begun with one, or at an issuer. Without a callers' file only this machine may
call, and may do everything.
"""

import math
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime
from urllib.parse import urlencode
from xmlrpc.client import Fault

from pyramid.authentication import extract_http_basic_credentials
from pyramid.httpexceptions import (
    HTTPBadRequest,
    HTTPException,
    HTTPForbidden,
    HTTPSeeOther,
    HTTPTooManyRequests,
    HTTPUnauthorized,
)
from pyramid.registry import Registry
from pyramid.request import Request
from pyramid.response import Response
from pyramid.security import Allowed, Denied

from data_mover.config.callers import LOCAL, Caller, CallersFile, Issuer, KnownCallers, OnlyThisMachine, Token
from data_mover.domain.errors import ServiceUnavailable
from data_mover.domain.rights import Verb
from data_mover.domain.tokens import digest_of, without_tokens
from data_mover.services.access import is_from_this_machine
from data_mover.services.audit import RequestAudit
from data_mover.services.issuer_login import IssuerLogin, IssuerLogins
from data_mover.services.issuers import Issuers
from data_mover.services.token_uses import TokenUses
from data_mover.store.audit_trail import AuditTrail
from data_mover.web import sessions
from data_mover.web.crowd import PEER
from data_mover.web.xmlrpc.dispatch import NOT_AUTHENTICATED, TOO_MANY_REQUESTS
from data_mover.web.xmlrpc.encoding import as_xml
from data_mover.web.xmlrpc.guard import PATHS as XML_RPC

#: the health check, which shows nothing but that the service is there
OPEN_TO_ALL = "/health"
#: where browsers log in, and what that page loads: with a callers' file open to all
LOGIN = "/login"
STATIC = "/static/"
#: the key under which a request has the first digits of its token's SHA-256
DIGEST = "data_mover.digest"
REALM = 'Basic realm="Data Mover", charset="UTF-8"'
WAY_OUT = "call with a token: as the password of HTTP Basic, or as Authorization: Bearer"

Handler = Callable[[Request], Response]


class SecurityPolicy:
    """Pyramid's security policy: identities are callers, permissions are verbs."""

    def __init__(self, callers: CallersFile | OnlyThisMachine, uses: TokenUses, trail: AuditTrail) -> None:
        self._callers = callers
        self._uses = uses
        self._trail = trail
        self._known: KnownCallers | None = None
        self._issuers = Issuers()
        self.issuer_logins = IssuerLogins(self._issuers)

    def identity(self, request: Request) -> Caller | None:
        """Return the caller; None if there is no right token, or the request is not of this machine."""
        if isinstance(self._callers, OnlyThisMachine):
            return LOCAL if is_from_this_machine(request.environ) else None
        name, token = _credentials(request)
        known = self._current(self._callers)
        if "Authorization" not in request.headers:
            return self._of_session(request, known) if is_of_a_page(request) else None
        if name is None and known.issuers and token.count(".") == 2:  # a JWT
            request.environ[DIGEST] = digest_of(token)[:8]
            return self._issuers.authenticated(token, known.issuers)
        return self._used(request, known.authenticated(name, token, request.remote_addr, datetime.now(UTC)))

    @property
    def has_login(self) -> bool:
        """Whether browsers log in."""
        return isinstance(self._callers, CallersFile)

    def log_in(self, request: Request, name: str, token: str) -> bool:
        """Begin a session if name and token are right; record it, and each refusal."""
        known = self._current(self._callers) if isinstance(self._callers, CallersFile) else KnownCallers({}, ())
        found = known.authenticated(name, token, request.remote_addr, datetime.now(UTC))
        if found is None:
            self._trail.record_stranger(address=request.remote_addr, path=LOGIN, name=name[:80])
            return False
        who = {"caller": found.caller.name, "token": found.sha256[:8], "address": request.remote_addr}
        self._trail.record(event="login", **who)
        sessions.begin(request, found)
        return True

    @property
    def takes_tokens(self) -> bool:
        """Whether there is anybody who logs in with name and token."""
        return isinstance(self._callers, CallersFile) and bool(self._current(self._callers).tokens)

    @property
    def login_issuers(self) -> Sequence[Issuer]:
        """The issuers at which people log in."""
        known = self._current(self._callers).logins if isinstance(self._callers, CallersFile) else {}
        return list(known.values())

    def log_in_at_issuer(self, request: Request, login: IssuerLogin) -> None:
        """Begin the session of a login at an issuer; record it."""
        who = {"caller": login.caller.name, "token": login.sha256[:8], "address": request.remote_addr}
        self._trail.record(event="login", **who)
        sessions.begin_at_issuer(request, login)

    def record_failed_login(self, request: Request, issuer: str) -> None:
        """Record that somebody has come back from an issuer and is not logged in."""
        self._trail.record_stranger(address=request.remote_addr, path=LOGIN, issuer=issuer)

    def _of_session(self, request: Request, known: KnownCallers) -> Caller | None:
        """Return the caller whose session it is."""
        at_issuer = sessions.caller_of_issuer(request, known)
        if at_issuer is None:
            return self._used(request, sessions.token_of(request, known))
        caller, digest = at_issuer
        request.environ[DIGEST] = digest[:8]
        return caller

    def _used(self, request: Request, token: Token | None) -> Caller | None:
        """Note the use of a token; return its caller."""
        if token is None:
            return None
        self._uses.used(token, request.remote_addr)
        request.environ[DIGEST] = token.sha256[:8]
        return token.caller

    def _current(self, callers: CallersFile) -> KnownCallers:
        """Return the callers; record when others are in force than before."""
        known = callers.current()
        if known is not self._known:
            self._known = known
            with suppress(ServiceUnavailable):
                self._trail.record(event="callers-read", callers=sorted(known.callers), issuers=sorted(known.issuers))
        return known

    def audit(self, request: Request) -> RequestAudit:
        """Return the audit trail for a request that has an identity."""
        token, peer = request.environ.get(DIGEST), request.environ.get(PEER)
        return RequestAudit(self._trail, request.caller.name, token, request.remote_addr, peer)

    def authenticated_userid(self, request: Request) -> str | None:
        return request.caller.name if request.caller else None

    def permits(self, request: Request, context: object, permission: str) -> Allowed | Denied:
        if request.caller is not None and request.caller.may(Verb(permission)):
            return Allowed("%s may %s", request.caller.name, permission)
        request.audit.not_allowed(permission)
        return Denied("'%s' is not among the caller's verbs", permission)

    def remember(self, request: Request, userid: str, **options: object) -> list[tuple[str, str]]:
        return []

    def forget(self, request: Request, **options: object) -> list[tuple[str, str]]:
        request.session.invalidate()
        return []

    def refusal(self, request: Request) -> Response:
        """Return the answer to a request without an identity: a browser is led to the page where it logs in."""
        if self.has_login and _is_of_a_browser(request):
            leads_to = request.path_qs if request.method == "GET" else "/"
            return HTTPSeeOther(f"{LOGIN}?{urlencode({'next': leads_to})}")
        who = {"address": request.remote_addr, "peer": request.environ.get(PEER), "name": self._known_name(request)}
        with suppress(ServiceUnavailable):  # it is in the log, and the request is refused in any case
            self._trail.record_stranger(**who, path=without_tokens(request.environ["PATH_INFO"])[:80])
        if isinstance(self._callers, OnlyThisMachine):
            return HTTPForbidden(
                "data_mover.callers = none: only requests of this machine, to a loopback name, are served"
            )
        refusal = HTTPUnauthorized(WAY_OUT, headers=[("WWW-Authenticate", REALM), ("WWW-Authenticate", "Bearer")])
        return _with_fault(request, refusal, Fault(NOT_AUTHENTICATED, f"not authenticated; {WAY_OUT}"))

    def _known_name(self, request: Request) -> str | None:
        """Return the name of the caller that a login is for. Any other text may be a token that was sent as a name."""
        name, _ = _credentials(request)
        known = self._known.callers if self._known else ()
        return name if name in known else None


def access_tween(handler: Handler, registry: Registry) -> Handler:
    """Answer 401 or 403 before the request is read."""
    policy: SecurityPolicy = registry.data_mover_security_policy

    def access(request: Request) -> Response:
        path = request.environ["PATH_INFO"]
        is_of_login = path == LOGIN or path.startswith((f"{LOGIN}/", STATIC))
        is_open = path == OPEN_TO_ALL or (policy.has_login and is_of_login)
        if not is_open:
            if request.caller is None:
                return policy.refusal(request)
            if wait_seconds := request.rates.wait_seconds(request.caller):
                return _too_many(request, wait_seconds)
        if not _is_utf8(path):
            return HTTPBadRequest("the path is not UTF-8")
        return handler(request)

    return access


def _too_many(request: Request, wait_seconds: float) -> Response:
    rate = request.caller.quota.requests_per_second
    sentence = f"quota: {request.caller.name} may make {rate:g} requests a second; ask again in {wait_seconds:.1f} s"
    refusal = HTTPTooManyRequests(sentence, headers=[("Retry-After", str(math.ceil(wait_seconds)))])
    return _with_fault(request, refusal, Fault(TOO_MANY_REQUESTS, f"too many requests; {sentence}"))


def _with_fault(request: Request, refusal: HTTPException, fault: Fault) -> Response:
    """Return the refusal; on XML-RPC its body is the fault."""
    if request.environ["PATH_INFO"] in XML_RPC:
        refusal.content_type, refusal.charset = "text/xml", "utf-8"
        refusal.text = as_xml(fault)
    return refusal


def _credentials(request: Request) -> tuple[str | None, str]:
    """Return the name, if the request has one, and the token."""
    scheme, _, token = request.headers.get("Authorization", "").strip().partition(" ")
    if scheme.lower() == "bearer":
        return None, token.strip()
    basic = extract_http_basic_credentials(request)
    return (basic.username, basic.password) if basic else ("", "")


def is_of_a_page(request: Request) -> bool:
    """Whether the request is for a page. Programs call with their token each time: no session is believed there."""
    return not request.environ["PATH_INFO"].startswith((*XML_RPC, "/api"))


def _is_of_a_browser(request: Request) -> bool:
    """Whether a browser asks for a page, or sends a form."""
    is_html = request.method in ("GET", "POST") and "text/html" in request.headers.get("Accept", "")
    return is_html and is_of_a_page(request) and _is_utf8(request.environ["PATH_INFO"])


def _is_utf8(path_info: str) -> bool:
    """Whether the path is UTF-8. WSGI passes its bytes as Latin-1."""
    try:
        path_info.encode("latin-1").decode()
    except UnicodeDecodeError:
        return False
    return True
