"""The addresses of the web process: `[server:main]` of the ini, and who may call there."""

import ipaddress
from collections.abc import Mapping
from pathlib import Path
from typing import Self

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from data_mover.domain.errors import ConfigProblem, ConfigurationError
from data_mover.domain.problems import problems_of

_WAY_OUT = "write listen = 127.0.0.1:PORT or unix_socket = /var/lib/data_mover/web.sock"


class Bounds(BaseModel):
    """The limits of one client and of all clients."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    #: connections at a time; beyond it the one that has waited longest for a request is closed
    connection_limit: int = Field(1000, ge=2)
    #: connections from one address, by default half of all; does not apply to a Unix socket
    connections_per_address: int | None = Field(None, ge=1)
    #: how long a request may take to arrive
    request_seconds: float = Field(60, gt=0)

    @classmethod
    def of(cls, server: Mapping[str, str], ini: str) -> Self:
        """Return the limits of `[server:main]`. Raises ConfigurationError."""
        try:
            return cls.model_validate({key: server[key] for key in cls.model_fields.keys() & server.keys()})
        except ValidationError as error:
            raise ConfigurationError(ini, problems_of(error)) from None

    @property
    def most_of_an_address(self) -> int:
        return self.connections_per_address or self.connection_limit // 2


def who_may_call(server: Mapping[str, str], ini: str, callers: Path | None) -> str:
    """Return a sentence that says where the service listens and who may call it. `callers` is the callers' file.

    Raises ConfigurationError if other machines could connect and there is none: no caller has to authenticate then.
    """
    if callers is not None:
        where = server.get("unix_socket") or " ".join(_addresses(server))
        return f"{where}: callers with a token that {callers} knows"
    if "unix_socket" in server:
        return f"{server['unix_socket']}: whoever may write to this socket may call"
    addresses = _addresses(server)
    sentence = f"can be reached from other machines, and data_mover.callers = none; {_WAY_OUT}, or name a callers' file"
    problems = [ConfigProblem("listen", f"{each} {sentence}") for each in addresses if not _is_loopback(each)]
    if problems:
        raise ConfigurationError(ini, problems)
    where = " ".join(addresses)
    return f"{where}: every user and every program of this machine may call, a proxy on it for everybody it serves"


def local_address(server: Mapping[str, str]) -> tuple[str | None, str]:
    """Return the Unix socket of `[server:main]`, or None, and the URL by which this machine reaches the service."""
    if "unix_socket" in server:
        return server["unix_socket"], "http://localhost"
    host, _, port = _addresses(server)[0].rpartition(":")
    return None, f"http://{_reachable(host)}:{port}"


def _addresses(server: Mapping[str, str]) -> list[str]:
    """Return the addresses; waitress listens on all of them by default."""
    return server.get("listen", f"{server.get('host', '*')}:{server.get('port', 8080)}").split()


def _reachable(host: str) -> str:
    """Return the host, or the loopback address if it stands for all addresses."""
    try:
        address = ipaddress.ip_address("::" if host == "*" else host.strip("[]"))
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "[::1]" if address.version == 6 and host != "*" else "127.0.0.1"


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
