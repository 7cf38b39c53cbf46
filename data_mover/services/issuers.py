"""Callers of OpenID Connect: JWTs of registered issuers, verified by the issuers' own keys."""

import json
import logging
import ssl
import threading
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import httpx
import jwt
from jwt import PyJWK, PyJWKSet
from jwt.exceptions import PyJWTError

from data_mover.config.callers import Caller, Issuer

log = logging.getLogger(__name__)

#: signatures by key pairs; with a shared key whoever can verify could sign
ALGORITHMS = ("RS256", "ES256", "EdDSA")
#: how far the issuer's clock may be off
LEEWAY_SECONDS = 10
FETCH_TIMEOUT_SECONDS = 3.0
#: how old keys may be before they are fetched again; if that fails, they stay in force
KEPT_SECONDS = 3600.0
#: how often keys are fetched at most, whatever tokens name
FETCH_AGAIN_SECONDS = 30.0
#: how long a token of an unknown key waits while another request fetches the keys; one of a known key does not wait
WAIT_SECONDS = 1.0
#: what reading a token may raise
_WRONG = (PyJWTError, ValueError, KeyError, TypeError, RecursionError)
_LONGEST_TOKEN, _LONGEST_ANSWER_BYTES, _MOST_KEYS = 16 * 1024, 2**18, 50
_LONGEST_NAME = 150


class Issuers:
    """Verifies JWTs. Keys are fetched when they are needed, and kept while the issuer is away."""

    def __init__(self) -> None:
        #: by the issuer's URL, and what is trusted there
        self._known = dict[tuple[str, Path | None], Published]()
        self._changing = threading.Lock()

    def authenticated(self, token: str, issuers: Mapping[str, Issuer]) -> Caller | None:
        """Return the caller if the token is a valid one of an issuer, and has one of its scopes."""
        try:
            _, unverified = _unverified(token)
        except _WRONG:
            return None
        named = [each for each in issuers.values() if each.url == unverified.get("iss")]
        callers = (caller_of(self.claims(token, issuer, issuer.audience), issuer) for issuer in named)
        return next((caller for caller in callers if caller is not None), None)

    def claims(self, token: str, issuer: Issuer, audience: str) -> dict[str, Any]:
        """Return the claims of the token; none unless it is a valid one of this issuer for this audience."""
        try:
            header, _ = _unverified(token)
            key = self._published(issuer).key(header.get("kid"), str(header["alg"]))
            return _verified(token, key, issuer, audience) if key else {}
        except _WRONG:
            return {}

    def endpoints(self, issuer: Issuer) -> Mapping[str, Any]:
        """Return what the issuer has published about itself; nothing if it was away whenever it was asked."""
        return self._published(issuer).about()

    def _published(self, issuer: Issuer) -> "Published":
        known_as = issuer.url, issuer.ca_file
        with self._changing:
            if known_as not in self._known:
                self._known[known_as] = Published(issuer)
            return self._known[known_as]


def caller_of(claims: Mapping[str, Any], issuer: Issuer) -> Caller | None:
    """Return the caller that the claims of a valid token name, if the token has one of the issuer's scopes."""
    name = _name(claims, issuer)
    return issuer.caller_of(name, _scopes(claims)) if name else None


