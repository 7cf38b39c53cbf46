"""Moves: submit and follow them."""

import time
from collections.abc import Callable, Iterator
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import quote
from uuid import uuid4

from data_mover.client.connection import LONGEST_WAIT_SECONDS, Connection
from data_mover.client.errors import MoveFailed, ServiceUnavailable

TERMINAL = ("COMPLETED", "FAILED", "CANCELLED")
#: the interval of requests for a move's progress
PROGRESS_SECONDS = 0.5
#: how often a new move is sent while the service does not answer, and the pause, which grows with each try
TRIES = 3
PAUSE_SECONDS = 0.5
#: how long a wait survives a service that does not answer, as while it is started again
OUTAGE_SECONDS = 60.0

Answer = dict[str, Any]
Answers = list[Answer]
Progress = Callable[["Move"], None]
T = TypeVar("T")


def patiently(look: Callable[[], T], until: float) -> T:
    """Return what `look` returns, as soon as the service answers.

    Re-raises ServiceUnavailable once it has not answered for OUTAGE_SECONDS, or at `until` by `time.monotonic`.
    """
    gives_up_at: float | None = None
    while True:
        try:
            return look()
        except ServiceUnavailable:
            gives_up_at = gives_up_at or min(until, time.monotonic() + OUTAGE_SECONDS)
            if time.monotonic() >= gives_up_at:
                raise
            time.sleep(PAUSE_SECONDS)


class Move:
    """A submitted move. `answer` is the last one of the service; `refresh` requests a new one."""

    def __init__(self, connection: Connection, answer: Answer) -> None:
        self._connection = connection
        self.answer = answer

    def __repr__(self) -> str:
        return f"<Move {self.id} {self.status}>"

    @property
    def id(self) -> int:
        return int(self.answer["id"])

    @property
    def status(self) -> str:
        """PENDING, IN_PROGRESS, COMPLETED, FAILED or CANCELLED."""
        return str(self.answer["status"])

    @property
    def ended(self) -> bool:
        return self.status in TERMINAL

    def refresh(self) -> Self:
        """Request the present state of the move."""
        return self._look(0)

    def wait(self, timeout: float | None = None, progress: Progress | None = None) -> Self:
        """Return the move once it is COMPLETED; call `progress` with it at intervals.

        Raises MoveFailed if it has ended otherwise, and TimeoutError after `timeout` seconds; the move then continues.
        A service that does not answer for less than OUTAGE_SECONDS meanwhile is asked again.
        """
        until = float("inf") if timeout is None else time.monotonic() + timeout
        longest = PROGRESS_SECONDS if progress else LONGEST_WAIT_SECONDS
        patiently(self.refresh, until)
        while not self.ended:
            left = min(longest, until - time.monotonic())
            if left <= 0:
                raise TimeoutError(f"move {self.id} is still {self.status}")
            if progress is not None:
                progress(self)
            patiently(partial(self._look, left), until)
        if progress is not None:
            progress(self)
        if self.status != "COMPLETED":
            raise MoveFailed(self.answer)
        return self

    def cancel(self) -> Self:
        """Cancel the move. Raises Rejected if it is too late."""
        self.answer = self._connection.post(f"/moves/{self.id}/cancel")
        return self

    def retry(self) -> "Move":
        """Submit this failed or cancelled move again; return the new one."""
        return Move(self._connection, self._connection.post(f"/moves/{self.id}/retry"))

    def files(self, state: str | None = None) -> Iterator[Answer]:
        """Yield the files of the move, those in a state or all."""
        after = -1
        while True:
            page = self._connection.get(f"/moves/{self.id}/files", {"state": state, "after": after, "limit": 1000})
            yield from page["files"]
            if page["next"] is None:
                return
            after = page["files"][-1]["number"]

    def events(self, after: int = 0) -> Answers:
        """Return the events of the move after that number."""
        events: Answers = self._connection.get(f"/moves/{self.id}/events", {"after": after})["events"]
        return events

    def explain(self) -> Answer:
        """Return what the move waits for, and who can release it."""
        return self._connection.get(f"/moves/{self.id}/explain")

    def _look(self, seconds: float) -> Self:
        """Request the move; the service waits with its answer, and may answer earlier if many calls wait."""
        begun = time.monotonic()
        self.answer = self._connection.get(f"/moves/{self.id}", {"wait": round(seconds, 3)} if seconds else None)
        if not self.ended:
            time.sleep(max(0.0, min(seconds, PROGRESS_SECONDS) - (time.monotonic() - begun)))
        return self


class Client:
    """The service at a URL. Threads may share it."""

    def __init__(self, url: str, token: str | None = None) -> None:
        self._connection = Connection(url, token)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        self._connection.close()

    def move(self, source: Any, destination: Any = None, **options: Any) -> Move:
        """Submit a move. Without a destination the default one is used.

        Sends a new key, so that a request whose answer was lost can be repeated without a second move. Raises Rejected,
        NotAuthenticated, NotAllowed or ServiceUnavailable.
        """
        body = _request(source, destination, {"key": uuid4().hex, **options})
        for pause in [PAUSE_SECONDS * (number + 1) for number in range(TRIES - 1)]:
            try:
                return Move(self._connection, self._connection.post("/moves", body))
            except ServiceUnavailable:
                time.sleep(pause)
        return Move(self._connection, self._connection.post("/moves", body))

    def plan(self, source: Any, destination: Any = None, **options: Any) -> Answer:
        """Return what `move` would do, without doing it. If `complete` is false, ask again."""
        return self._connection.post("/plan", _request(source, destination, options))

    def get(self, move_id: int) -> Move:
        """Return the move of that id. Raises Rejected if there is none."""
        return Move(self._connection, self._connection.get(f"/moves/{int(move_id)}"))

    def list(self, **filter: Any) -> Iterator[Move]:
        """Yield the caller's moves, the newest first: all, or those of status, phase, host, label, since, until,
        before."""
        before = filter.pop("before", None)
        while True:
            page = self._connection.get("/moves", {**filter, "before": before})
            for answer in page["moves"]:
                yield Move(self._connection, answer)
            if page["next"] is None:
                return
            before = page["moves"][-1]["id"]

    def hosts(self) -> Answers:
        """Return the registered hosts and their health."""
        hosts: Answers = self._connection.get("/hosts")["hosts"]
        return hosts

    def pause(self, host: str) -> Answer:
        """Pause the host: its moves wait."""
        return self._connection.post(f"/hosts/{quote(host, safe='')}/pause")

    def resume(self, host: str) -> Answer:
        """Resume the host: its moves run again."""
        return self._connection.post(f"/hosts/{quote(host, safe='')}/resume")

    def datasets(self) -> Answers:
        """Return the data types of the catalogue."""
        datasets: Answers = self._connection.get("/datasets")["datasets"]
        return datasets


def _request(source: Any, destination: Any, options: Answer) -> Answer:
    given = {name: value for name, value in options.items() if value is not None}
    return {"source": source, "destination": destination, "options": given}
