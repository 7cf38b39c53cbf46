"""Sessions of browsers: a signed cookie with who has logged in, never with a token."""

import os
import secrets
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pyramid.request import Request
from pyramid.session import SignedCookieSessionFactory

from data_mover.config.callers import KnownCallers, Token
from data_mover.domain.errors import ConfigProblem, ConfigurationError
from data_mover.domain.secrets import private_text

_KEY_FILE = "session.secret"
COOKIE = "data_mover"
#: a session ends so long after its last request
SESSION_SECONDS = 12 * 3600
#: the cookie is sent anew so often at most
REISSUE_SECONDS = 600
_SECRET_BYTES = 64
_NAME, _DIGEST = "caller", "token_sha256"


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
