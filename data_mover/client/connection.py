"""Requests to the service, and their answers or errors."""

from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self
from urllib.parse import urlsplit

import httpx

from data_mover.client.errors import NotAllowed, NotAuthenticated, Rejected, ServiceUnavailable

#: the longest wait that the service grants in one request
LONGEST_WAIT_SECONDS = 30
_TIMEOUT = httpx.Timeout(LONGEST_WAIT_SECONDS + 15, connect=10)
_BUSY = (429, 502, 503, 504)


class Connection:
    """Sends JSON requests to the service at a URL like `https://host`, or at a Unix socket like
    `unix:/var/lib/data_mover/web.sock`; also accepts the XML-RPC URL."""

    def __init__(self, url: str, token: str | None) -> None:
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        socket, base_url = _socket(url), _api(url)
        transport = httpx.HTTPTransport(uds=socket) if socket else None
        self._name = url if socket else base_url
        self._http = httpx.Client(
            base_url=base_url, headers=headers, timeout=_TIMEOUT, trust_env=False, transport=transport
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._http.close()

    def get(self, path: str, query: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the answer; parameters that are None are left out."""
        given = {name: value for name, value in (query or {}).items() if value is not None}
        return self._answer("GET", path, params=given)

    def post(self, path: str, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        return self._answer("POST", path, json=body or {})

    def _answer(self, method: str, path: str, **content: Any) -> dict[str, Any]:
        try:
            response = self._http.request(method, path, **content)
        except httpx.HTTPError as error:
            raise ServiceUnavailable(f"{self._name} does not answer: {error}") from error
        if response.is_error:
            raise _error(response)
        return _struct(response)


def _socket(url: str) -> str | None:
    """Return the path of the Unix socket that the URL names, if it names one."""
    path = url.removeprefix("unix:")
    return None if path == url else f"/{path.lstrip('/')}"


def _api(url: str) -> str:
    if _socket(url) is not None:
        return "http://localhost/api/v1"
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc:
        raise ValueError("the URL of the service must be like https://host or unix:/var/lib/data_mover/web.sock")
    return f"{parts.scheme}://{parts.netloc}{parts.path.rstrip('/').removesuffix('/data_mover')}/api/v1"


def _error(response: httpx.Response) -> Exception:
    problem = _problem(response)
    reason = str(problem.get("reason", f"HTTP {response.status_code}"))
    if response.status_code == 401:
        return NotAuthenticated(reason)
    if response.status_code == 403:
        return NotAllowed(reason)
    if response.status_code in _BUSY or response.status_code >= 500:
        return ServiceUnavailable(reason)
    return Rejected(reason, str(problem.get("code", response.status_code)), problem.get("field"))


def _problem(response: httpx.Response) -> dict[str, Any]:
    try:
        return _struct(response)
    except ServiceUnavailable:
        return {}


def _struct(response: httpx.Response) -> dict[str, Any]:
    """Return the JSON object. Raises ServiceUnavailable if another program has answered."""
    try:
        answer = response.json()
    except ValueError:
        answer = None
    if not isinstance(answer, dict):
        raise ServiceUnavailable(f"{response.url} does not answer in JSON; is the URL that of the service?")
    return answer
