"""Moves, as programs ask for them and follow them."""

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote
from uuid import uuid4

from data_mover.client.connection import LONGEST_WAIT_SECONDS, Connection
from data_mover.client.errors import MoveFailed, ServiceUnavailable

TERMINAL = ("COMPLETED", "FAILED", "CANCELLED")
#: how often the progress of a move is asked for
PROGRESS_SECONDS = 0.5
#: how often a new move is sent while the service does not answer, and how long after the first and the second time
TRIES = 3
PAUSE_SECONDS = 0.5

Answer = dict[str, Any]
Answers = list[Answer]
Progress = Callable[["Move"], None]


class Move:
    """A move on record. Its answer is the one that the service gave last; `refresh` asks for a new one."""

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
        """Asks how the move stands now."""
        return self._look(0)

    def wait(self, timeout: float | None = None, progress: Progress | None = None) -> Self:
        """Returns the move once it is COMPLETED; `progress` is called with it now and then.

        Raises MoveFailed if it has ended otherwise, and TimeoutError after `timeout` seconds; the move then continues.
        """
        until = None if timeout is None else time.monotonic() + timeout
        self.refresh()
        while not self.ended:
            left = LONGEST_WAIT_SECONDS if until is None else until - time.monotonic()
            if left <= 0:
                raise TimeoutError(f"move {self.id} is still {self.status}")
            if progress is not None:
                progress(self)
            self._look(min(left, PROGRESS_SECONDS if progress else LONGEST_WAIT_SECONDS))
        if progress is not None:
            progress(self)
        if self.status != "COMPLETED":
            raise MoveFailed(self.answer)
        return self

    def cancel(self) -> Self:
        """Stops the move. Raises Rejected where that is too late."""
        self.answer = self._connection.post(f"/moves/{self.id}/cancel")
        return self

    def retry(self) -> "Move":
        """The new move that does again what this one, which failed or was cancelled, was to do."""
        return Move(self._connection, self._connection.post(f"/moves/{self.id}/retry"))

    def files(self, state: str | None = None) -> Iterator[Answer]:
        """The files of the move, those in a state or all."""
        after = -1
        while True:
            page = self._connection.get(f"/moves/{self.id}/files", {"state": state, "after": after, "limit": 1000})
            yield from page["files"]
            if page["next"] is None:
                return
            after = page["files"][-1]["number"]

    def events(self, after: int = 0) -> Answers:
        """What has happened to the move, behind the event of that number."""
        events: Answers = self._connection.get(f"/moves/{self.id}/events", {"after": after})["events"]
        return events

    def explain(self) -> Answer:
        """Why the move is where it is, and who can release it."""
        return self._connection.get(f"/moves/{self.id}/explain")

    def _look(self, seconds: float) -> Self:
        """Asks for the move; the service waits with its answer, and may answer earlier when many wait."""
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
        """Puts a move on record. Without a destination it goes to the default one.

        Sends a key of its own, so that a request whose answer was lost is sent again and makes no second move. Raises
        Rejected, NotAuthenticated, NotAllowed or ServiceUnavailable.
        """
        wanted = _request(source, destination, {"key": uuid4().hex, **options})
        for pause in [PAUSE_SECONDS * (number + 1) for number in range(TRIES - 1)]:
            try:
                return Move(self._connection, self._connection.post("/moves", wanted))
            except ServiceUnavailable:
                time.sleep(pause)
        return Move(self._connection, self._connection.post("/moves", wanted))

    def plan(self, source: Any, destination: Any = None, **options: Any) -> Answer:
        """What `move` would do, without doing it. Where `complete` is false, ask again."""
        return self._connection.post("/plan", _request(source, destination, options))

    def get(self, move_id: int) -> Move:
        """The move of that id. Raises Rejected if there is none."""
        return Move(self._connection, self._connection.get(f"/moves/{int(move_id)}"))

    def list(self, **filter: Any) -> Iterator[Move]:
        """The caller's moves, the newest first: all, or those of status, phase, host, label, since, until, before."""
        before = filter.pop("before", None)
        while True:
            page = self._connection.get("/moves", {**filter, "before": before})
            for answer in page["moves"]:
                yield Move(self._connection, answer)
            if page["next"] is None:
                return
            before = page["moves"][-1]["id"]

    def hosts(self) -> Answers:
        """The registered hosts and their health."""
        hosts: Answers = self._connection.get("/hosts")["hosts"]
        return hosts

    def pause(self, host: str) -> Answer:
        """Lets the moves with the host wait."""
        return self._connection.post(f"/hosts/{quote(host, safe='')}/pause")

    def resume(self, host: str) -> Answer:
        """Lets the moves with the host run again."""
        return self._connection.post(f"/hosts/{quote(host, safe='')}/resume")

    def datasets(self) -> Answers:
        """The data types of the catalogue."""
        datasets: Answers = self._connection.get("/datasets")["datasets"]
        return datasets


def _request(source: Any, destination: Any, options: Answer) -> Answer:
    given = {name: value for name, value in options.items() if value is not None}
    return {"source": source, "destination": destination, "options": given}
