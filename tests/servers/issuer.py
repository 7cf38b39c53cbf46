"""An issuer of OpenID Connect: discovery, its public keys, and tokens."""

import base64
import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

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
            return {"issuer": self.says_it_is, "jwks_uri": f"{self.url}/certs"}
        return {"keys": [_public(key_id, key) for key_id, key in self.keys.items()]}


def _public(key_id: str, key: Any) -> dict[str, Any]:
    of: dict[str, Any] = {"RS256": RSAAlgorithm, "ES256": ECAlgorithm, "EdDSA": OKPAlgorithm}
    return {**of[key_id.partition("-")[0]].to_jwk(key.public_key(), as_dict=True), "kid": key_id, "use": "sig"}


def unsigned(**claims: Any) -> str:
    """A token that says it needs no signature."""
    parts = [json.dumps(each).encode() for each in ({"alg": "none", "typ": "JWT"}, claims)]
    return ".".join(base64.urlsafe_b64encode(each).rstrip(b"=").decode() for each in parts) + "."


@contextmanager
def issuer_server() -> Iterator[Issuer]:
    port = free_port()
    issuer = Issuer(port)

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            answer = issuer.answer(self.path)
            self.send_response(503 if answer is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps(answer).encode())

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
