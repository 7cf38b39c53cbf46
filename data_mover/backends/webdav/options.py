"""The options of a WebDAV server."""

from typing import Literal, Self

from pydantic import (
    model_validator,
)

from data_mover.backends.http.options import HttpLogin
from data_mover.backends.options import HostOptions, ReadablePath, StoreUrl
from data_mover.domain.urls import Url


class WebdavOptions(HttpLogin, HostOptions):
    """A server that speaks WebDAV; `root` is the path of a collection there."""

    protocol: Literal["webdav"]
    #: the server's URL without a path, like `"https://cloud.example.org"`; `root` is the path, like
    #: `"/remote.php/dav/files/mover"`
    endpoint: StoreUrl
    #: certificates to trust instead of the system's
    ca_file: ReadablePath | None = None

    @model_validator(mode="after")
    def _keeps_the_login_secret(self) -> Self:
        if self.endpoint.startswith("http://") and (self.bearer or self.password):
            raise ValueError("sends no secret without TLS; take https")
        Url.parse(self.endpoint)
        return self

    @property
    def origin(self) -> str:
        """The endpoint in the normal form of a Url."""
        return Url.parse(self.endpoint).origin
