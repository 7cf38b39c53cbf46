"""Many files in flight in one thread: a coroutine per file, all over the same connections.

Why not asyncio: `docs/decisions/0018-many-files-in-flight.md`.
"""

import queue
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from data_mover.backends.futures import Line, Way
from data_mover.domain.errors import AttemptEnded

#: the most bytes of all files in flight together, which bounds memory; a larger file, or one of unknown size, runs
#: alone
MOST_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Move:
    """The coroutine of a file that has not begun, and the file's size."""

    way: Way[None]
    size_bytes: int | None


class Journal(Protocol):
    """The journal in which files wait until one transaction has the entries of all of them."""

    def turn(self, under_way: int, is_quiet: bool) -> None:
        """Write the batch if it is due; called when no file can run. `under_way` files are in flight; those without an
        entry here wait for a host. `is_quiet` is true if no answer of a host is expected."""


class Pipeline:
    """Steps each coroutine until it waits, sends the requests of all at once, and waits for answers."""

    def __init__(self, lines: Callable[[], Sequence[Line]], journal: Journal, most_files: int) -> None:
        """`lines` returns the lines of all connections made so far."""
        self._connected = lines
        self._lines: list[Line] = []
        self._journal = journal
        self._most_files = most_files
        self._ready: deque[tuple[Way[None], int]] = deque()
        self._heard: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._files = self._bytes = 0
        self._errors: list[Exception] = []

    def run(self, moves: Iterator[Move]) -> None:
        """Run all to their ends. After an exception no further file begins; it is raised once those in flight have
        ended. A fence or a cancellation ends them soon."""
        waiting = self._admit(moves, next(moves, None))
        while self._files:
            self._step()
            waiting = self._admit(moves, waiting)
            if self._files and not self._ready:
                self._wait()
        if self._errors:
            raise next((error for error in self._errors if isinstance(error, AttemptEnded)), self._errors[0])

    def _admit(self, moves: Iterator[Move], following: Move | None) -> Move | None:
        """Begin as many files as may be in flight; return the first that has to wait."""
        while following is not None and not self._errors and self._has_room(following):
            weight = MOST_BYTES if following.size_bytes is None else following.size_bytes
            self._files += 1
            self._bytes += weight
            self._ready.append((following.way, weight))
            following = next(moves, None)
        if following is not None and self._errors:
            following.way.close()
            return None
        return following

    def _has_room(self, move: Move) -> bool:
        weight = MOST_BYTES if move.size_bytes is None else move.size_bytes
        return not self._files or (self._files < self._most_files and self._bytes + weight <= MOST_BYTES)

    def _step(self) -> None:
        """Run each coroutine that is ready until it waits."""
        while self._ready:
            way, weight = self._ready.popleft()
            try:
                future = way.send(None)
            except StopIteration:
                self._ended(weight)
            except Exception as error:  # raised by `run` once the other files have ended
                self._errors.append(error)
                self._ended(weight)
            else:
                future.then = self._stepping(way, weight)

    def _ended(self, weight: int) -> None:
        self._files -= 1
        self._bytes -= weight

    def _stepping(self, way: Way[None], weight: int) -> Callable[[], None]:
        return lambda: self._ready.append((way, weight))

    def _wait(self) -> None:
        self._attend()
        for line in self._lines:
            line.flush()
        if not self._ready:
            self._journal.turn(self._files, is_quiet=not self._expecting())
        if not self._ready:
            self._listen()

    def _attend(self) -> None:
        for line in self._connected():
            if line not in self._lines:
                line.listen(lambda: self._heard.put(None))
                self._lines.append(line)

    def _expecting(self) -> list[Line]:
        return [line for line in self._lines if line.is_expecting]

    def _listen(self) -> None:
        """Wait for answers, as long as the time-outs of the hosts allow."""
        expecting = self._expecting()
        if not expecting:
            raise RuntimeError("files wait, and no host has a request to answer")
        try:
            self._heard.get(timeout=max((line.timeout_seconds or 0 for line in expecting), default=0))
        except queue.Empty:
            for line in expecting:
                line.break_off(TimeoutError())
        while not self._heard.empty():
            self._heard.get()
        for line in self._lines:
            line.take_in()
