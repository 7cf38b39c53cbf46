"""Where the web process listens: `[server:main]` of the ini, and who may call there without a callers' file."""

import ipaddress
from collections.abc import Mapping

from data_mover.domain.errors import ConfigProblem, ConfigurationError

_WAY_OUT = "write listen = 127.0.0.1:PORT or unix_socket = /var/lib/data_mover/web.sock"


def who_may_call(server: Mapping[str, str], ini: str) -> str:
    """Return a sentence that says where the service listens and who may call it.

    Raises ConfigurationError if others than this machine could connect: with `data_mover.callers = none` nobody has to
    say who he is.
    """
    if "unix_socket" in server:
        return f"{server['unix_socket']}: whoever may write to this socket may call"
    addresses = _addresses(server)
    sentence = f"can be reached from other machines, and data_mover.callers = none; {_WAY_OUT}"
    problems = [ConfigProblem("listen", f"{each} {sentence}") for each in addresses if not _is_loopback(each)]
    if problems:
        raise ConfigurationError(ini, problems)
    where = " ".join(addresses)
    return f"{where}: every user and every program of this machine may call, a proxy on it for everybody it serves"


def _addresses(server: Mapping[str, str]) -> list[str]:
    """Waitress listens on all addresses unless it is told otherwise."""
    return server.get("listen", f"{server.get('host', '*')}:{server.get('port', 8080)}").split()


def _is_loopback(address: str) -> bool:
    host = address.rpartition(":")[0].strip("[]")
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
