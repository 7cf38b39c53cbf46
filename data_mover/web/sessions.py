"""Sessions of browsers: a signed cookie with who has logged in, never with a token."""

import os
import secrets
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyramid.request import Request
from pyramid.session import SignedCookieSessionFactory

from data_mover.config.callers import Caller, KnownCallers, Token
from data_mover.domain.errors import ConfigProblem, ConfigurationError
from data_mover.domain.secrets import private_text
from data_mover.services.issuer_login import BegunLogin, IssuerLogin

_KEY_FILE = "session.secret"
COOKIE = "data_mover"
#: a session ends so long after its last request
SESSION_SECONDS = 12 * 3600
#: the cookie is sent anew so often at most
REISSUE_SECONDS = 600
_SECRET_BYTES = 64
_NAME, _DIGEST = "caller", "token_sha256"
#: of whoever has logged in at an issuer: its URL, the scopes that count, and when the token ends
_ISSUER, _SCOPES, _UNTIL = "issuer", "scopes", "until"
#: a login that the browser continues at an issuer, and the page that it leads to
_BEGUN, _LEADS_TO = "begun", "leads_to"


def session_factory(state_dir: Path) -> Callable[[Request], Any]:
    """Return Pyramid's session factory, with the secret in the state directory. Raises ConfigurationError."""
    secret = _secret(state_dir / _KEY_FILE)
    options = {
        "cookie_name": COOKIE,
        "httponly": True,
        "samesite": "Lax",
        "timeout": SESSION_SECONDS,
        "reissue_time": REISSUE_SECONDS,
    }
    plain = SignedCookieSessionFactory(secret, **options)
    secure = SignedCookieSessionFactory(secret, secure=True, **options)
    return lambda request: (secure if request.scheme == "https" else plain)(request)


def begin(request: Request, token: Token) -> None:
    """Begin a session for whoever has this token."""
    request.session.invalidate()
    request.session[_NAME], request.session[_DIGEST] = token.caller.name, token.sha256
    request.session.new_csrf_token()


def token_of(request: Request, known: KnownCallers) -> Token | None:
    """Return the token with which the session was begun, if it may still be used; else None."""
    name, digest = request.session.get(_NAME), request.session.get(_DIGEST)
    if name is None or digest is None:
        return None
    return known.token(name, digest, request.remote_addr, datetime.now(UTC))


def begin_at_issuer(request: Request, login: IssuerLogin) -> None:
    """Begin a session for whoever has logged in at an issuer; it ends with the token."""
    request.session.invalidate()
    request.session[_NAME], request.session[_DIGEST] = login.caller.name, login.sha256
    request.session[_ISSUER], request.session[_SCOPES] = login.issuer.url, login.caller.scopes
    request.session[_UNTIL] = login.until
    request.session.new_csrf_token()


def caller_of_issuer(request: Request, known: KnownCallers) -> tuple[Caller, str] | None:
    """Return who has logged in at an issuer, with what its scopes grant now, and the SHA-256 of its token; None if the
    token has ended, or the issuer is no longer known."""
    session = request.session
    name, scopes = str(session.get(_NAME)), session.get(_SCOPES)
    issuer = known.issuers.get(name.partition(":")[0])
    if scopes is None or issuer is None or issuer.url != session.get(_ISSUER) or time.time() >= session[_UNTIL]:
        return None
    caller = known.named(name, scopes)
    return (caller, session[_DIGEST]) if caller is not None else None


def keep_begun(request: Request, begun: BegunLogin, leads_to: str) -> None:
    """Keep a login, until the browser comes back from the issuer."""
    request.session[_BEGUN], request.session[_LEADS_TO] = asdict(begun), leads_to


def take_begun(request: Request) -> tuple[BegunLogin | None, str]:
    """Return the login that was begun, which is not kept any longer, and the page that it leads to."""
    begun, leads_to = request.session.pop(_BEGUN, None), request.session.pop(_LEADS_TO, "/")
    return BegunLogin(**begun) if begun else None, leads_to


def _secret(path: Path) -> str:
    """Return the secret in the file, which is made if there is none: whole, and for this user alone."""
    try:
        if not path.exists():
            new = path.with_name(f"{path.name}.{secrets.token_hex(8)}")
            descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
            with os.fdopen(descriptor, "w") as file:
                file.write(secrets.token_hex(_SECRET_BYTES))
            with suppress(FileExistsError):  # another process has made it
                os.link(new, path)
            new.unlink()
        return private_text(path)
    except OSError as error:
        problem = ConfigProblem("data_mover.state_dir", f"{path} cannot be used: {error.strerror}")
        raise ConfigurationError("[app:main]", [problem]) from error
