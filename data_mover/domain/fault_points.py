"""Fault points: named points at which a test makes a process die, stop or fail. For tests alone.

They are open only where the setting `data_mover.fault_points` is true and $DATA_MOVER_FAULTS names a directory. A file
in it is an order: its name is the point, its text is `kill`, `stop`, `hang` (the thread) or `raise`. Whoever of all
processes reaches the point first takes the order away and carries it out, once. The points: docs/reliability.md.
"""

import logging
import os
import signal
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

log = logging.getLogger(__name__)

_orders: Path | None = None


class FaultOrdered(Exception):
    """What `raise` raises; nothing in the product knows it."""


def open_to_orders() -> None:
    """Takes orders from now on, in this process and those that it forks; without $DATA_MOVER_FAULTS there are none."""
    global _orders
    directory = os.environ.get("DATA_MOVER_FAULTS")
    _orders = Path(directory) if directory else None


def reach(point: str) -> None:
    """This process has come to the point."""
    if _orders is not None and (action := _taken(_orders / point)):
        _carry_out(point, action)


class Passing:
    """The bytes of a file on their way: the point `sent-K` is reached once K of them, and no more, are passed on."""

    def __init__(self) -> None:
        self._passed = 0
        self._counts = [] if _orders is None else _byte_counts(_orders)

    def cut(self, block: bytes | memoryview) -> Iterable[bytes | memoryview]:
        """The next block, in as many pieces as there are points in it."""
        return self._pieces(memoryview(block)) if self._counts else (block,)

    def end(self) -> None:
        """All bytes have been passed on."""
        if self._counts:
            reach(f"sent-{self._passed}")

    def _pieces(self, rest: memoryview) -> Iterator[memoryview]:
        for count in [count for count in self._counts if self._passed <= count < self._passed + len(rest)]:
            yield from filter(None, [rest[: count - self._passed]])
            self._passed, rest = count, rest[count - self._passed :]
            reach(f"sent-{count}")
        yield rest
        self._passed += len(rest)


def _byte_counts(orders: Path) -> list[int]:
    return sorted(int(order.name.removeprefix("sent-")) for order in orders.glob("sent-*[0-9]"))


def _taken(order: Path) -> str | None:
    """What is ordered, if this process is the one that took the order away."""
    mine = order.with_name(f".{order.name}.{os.getpid()}")
    try:
        order.rename(mine)
    except FileNotFoundError:
        return None
    action = mine.read_text()
    mine.unlink()
    return action


def _carry_out(point: str, action: str) -> None:
    log.warning("fault-point %s %s", point, action)
    if action == "raise":
        raise FaultOrdered(point)
    if action == "hang":
        threading.Event().wait()
    os.kill(os.getpid(), {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}[action])
