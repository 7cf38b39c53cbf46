"""The network addresses of hosts."""

import errno
import socket
import threading
from queue import Empty, SimpleQueue
from typing import Any

from data_mover.backends.options import NetworkAddress
from data_mover.domain.errors import HostUnreachable

Address = tuple[socket.AddressFamily, Any]


def resolved(host: str, options: NetworkAddress) -> list[Address]:
    """Return the families and addresses of the host, at least one. Raises HostUnreachable if none is found in time.

    The system's resolver has no time-out: it runs in a thread, which is abandoned if it takes too long.
    """
    answers: SimpleQueue[list[Address] | Exception] = SimpleQueue()
    threading.Thread(target=_resolve, args=(options, answers), name=f"resolve {host}", daemon=True).start()
    try:
        answer = answers.get(timeout=options.connect_timeout_seconds)
    except Empty as error:
        raise HostUnreachable(f"{host}: its address is not found in time") from error
    if isinstance(answer, Exception):
        raise HostUnreachable(f"{host}: its name is not known to this machine's resolver") from answer
    return answer


def why_unreachable(error: BaseException | None) -> str:
    """Return in words why the system could not connect to an address."""
    match error:
        case ConnectionRefusedError():
            return "it refuses the connection; nothing listens at this address and port"
        case TimeoutError():
            return "it does not answer in time; a firewall may be in the way"
        case OSError(errno=errno.ENETUNREACH | errno.EHOSTUNREACH):
            return "there is no way through the network to its address"
        case _:
            return "the connection fails"


def _resolve(options: NetworkAddress, answers: SimpleQueue[list[Address] | Exception]) -> None:
    """Resolve the name. An invalid one raises UnicodeError."""
    try:
        found = socket.getaddrinfo(options.address, options.port, type=socket.SOCK_STREAM)
        answers.put([(family, address) for family, _, _, _, address in found])
    except (OSError, UnicodeError) as error:
        answers.put(error)
