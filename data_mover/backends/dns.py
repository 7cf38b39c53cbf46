"""Where a host is on the network."""

import errno
import socket
import threading
from queue import Empty, SimpleQueue
from typing import Any

from data_mover.backends.options import NetworkAddress
from data_mover.domain.errors import HostUnreachable

Address = tuple[socket.AddressFamily, Any]


def resolved(host: str, options: NetworkAddress) -> list[Address]:
    """The families and addresses of the host, at least one. HostUnreachable if there is none, or none in time.

    The system's resolver knows no time-out: it is asked in a thread, which is left alone when it takes too long.
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
    """In words, what the system says of an address that could not be connected to."""
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
    """A name that cannot be one at all is a UnicodeError."""
    try:
        found = socket.getaddrinfo(options.address, options.port, type=socket.SOCK_STREAM)
        answers.put([(family, address) for family, _, _, _, address in found])
    except (OSError, UnicodeError) as error:
        answers.put(error)
