"""The options of web servers."""

import re
from typing import Any, Literal, Self

from pydantic import (
    BaseModel,
    Field,
    PrivateAttr,
    model_validator,
)

from data_mover.backends.http.allowed_sites import Web
from data_mover.backends.options import HostOptions, NetworkAddress, ReadablePath, Root, Secret, Size
from data_mover.domain.urls import Url

#: headers of the protocol itself, and those that have keys of their own
_OWN_FIELDS = (
    "accept-encoding",
    "authorization",
    "connection",
    "content-length",
    "cookie",
    "host",
    "if-range",
    "range",
)


_FIELD_NAME = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]+")


class HttpLogin(BaseModel):
    """A login over HTTP: none, a bearer token, or username and password."""

    #: where a token is that is sent as `Authorization: Bearer …`: `env:NAME`, `file:/path` or `credential:NAME`
    bearer: Secret | None = None
    #: who logs in, by `Authorization: Basic …`
    username: str | None = None
    #: where the password is; in a cloud for people, one made for this program alone
    password: Secret | None = None

    @model_validator(mode="after")
    def _one_login(self) -> Self:
        if (self.username is None) != (self.password is None):
            raise ValueError("username and password need each other")
        if self.bearer and self.password:
            raise ValueError("takes bearer, or username and password, but not both")
        return self


class WebOptions(HostOptions):
    """How the web is read. A web server is a source only, and needs no login."""

    protocol: Literal["http", "https"]
    root: Root = "/"
    roles: tuple[Literal["source"]] = ("source",)
    #: a file that takes longer fails with `too-slow`
    total_timeout_seconds: float | None = Field(default=None, gt=0)
    #: a file that has more, like `"20GB"`, fails with `too-large`; where the server does not tell the size, 100 GB
    #: are the most in any case
    max_size: Size | None = None
    #: whether the server may name the files; else the last part of the URL does
    content_disposition: bool = False
    #: certificates to trust instead of the system's; the name is always verified
    ca_file: ReadablePath | None = None
    #: the other sites to which redirects may lead
    _web: Web = PrivateAttr(default_factory=Web)

    @property
    def web(self) -> Web:
        return self._web

    def within(self, web: Web) -> Self:
        """Return a copy of these options whose redirects may lead to the sites of a web."""
        options = self.model_copy()
        options._web = web
        return options


class HttpOptions(HttpLogin, WebOptions, NetworkAddress):
    """A web server. Its login is sent only to it, and never in clear."""

    #: where the whole `Cookie` field is
    cookie: Secret | None = None
    #: other fields, and where they are: `{ X-Api-Key = "file:/etc/data_mover/api-key" }`
    headers: dict[str, Secret] = Field(default_factory=dict)

    @model_validator(mode="before")
    @classmethod
    def _usual_port(cls, data: Any) -> Any:
        if isinstance(data, dict):
            return {"port": 80 if data.get("protocol") == "http" else 443, **data}
        return data

    @model_validator(mode="after")
    def _keeps_the_login_secret(self) -> Self:
        if self.protocol == "http" and (self.bearer or self.password or self.cookie or self.headers):
            raise ValueError("sends no secret without TLS; take https")
        return self

    @model_validator(mode="after")
    def _can_be_asked(self) -> Self:
        refused = [name for name in self.headers if not _FIELD_NAME.fullmatch(name) or name.lower() in _OWN_FIELDS]
        if refused:
            raise ValueError(f"headers cannot be set by these names: {', '.join(refused)}")
        Url.parse(self.origin)
        return self

    @property
    def origin(self) -> str:
        """Scheme, host and port, in the normal form of a Url."""
        host = f"[{self.address}]" if ":" in self.address else self.address
        return Url.parse(f"{self.protocol}://{host}:{self.port}").origin
