"""An issuer of OpenID Connect: discovery, its public keys, tokens, and logins by the code flow."""

import base64
import hashlib
import json
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

from tests.servers.processes import LOOPBACK, free_port


class Issuer:
    """Signs whatever it is asked to; may be away, and change its keys."""

    def __init__(self, port: int) -> None:
        self.url = f"http://{LOOPBACK}:{port}/realms/campus"
        self.says_it_is = self.url
        self.is_away = False
        self.asked: list[str] = []
        #: called before each answer, which waits for it
        self.answers: Callable[[], object] = lambda: None
        self.keys: dict[str, Any] = {}
        self.renew_keys("1")
        #: the client as which people log in, with its secret if it has one, and where they may be led to
        self.client_id, self.client_secret = "page", ""
        self.callbacks: set[str] = set()
        #: what the tokens of whoever logs in say
        self.person: dict[str, Any] = {"preferred_username": "ann"}
        #: changes of what its endpoints, and the tokens of a login, are and say
        self.about: dict[str, Any] = {}
        self.id_claims: dict[str, Any] = {}
        self.access_claims: dict[str, Any] = {}
        #: what was asked at the login, by the code that was given for it
        self.codes: dict[str, dict[str, str]] = {}

    def renew_keys(self, generation: str) -> None:
        self.keys = {
            f"RS256-{generation}": rsa.generate_private_key(public_exponent=65537, key_size=2048),
            f"ES256-{generation}": ec.generate_private_key(ec.SECP256R1()),
            f"EdDSA-{generation}": ed25519.Ed25519PrivateKey.generate(),
        }

    def token(self, key_id: str, headers: dict[str, Any] | None = None, **claims: Any) -> str:
        """A token with the usual claims, changed by these; None leaves one out."""
        now = int(time.time())
        usual = {"iss": self.url, "aud": "data_mover", "sub": "42", "exp": now + 60, "iat": now, **claims}
        given = {name: value for name, value in usual.items() if value is not None}
        header = {"kid": key_id, **(headers or {})}
        return jwt.encode(given, self.keys[key_id], key_id.partition("-")[0], headers=header)

    def answer(self, path: str) -> dict[str, Any] | None:
        self.asked.append(path)
        self.answers()
        if self.is_away:
            return None
        if path.endswith("/.well-known/openid-configuration"):
            endpoints = {"authorization_endpoint": f"{self.url}/auth", "token_endpoint": f"{self.url}/token"}
            return {"issuer": self.says_it_is, "jwks_uri": f"{self.url}/certs", **endpoints, **self.about}
        return {"keys": [_public(key_id, key) for key_id, key in self.keys.items()]}

    def code_for(self, asked: dict[str, str]) -> str | None:
        """A code for whoever logs in; None if the request is none of a known client."""
        is_known = asked.get("client_id") == self.client_id and asked.get("redirect_uri") in self.callbacks
        is_whole = {"state", "nonce", "code_challenge"} <= asked.keys() and asked["code_challenge_method"] == "S256"
        if not is_known or not is_whole or asked["response_type"] != "code" or "openid" not in asked["scope"].split():
            return None
        code = secrets.token_urlsafe()
        self.codes[code] = asked
        return code

    def tokens_for(self, form: dict[str, str], authorization: str | None) -> dict[str, Any] | None:
        """The tokens for a code, once; None if the client is another one, or has not begun the login."""
        self.asked.append("/token")
        self.answers()
        asked = self.codes.pop(form.get("code", ""), None)
        digest = hashlib.sha256(form.get("code_verifier", "").encode()).digest()
        challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
        if asked is None or challenge != asked["code_challenge"] or form["redirect_uri"] != asked["redirect_uri"]:
            return None
        basic = base64.b64encode(f"{self.client_id}:{self.client_secret}".encode()).decode()
        if form.get("client_secret", "") != self.client_secret and authorization != f"Basic {basic}":
            return None
        ids = {"aud": self.client_id, "nonce": asked["nonce"], **self.person, **self.id_claims}
        access = {"scope": asked["scope"], **self.person, **self.access_claims}
        tokens = {"id_token": self.token("ES256-1", **ids), "access_token": self.token("RS256-1", **access)}
        return {**tokens, "token_type": "Bearer"}


def _public(key_id: str, key: Any) -> dict[str, Any]:
    of: dict[str, Any] = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}
    return {**of[key_id.partition("-")[0]].to_jwk(key.public_key(), as_dict=True), "kid": key_id, "use": "sig"}


def unsigned(**claims: Any) -> str:
    """A token that says it needs no signature."""
    parts = [json.dumps(each).encode() for each in ({"alg": "none", "typ": "JWT"}, claims)]
    return ".".join(base64.urlsafe_b64encode(each).rstrip(b"=").decode() for each in parts) + "."


#: where people log in; the form is sent to the URL of the page
LOGIN_PAGE = "<!doctype html><title>Campus</title><form method=post><button>I am Ann</button></form>"


def _fields(text: str) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(text).items()}


@contextmanager
def issuer_server() -> Iterator[Issuer]:
    port = free_port()
    issuer = Issuer(port)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/realms/campus/auth?"):
                self.answer(200, LOGIN_PAGE, "text/html")
            else:
                answer = issuer.answer(self.path)
                self.answer(503 if answer is None else 200, json.dumps(answer), "application/json")

        def do_POST(self) -> None:
            form = _fields(self.rfile.read(int(self.headers["Content-Length"])).decode())
            if self.path.startswith("/realms/campus/auth?"):
                asked = _fields(urlsplit(self.path).query)
                code = issuer.code_for(asked)
                back = urlencode({"code": code, "state": asked.get("state"), "iss": issuer.url})
                self.answer(303 if code else 400, "", "text/html", f"{asked.get('redirect_uri')}?{back}")
            else:
                tokens = issuer.tokens_for(form, self.headers["Authorization"])
                self.answer(200 if tokens else 400, json.dumps(tokens or {"error": "invalid"}), "application/json")

        def answer(self, status: int, text: str, content_type: str, location: str = "") -> None:
            self.send_response(status)
            self.send_header("Content-Type", content_type)
            if location:
                self.send_header("Location", location)
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *args: Any) -> None:
            """Say nothing."""

    with ThreadingHTTPServer((LOOPBACK, port), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield issuer
        finally:
            server.shutdown()
            thread.join()
