"""Moves by scp to and from a host whose commands break or lie: no completion with wrong bytes, no silent failure."""

import os
import random
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.protocols.test_lying_hosts import COMPLETES, MEGABYTE, World
from tests.servers.faulty_shell import DEEDS, FaultyShell, faulty_shell
from tests.servers.processes import eventually

_TERMS = {"protocol": "scp", "idle_timeout_seconds": 1, "connect_timeout_seconds": 5}
#: large enough for the destination's own digest to be asked for
LARGE = 10 * MEGABYTE
#: the codes of a host whose commands do not do what they say: a retry can always help
REPORTED = {"host-failed", "connection-lost", "stalled", "verify-failed", "source-changed", COMPLETES}
#: the code of a fault, whichever command it happens to
ALWAYS = {"cuts": "connection-lost", "is done and cuts": "connection-lost"}


@dataclass(frozen=True)
class Trial:
    """One move, in which the command of that number meets with the deed."""

    role: str
    deed: str = ""
    number: int = 0
    size_bytes: int = MEGABYTE

    def __str__(self) -> str:
        return f"{self.role}: command {self.number} {self.deed}, {self.size_bytes // MEGABYTE} MB"


class ShellWorld(World):
    """A sound local host, and one whose commands are not sound."""

    #: a FaultyShell
    faulty: Any

    def commands(self, role: str, size_bytes: int) -> int:
        """How many a sound move takes."""
        assert self.run(Trial(role, size_bytes=size_bytes)) == COMPLETES
        return self._count

    def _strike(self, trial: Trial) -> None:
        self.faulty.order(trial.deed, trial.number)

    def _heal(self) -> None:
        self._count = self.faulty.count
        self.faulty.order()

    def _faulty_table(self, root: Path, trial: Trial) -> dict[str, Any]:
        return self.faulty.server.options(root, **_TERMS)


@pytest.fixture(scope="module")
def shell(tmp_path_factory) -> Iterator[FaultyShell]:
    with faulty_shell(tmp_path_factory.mktemp("shell")) as running:
        yield running


@pytest.fixture
def world(shell, tmp_path) -> ShellWorld:
    return ShellWorld(shell, tmp_path / "world")


def trials(world: ShellWorld, size_bytes: int) -> list[Trial]:
    """Every deed at every command of a move to the host, and of one from it."""
    return [
        Trial(role, deed, number, size_bytes)
        for role in ("destination", "source")
        for number in range(1, world.commands(role, size_bytes) + 1)
        for deed in DEEDS
        if deed
    ]


def run_all(world: ShellWorld, chosen: list[Trial]) -> None:
    """Descriptors and threads are as before once the connections have ended."""
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    reported: Counter[str] = Counter()
    for trial in chosen:
        code = world.run(trial)
        reported[code or "completed"] += 1
        print(f"{trial} -> {code or 'completed'}")
        assert code in ({ALWAYS[trial.deed], COMPLETES} if trial.deed in ALWAYS else REPORTED), trial
    print(len(chosen), reported)
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= before[0], "no descriptor is left")
    eventually(lambda: threading.active_count() <= before[1], "no thread is left")


@pytest.mark.parametrize("role", ["destination", "source"])
@pytest.mark.parametrize(
    ("deed", "number", "code"),
    [
        ("is pretended", 0, "connection-lost"),
        ("is greeted", 0, "connection-lost"),
        ("fails", 0, "host-failed"),
        ("fails", 2, "host-failed"),
        ("cuts", 2, "connection-lost"),
    ],
)
def test_a_shell_that_does_not_do_what_it_is_asked_is_reported(world, role, deed, number, code):
    """Above all, silence is not the name of another root."""
    assert world.run(Trial(role, deed, number)) == code


def test_no_sampled_deed_completes_with_wrong_bytes(world):
    seed = random.randrange(10**6)
    print(f"seed {seed}")

    run_all(world, random.Random(seed).sample(trials(world, MEGABYTE), 8))


@pytest.mark.soak
@pytest.mark.parametrize("size_bytes", [MEGABYTE, LARGE])
def test_no_deed_at_any_command_completes_with_wrong_bytes(world, size_bytes):
    run_all(world, trials(world, size_bytes))
