"""Fault points: named points at which a test makes a process die, stop or fail. For tests alone.

They are active only if the setting `data_mover.fault_points` is true and $DATA_MOVER_FAULTS names a directory. A file
in it is an order: its name is the point, its text is `kill`, `stop`, `hang` (the thread) or `raise`. The first process
that reaches the point removes the order and carries it out, once. The points: docs/explanation/guarantees.md.
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
    """Raised by the order `raise`; never caught by name."""


def open_to_orders() -> None:
    """Take orders from now on, in this process and those that it forks; without $DATA_MOVER_FAULTS there are none."""
    global _orders
    directory = os.environ.get("DATA_MOVER_FAULTS")
    _orders = Path(directory) if directory else None


def reach(point: str) -> None:
    """Carry out the order for this point, if there is one."""
    if _orders is not None and (action := _taken(_orders / point)):
        _carry_out(point, action)


class Passing:
    """The bytes of a file that is sent: the point `sent-K` is reached once exactly K of them are passed on."""

    def __init__(self) -> None:
        self._passed = 0
        self._counts = [] if _orders is None else _byte_counts(_orders)

    def cut(self, block: bytes | memoryview) -> Iterable[bytes | memoryview]:
        """Return the next block, cut at the points in it."""
        return self._pieces(memoryview(block)) if self._counts else (block,)

    def end(self) -> None:
        """Reach the last point: all bytes have been passed on."""
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
    """Return the order's text, if this process has removed the order first."""
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
