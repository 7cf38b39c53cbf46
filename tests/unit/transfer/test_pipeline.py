"""Many ways under way at a time: how many, in which order, and what becomes of the others when one fails."""

from collections.abc import Callable

import pytest

from data_mover.backends.futures import Future, Line
from data_mover.domain.errors import Cancelled, HostFailed
from data_mover.transfer.pipeline import MOST_BYTES, Journal, Move, Pipeline


class Turn(Future):
    def wait(self) -> None:
        raise AssertionError("nobody blocks")


class Host(Line):
    """A host that answers everything once all that is ready has been sent, or never."""

    timeout_seconds = 0.2

    def __init__(self, is_silent: bool = False) -> None:
        self.asked: list[Turn] = []
        self.most = 0
        self._is_silent = is_silent
        self._heard: Callable[[], None] = lambda: None

    def ask(self) -> Turn:
        self.asked.append(Turn())
        self.most = max(self.most, len(self.asked))
        return self.asked[-1]

    @property
    def is_expecting(self) -> bool:
        return bool(self.asked)

    def listen(self, heard: Callable[[], None]) -> None:
        self._heard = heard

    def flush(self) -> None:
        if self.asked and not self._is_silent:
            self._heard()

    def take_in(self) -> None:
        if not self._is_silent:
            self._answer(None)

    def break_off(self, error: BaseException) -> None:
        self._answer(error)

    def _answer(self, error: BaseException | None) -> None:
        asked, self.asked = self.asked, []
        for turn in asked:
            turn.done(error)


class Paper(Journal):
    """Writes what waits when nothing else is to come."""

    def __init__(self) -> None:
        self.waiting: list[Turn] = []
        self.batches: list[int] = []

    def put(self) -> Turn:
        self.waiting.append(Turn())
        return self.waiting[-1]

    def turn(self, under_way: int, is_quiet: bool) -> None:
        if self.waiting and is_quiet:
            waiting, self.waiting = self.waiting, []
            self.batches.append(len(waiting))
            for turn in waiting:
                turn.done()


def run(host, journal, ways, most_files=4, size_bytes=1):
    Pipeline(lambda: [host], journal, most_files).run(iter([Move(way, size_bytes) for way in ways]))


async def way(host, journal, ended, number):
    await host.ask()
    await journal.put()
    await host.ask()
    ended.append(number)


def test_so_many_files_are_under_way_and_no_more_and_what_they_record_is_written_together():
    host, journal, ended = Host(), Paper(), list[int]()

    run(host, journal, [way(host, journal, ended, number) for number in range(12)])

    assert sorted(ended) == list(range(12))
    assert host.most == 4
    assert sum(journal.batches) == 12
    assert max(journal.batches) > 1


@pytest.mark.parametrize("size_bytes", [MOST_BYTES, None])
def test_a_large_file_and_one_of_unknown_size_goes_alone(size_bytes):
    host, journal, ended = Host(), Paper(), list[int]()

    run(host, journal, [way(host, journal, ended, number) for number in range(3)], size_bytes=size_bytes)

    assert ended == [0, 1, 2]
    assert host.most == 1


@pytest.mark.parametrize("errors", [[HostFailed("x")], [HostFailed("x"), Cancelled()]])
def test_after_an_error_none_is_begun_and_those_under_way_end_first(errors):
    host, journal, ended = Host(), Paper(), list[int]()

    async def failing(error):
        await host.ask()
        raise error

    ways = [*map(failing, errors), *(way(host, journal, ended, number) for number in range(12))]
    with pytest.raises(type(errors[-1])):
        run(host, journal, ways)

    assert ended == list(range(4 - len(errors)))


def test_a_host_that_is_silent_for_too_long_is_the_failure_of_every_file_that_waits_for_it():
    host, heard = Host(is_silent=True), list[str]()

    async def waiting():
        try:
            await host.ask()
        except TimeoutError:
            heard.append("silent")

    run(host, Paper(), [waiting(), waiting()])

    assert heard == ["silent", "silent"]


def test_what_nobody_is_going_to_bring_is_not_waited_for():
    async def lost():
        await Turn()

    with pytest.raises(RuntimeError):
        run(Host(), Paper(), [lost()])
