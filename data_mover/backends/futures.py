"""Futures and lines: what the coroutines of this package await, whoever drives them.

A driver steps a coroutine with `send(None)`. It yields a `Future`; the coroutine is stepped again once that is done.
`complete` drives one coroutine, and blocks; `transfer.pipeline` drives many.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Generator
from typing import Any, TypeVar

T = TypeVar("T")

#: a coroutine whose driver knows what it yields
Way = Coroutine[Any, None, T]


class Future(ABC):
    """A result still to come, awaited by one coroutine."""

    __slots__ = ("_error", "is_done", "then")

    def __init__(self) -> None:
        self.is_done = False
        #: called once it is done; set by the driver
        self.then: Callable[[], None] | None = None
        self._error: BaseException | None = None

    def __await__(self) -> Generator["Future", None, None]:
        """Wait until it is done. Raises the error with which it was done."""
        if not self.is_done:
            yield self
        if self._error is not None:
            raise self._error

    def done(self, error: BaseException | None = None) -> None:
        """Resume the coroutine that awaits it, with the error if there is one."""
        if not self.is_done:
            self.is_done, self._error = True, error
            if self.then is not None:
                self.then()

    @abstractmethod
    def wait(self) -> None:
        """Block until it is done."""


def complete(way: Way[T]) -> T:
    """Run the coroutine to its end, blocking; return its result."""
    while True:
        try:
            future = way.send(None)
        except StopIteration as ended:
            result: T = ended.value
            return result
        try:
            future.wait()
        except Exception as error:  # it is the coroutine's to handle, where it awaits
            future.done(error)


class Line(ABC):
    """A connection with many requests in flight, which the driver of their coroutines flushes and reads.

    Raises nothing: errors are raised where a coroutine awaits an answer.
    """

    @property
    @abstractmethod
    def is_expecting(self) -> bool:
        """Whether an answer is still to come."""

    @property
    @abstractmethod
    def timeout_seconds(self) -> float | None:
        """How long the host may be silent while answers are expected."""

    @abstractmethod
    def listen(self, heard: Callable[[], None]) -> None:
        """Call `heard`, from another thread, whenever data has been received."""

    @abstractmethod
    def flush(self) -> None:
        """Send all requests that are ready, in as few packets as possible."""

    @abstractmethod
    def take_in(self) -> None:
        """Handle the data that has been received, without waiting for more."""

    @abstractmethod
    def break_off(self, error: BaseException) -> None:
        """End all that waits for an answer with the error; nothing more is sent."""
