"""Fault points: named points at which a test makes a process die, stop or fail. For tests alone.

They are open only where the setting `data_mover.fault_points` is true and $DATA_MOVER_FAULTS names a directory. A file
in it is an order: its name is the point, its text is `kill`, `stop` or `raise`. Whoever of all processes reaches the
point first takes the order away and carries it out, once. The points: docs/reliability.md.
"""

import logging
import os
import signal
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


def passing(blocks: Iterable[bytes | memoryview]) -> Iterable[bytes | memoryview]:
    """The blocks, cut so that the point `sent-K` is reached once K bytes have been passed on and no more."""
    return blocks if _orders is None else _cut(blocks, _byte_counts(_orders))


def _cut(blocks: Iterable[bytes | memoryview], counts: list[int]) -> Iterator[memoryview]:
    passed = 0
    for block in blocks:
        rest = memoryview(block)
        for count in [count for count in counts if passed <= count < passed + len(rest)]:
            yield from filter(None, [rest[: count - passed]])
            passed, rest = count, rest[count - passed :]
            reach(f"sent-{count}")
        yield rest
        passed += len(rest)
    reach(f"sent-{passed}")


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
    os.kill(os.getpid(), {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}[action])