class Published:
    """What an issuer has published, found by discovery: its public keys, and its endpoints."""

    def __init__(self, issuer: Issuer) -> None:
        self._issuer = issuer
        self._fetching = threading.Lock()
        self._keys = list[PyJWK]()
        self._about: Mapping[str, Any] = {}
        self._fetched_at = self._tried_at = float("-inf")

    def key(self, key_id: str | None, algorithm: str) -> PyJWK | None:
        """Return the key of that id, or the only one for the algorithm if the token names none. Fetches the keys if it
        is not among them, or they are old."""
        if algorithm not in ALGORITHMS:
            return None
        found = self._found(key_id, algorithm)
        if found is None or self._is_old():
            self._renew(wait_seconds=WAIT_SECONDS if found is None else 0)
        return self._found(key_id, algorithm)

    def about(self) -> Mapping[str, Any]:
        """Return the issuer's metadata. Fetches them if they are not known, or are old."""
        if self._is_old():
            self._renew(wait_seconds=0 if self._about else WAIT_SECONDS)
        return self._about

    def _is_old(self) -> bool:
        return time.monotonic() - self._fetched_at > KEPT_SECONDS

    def _renew(self, wait_seconds: float) -> None:
        """Fetch all. Waits so long, and no longer, for another request that does so."""
        if self._fetching.acquire(timeout=wait_seconds):
            try:
                self._fetch()
            finally:
                self._fetching.release()

    def _found(self, key_id: str | None, algorithm: str) -> PyJWK | None:
        keys = [key for key in self._keys if key.algorithm_name == algorithm and key_id in (None, key.key_id)]
        return keys[0] if len(keys) == 1 else None

    def _fetch(self) -> None:
        """Fetch metadata and keys, unless that was tried a moment ago. Hold `_fetching`."""
        if time.monotonic() - self._tried_at < FETCH_AGAIN_SECONDS:
            return
        self._tried_at = time.monotonic()
        try:
            with client_for(self._issuer) as client:
                found = document(client, "GET", f"{self._issuer.url.rstrip('/')}/.well-known/openid-configuration")
                if found.get("issuer") != self._issuer.url:
                    raise ValueError(f"it says that it is {found.get('issuer')!r:.200}")
                keys = document(client, "GET", str(found["jwks_uri"]))
            self._keys, self._about = _usable_keys(keys), found
            self._fetched_at = time.monotonic()
            log.info("issuer-keys-fetched issuer=%s keys=%d", self._issuer.name, len(self._keys))
        except (httpx.HTTPError, PyJWTError, ValueError, KeyError, TypeError, OSError) as error:
            log.warning("issuer-away issuer=%s known keys stay in force: %s", self._issuer.name, error)


def _unverified(token: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return header and claims as the token has them, to find the issuer. Raises PyJWTError or ValueError."""
    if len(token) > _LONGEST_TOKEN:
        raise ValueError("the token is too long")
    claims = jwt.decode(token, options={"verify_signature": False})
    return jwt.get_unverified_header(token), claims


def _verified(token: str, key: PyJWK, issuer: Issuer, audience: str) -> dict[str, Any]:
    """Return the claims. Raises PyJWTError unless signature, issuer, audience and times are right."""
    claims: dict[str, Any] = jwt.decode(
        token,
        key,
        algorithms=list(ALGORITHMS),
        issuer=issuer.url,
        audience=audience,
        leeway=LEEWAY_SECONDS,
        options={"require": ["exp", "iss", "aud"]},
    )
    return claims


def _name(claims: Mapping[str, Any], issuer: Issuer) -> str | None:
    """Return the claim that names the caller, if it is a name."""
    name = claims.get(issuer.claim)
    is_name = isinstance(name, str) and 0 < len(name) <= _LONGEST_NAME and name.isprintable()
    return name if is_name else None


def _scopes(claims: Mapping[str, Any]) -> frozenset[str]:
    """Return the scopes: text with spaces in between (RFC 9068), or a list, as some issuers have it."""
    found = claims.get("scope", claims.get("scp", ""))
    listed = found.split() if isinstance(found, str) else found if isinstance(found, list) else []
    return frozenset(each for each in listed if isinstance(each, str))


def client_for(issuer: Issuer) -> httpx.Client:
    """Return a client that trusts the issuer by the system's certificates, or those of its file."""
    trusted = ssl.create_default_context(cafile=issuer.ca_file) if issuer.ca_file else True
    return httpx.Client(timeout=FETCH_TIMEOUT_SECONDS, verify=trusted, follow_redirects=False)


def document(client: httpx.Client, method: str, url: str, **options: Any) -> dict[str, Any]:
    """Return the JSON object with which the URL answers. Raises HTTPError or ValueError."""
    with client.stream(method, url, **options) as answer:
        answer.raise_for_status()
        body = bytearray()
        for piece in answer.iter_bytes():
            body += piece
            if len(body) > _LONGEST_ANSWER_BYTES:
                raise ValueError(f"{url} sends more than {_LONGEST_ANSWER_BYTES} bytes")
    found = json.loads(body)
    if not isinstance(found, dict):
        raise ValueError(f"{url} sends no JSON object")
    return found


def _usable_keys(document: dict[str, Any]) -> list[PyJWK]:
    """Return the keys that sign by one of the algorithms."""
    listed = [each for each in document["keys"] if isinstance(each, dict) and each.get("use", "sig") == "sig"]
    keys = PyJWKSet.from_dict({"keys": listed[:_MOST_KEYS]}).keys
    return [key for key in keys if key.algorithm_name in ALGORITHMS]
