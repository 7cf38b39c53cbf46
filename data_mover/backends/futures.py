"""Waiting without blocking: what the coroutines of this package await, whoever drives them.

A driver steps a coroutine with `send(None)`. What it yields is a `Future`; the coroutine is stepped again once that is
done. `complete` is the driver of one coroutine, which blocks; `transfer.pipeline` has many under way.
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
        """Raises the error with which it was done."""
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
        """Blocks until it is done."""


def complete(way: Way[T]) -> T:
    """Runs the coroutine to its end, alone and blocking, and returns its result."""
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
    """A connection with many requests in flight, to be attended to by the driver of the coroutines that made them.

    Nothing is raised here: whoever awaits an answer hears of what went wrong.
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
        """From now on `heard` is called, by another thread, when something has come in that is to be taken."""

    @abstractmethod
    def flush(self) -> None:
        """Sends all that is ready, in as few packets as hold it."""

    @abstractmethod
    def take_in(self) -> None:
        """Takes what has come in, without waiting for more."""

    @abstractmethod
    def break_off(self, error: BaseException) -> None:
        """Ends whatever waits for an answer with the error; nothing more is sent."""
