"""People log in to the pages at an issuer of OpenID Connect: the authorization code flow with PKCE.

The browser goes to the issuer with a state, a nonce and the challenge of a verifier (RFC 7636), and comes back with a
code. The code and the verifier get two tokens: the id token, which is of this login if it has the nonce, and the access
token, which says what its owner may do, as the access token of a program does.
"""

import base64
import hmac
import logging
import secrets
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from typing import Any
from urllib.parse import quote

import httpx

from data_mover.config.callers import Caller, Issuer, is_private
from data_mover.domain.errors import DataMoverError
from data_mover.domain.printable import printable
from data_mover.domain.tokens import digest_of
from data_mover.services.issuers import Issuers, caller_of, client_for, document

log = logging.getLogger(__name__)

#: how many codes are sent to issuers at a time: one that takes its time does not occupy all threads of the server
CODES_AT_ONCE = 2
#: how long a login waits for others
WAIT_SECONDS = 1.0
_SECRET_BYTES = 48
_LONGEST_DETAIL = 200


class LoginFailed(DataMoverError):
    """Nobody is logged in; the sentence is for whoever has tried."""


@dataclass(frozen=True)
class BegunLogin:
    """A login whose browser is at the issuer. Text, so that a session can keep it."""

    #: its name in the callers' file
    issuer: str
    state: str
    nonce: str
    verifier: str


@dataclass(frozen=True)
class IssuerLogin:
    """A login that has succeeded."""

    caller: Caller
    issuer: Issuer
    #: of the access token: when it ends, in seconds of the epoch, and its SHA-256
    until: float
    sha256: str


class IssuerLogins:
    """Begins and finishes logins. Asks only the issuer, over connections that nobody can read."""

    def __init__(self, issuers: Issuers) -> None:
        self._issuers = issuers
        self._slots = threading.BoundedSemaphore(CODES_AT_ONCE)

    def begin(self, issuer: Issuer, callback: str) -> tuple[BegunLogin, str]:
        """Return the login, and the URL at which the browser continues it. Raises LoginFailed if the issuer is away."""
        begun = BegunLogin(issuer.name, *(secrets.token_urlsafe(_SECRET_BYTES) for _ in range(3)))
        challenge = base64.urlsafe_b64encode(sha256(begun.verifier.encode()).digest()).rstrip(b"=")
        asked = httpx.QueryParams(
            response_type="code",
            client_id=issuer.client_id,
            redirect_uri=callback,
            scope=" ".join(["openid", *sorted(issuer.scopes)]),
            state=begun.state,
            nonce=begun.nonce,
            code_challenge=challenge.decode(),
            code_challenge_method="S256",
        )
        endpoint = self._endpoint(issuer, "authorization_endpoint")
        return begun, str(httpx.URL(endpoint).copy_merge_params(asked))

    def finish(self, issuer: Issuer, begun: BegunLogin, callback: str, answer: Mapping[str, str]) -> IssuerLogin:
        """Return the login for the answer that the browser brings from the issuer. Raises LoginFailed."""
        is_its_own = hmac.compare_digest(begun.state.encode(), answer.get("state", "").encode())
        if begun.issuer != issuer.name or not is_its_own or answer.get("iss", issuer.url) != issuer.url:
            raise LoginFailed("This login was begun elsewhere, or another one was begun since. Log in again.")
        if "code" not in answer:
            raise _refused(issuer, f"error={answer.get('error', '')}")
        tokens = self._tokens(issuer, answer["code"], callback, begun.verifier)
        known = self._issuers.claims(str(tokens.get("id_token")), issuer, issuer.client_id or "")
        access_token = str(tokens.get("access_token"))
        claims = self._issuers.claims(access_token, issuer, issuer.audience)
        if not _is_of_this_login(known, begun, issuer):
            raise _refused(issuer, "its id token is not of this login")
        if not claims or claims.get("sub", known.get("sub")) != known.get("sub"):
            raise _refused(issuer, f"its access token is no valid JWT for the audience {issuer.audience}")
        caller = caller_of(claims, issuer)
        if caller is None:
            raise LoginFailed(f"{issuer.name} knows you, but gives you none of the scopes that grant anything here.")
        return IssuerLogin(caller, issuer, float(claims["exp"]), digest_of(access_token))

    def _tokens(self, issuer: Issuer, code: str, callback: str, verifier: str) -> dict[str, Any]:
        """Return the answer to the code."""
        form = {
            "grant_type": "authorization_code",
            "code": code,
            "redirect_uri": callback,
            "code_verifier": verifier,
        }
        endpoint = self._endpoint(issuer, "token_endpoint")
        try:
            form, login = self._authenticated(issuer, form)
            with self._slot(), client_for(issuer) as client:
                return document(client, "POST", endpoint, data=form, auth=login)
        except httpx.HTTPStatusError as error:
            raise _refused(issuer, f"it answers the code with {error.response.status_code}") from error
        except (httpx.HTTPError, ValueError, OSError, LookupError) as error:
            raise _refused(issuer, str(error)) from error

    @contextmanager
    def _slot(self) -> Iterator[None]:
        """Raises LoginFailed if others have all slots."""
        if not self._slots.acquire(timeout=WAIT_SECONDS):
            raise LoginFailed("Others are logging in, and their issuer takes its time. Try again in a minute.")
        try:
            yield
        finally:
            self._slots.release()

    def _authenticated(self, issuer: Issuer, form: dict[str, str]) -> tuple[dict[str, str], httpx.BasicAuth | None]:
        """Return form and header with the name of the client, and its secret if it has one: in the header, unless the
        issuer takes it in the form alone. Raises LookupError if the secret cannot be read."""
        name = issuer.client_id or ""
        if issuer.client_secret is None:
            return {**form, "client_id": name}, None
        secret = issuer.client_secret.read()
        methods = self._issuers.endpoints(issuer).get("token_endpoint_auth_methods_supported")
        if isinstance(methods, list) and "client_secret_post" in methods and "client_secret_basic" not in methods:
            return {**form, "client_id": name, "client_secret": secret}, None
        return form, httpx.BasicAuth(quote(name, safe=""), quote(secret, safe=""))

    def _endpoint(self, issuer: Issuer, name: str) -> str:
        """Return the URL that the issuer has published. Raises LoginFailed if there is none that can be trusted."""
        url = str(self._issuers.endpoints(issuer).get(name, ""))
        if not url:
            raise LoginFailed(f"{issuer.name} does not answer at the moment. Try again in a minute.")
        if not is_private(url):
            raise _refused(issuer, f"its {name} is no https URL")
        return url


def _is_of_this_login(claims: Mapping[str, Any], begun: BegunLogin, issuer: Issuer) -> bool:
    """Whether the id token answers this login: it has its nonce, and was made for this client."""
    nonce = str(claims.get("nonce", ""))
    is_mine = claims.get("azp", issuer.client_id) == issuer.client_id
    return is_mine and isinstance(claims.get("sub"), str) and hmac.compare_digest(nonce.encode(), begun.nonce.encode())


def _refused(issuer: Issuer, why: str) -> LoginFailed:
    """Return the failure; why is in the log, for the operator."""
    log.warning("login-failed issuer=%s %s", issuer.name, printable(why)[:_LONGEST_DETAIL])
    return LoginFailed(f"The login at {issuer.name} has failed. Whoever runs the service finds the reason in the log.")
