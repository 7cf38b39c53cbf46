"""Many files on their way at a time, in one thread: each by its coroutine, all over the same connections.

Why not asyncio: `docs/decisions/0018-many-files-in-flight.md`.
"""

import queue
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from data_mover.backends.futures import Line, Way
from data_mover.domain.errors import AttemptEnded

#: files are under way as long as they have no more bytes than these together, so that memory is bounded; a larger one
#: goes alone, and so does one of which nobody knows how large it is
MOST_BYTES = 16 * 2**20


@dataclass(frozen=True)
class Move:
    """The way of a file that has not begun, and how many bytes it counts for."""

    way: Way[None]
    size_bytes: int | None


class Journal(Protocol):
    """Where files wait until what they have to record is written for all of them together."""

    def turn(self, under_way: int, is_quiet: bool) -> None:
        """Everything that can go on has done so. Of so many files under way the others wait for a host; it is quiet
        where no answer of a host is to come."""


class Pipeline:
    """Steps the ways of files until each waits, sends all that they have to send at once, and waits for answers."""

    def __init__(self, lines: Callable[[], Sequence[Line]], journal: Journal, most_files: int) -> None:
        """`lines` are those of all connections, of which there may be more later."""
        self._connected = lines
        self._lines: list[Line] = []
        self._journal = journal
        self._most_files = most_files
        self._ready: deque[tuple[Way[None], int]] = deque()
        self._heard: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._files = self._bytes = 0
        self._errors: list[Exception] = []

    def run(self, moves: Iterator[Move]) -> None:
        """Runs the ways to their ends. After an exception no further one is begun; it is raised when those under way
        have come to their ends, which a fence or a cancellation makes soon."""
        waiting = self._admit(moves, next(moves, None))
        while self._files:
            self._step()
            waiting = self._admit(moves, waiting)
            if not self._ready:
                self._wait()
        if self._errors:
            raise next((error for error in self._errors if isinstance(error, AttemptEnded)), self._errors[0])

    def _admit(self, moves: Iterator[Move], following: Move | None) -> Move | None:
        """Begins as many of the following as may be under way; returns the first that has to wait."""
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
        """Lets each that is ready go as far as it can without waiting."""
        while self._ready:
            way, weight = self._ready.popleft()
            try:
                future = way.send(None)
            except StopIteration:
                self._ended(weight)
            except (
                Exception
            ) as error:  # one place decides what becomes of the attempt; the others end their files first
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
        """Waits for answers as long as the hosts may take."""
        expecting = self._expecting()
        try:
            self._heard.get(timeout=max((line.timeout_seconds or 0 for line in expecting), default=0))
        except queue.Empty:
            for line in expecting:
                line.break_off(TimeoutError())
        while not self._heard.empty():
            self._heard.get()
        for line in self._lines:
            line.take_in()
