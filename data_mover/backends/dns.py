"""Where a host is on the network."""

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
        raise HostUnreachable(f"{host}: its address is not known") from answer
    return answer


def _resolve(options: NetworkAddress, answers: SimpleQueue[list[Address] | Exception]) -> None:
    """A name that cannot be one at all is a UnicodeError."""
    try:
        found = socket.getaddrinfo(options.address, options.port, type=socket.SOCK_STREAM)
        answers.put([(family, address) for family, _, _, _, address in found])
    except (OSError, UnicodeError) as error:
        answers.put(error)
