"""Moves to and from a host that breaks or lies at one point: no completion with wrong bytes, and no silent failure."""

import hashlib
import os
import random
import shutil
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from data_mover.backends import PROTOCOLS, connect, writable
from data_mover.backends.api import BLOCK_BYTES, Source
from data_mover.domain.errors import MoveFailure
from data_mover.transfer import FileTask
from data_mover.transfer.verify import REMOTE_DIGEST_BYTES
from tests.servers.faulty_sftp import Fault, FaultyServer, faulty_server
from tests.servers.processes import eventually
from tests.unit.transfer.diary import Diary, move_file

MEGABYTE = 10**6
OLD = b"old"
IDLE_SECONDS = 1
_TERMS = {"idle_timeout_seconds": IDLE_SECONDS, "connect_timeout_seconds": 5}
#: within which every failure is reported, on a busy machine too
BOUND_SECONDS = 20
COMPLETES = ""

#: the outcome where the faulty host is the destination and has an old file: a code, or COMPLETES
AT_THE_DESTINATION = {
    ("write", "fails"): "host-failed",
    ("write", "is unsupported"): "permission",
    ("write", "is pretended"): "verify-failed",
    ("write", "is dropped"): "stalled",
    ("write", "cuts"): "connection-lost",
    ("write", "is altered"): "verify-failed",
    ("write", "fails though done"): "host-failed",
    ("write", "is done and not answered"): "stalled",
    ("write", "is done and cuts"): "connection-lost",
    ("write", "is answered late"): COMPLETES,
    ("write", "is answered twice"): "connection-lost",
    ("write", "is answered with garbage"): "connection-lost",
    ("write", "is answered with another kind"): "connection-lost",
    ("close", "fails"): "host-failed",
    ("close", "fails though done"): "host-failed",
    ("close", "is pretended"): COMPLETES,
    ("close", "is dropped"): "stalled",
    ("close", "is done and not answered"): "stalled",
    ("close", "cuts"): "connection-lost",
    ("close", "is answered with garbage"): "connection-lost",
    ("fsync", "fails"): "host-failed",
    ("fsync", "is unsupported"): COMPLETES,
    ("fsync", "is pretended"): COMPLETES,
    ("fsync", "is dropped"): "stalled",
    ("fsync", "cuts"): "connection-lost",
    ("fstat", "fails"): "host-failed",
    ("fstat", "is unsupported"): COMPLETES,
    ("fstat", "reports less"): "verify-failed",
    ("fstat", "reports more"): "verify-failed",
    ("fstat", "reports no size"): COMPLETES,
    ("stat", "reports less"): COMPLETES,  # nobody asks of a small file: what is read back decides
    ("stat", "reports more"): COMPLETES,
    ("stat", "reports no size"): COMPLETES,
    ("stat", "fails"): "host-failed",
    ("fsetstat", "fails"): COMPLETES,
    ("fsetstat", "is unsupported"): COMPLETES,
    ("fsetstat setstat", "is unsupported"): "permission",
    ("fsetstat setstat", "fails"): "host-failed",
    ("open", "fails"): "host-failed",
    ("open", "is dropped"): "stalled",
    ("open", "cuts"): "connection-lost",
    ("open", "is answered with another kind"): "connection-lost",
    ("realpath", "fails"): "host-failed",
    ("realpath", "is answered with another kind"): "connection-lost",
    ("rename", "fails"): "host-failed",
    ("rename", "is unsupported"): "cannot-replace",
    ("rename", "is pretended"): "host-failed",
    ("rename", "is dropped"): "stalled",
    ("rename", "cuts"): "connection-lost",
    ("rename", "fails though done"): COMPLETES,
    ("rename", "is done and not answered"): "stalled",
    ("rename", "is done and cuts"): "connection-lost",
    ("rename", "is answered with garbage"): "connection-lost",
    ("rename", "is answered with another kind"): "connection-lost",
    ("statvfs", "fails"): COMPLETES,
    ("statvfs", "is unsupported"): COMPLETES,
    ("statvfs", "cuts"): "connection-lost",
    ("limits", "fails"): COMPLETES,
    ("limits", "is unsupported"): COMPLETES,
    ("init", "announces nothing"): "cannot-replace",
    ("init", "is answered with garbage"): "connection-lost",
    ("init", "is dropped"): "stalled",
}
#: the outcome where the faulty host is the source
AT_THE_SOURCE = {
    ("read", "fails"): "host-failed",
    ("read", "is unsupported"): "permission",
    ("read", "is dropped"): "stalled",
    ("read", "cuts"): "connection-lost",
    ("read", "is answered late"): COMPLETES,
    ("read", "is answered short"): COMPLETES,
    ("read", "is answered twice"): "connection-lost",
    ("read", "is answered with garbage"): "connection-lost",
    ("read", "is answered with another kind"): "connection-lost",
    ("read", "is answered with too great a length"): "connection-lost",
    ("open", "fails"): "host-failed",
    ("close", "cuts"): COMPLETES,
    ("stat", "reports less"): "source-changed",
    ("stat", "reports more"): "source-changed",
    ("stat", "reports no size"): "host-failed",
}
#: the code where the destination cannot replace and the registry allows a swap: the first rename puts the old file
#: aside, the second one brings the new one in
AT_A_SWAP = {
    ("rename", "fails", 1): "host-failed",
    ("rename", "fails though done", 1): "host-failed",
    ("rename", "cuts", 1): "connection-lost",
    ("rename", "is done and cuts", 1): "connection-lost",
    ("rename", "is done and not answered", 1): "stalled",
    ("rename", "is pretended", 1): "host-failed",
    ("rename", "fails", 2): "host-failed",
    ("rename", "is pretended", 2): "host-failed",
    ("rename", "fails though done", 2): COMPLETES,
    ("rename", "cuts", 2): "connection-lost",
    ("rename", "is dropped", 2): "stalled",
    ("rename", "is done and cuts", 2): "connection-lost",
    ("fsync", "is dropped", 0): COMPLETES,
    ("statvfs", "is dropped", 0): COMPLETES,
    ("limits", "is dropped", 0): COMPLETES,
}
#: what is reported where a destination's commands see something else than SFTP does, or it needs time for a large file:
#: commands are asked for those only
AT_THE_COMMANDS = {
    ("exec", "runs elsewhere"): COMPLETES,
    ("exec", "fails"): COMPLETES,
    ("exec", "lies"): COMPLETES,
    ("exec", "hangs"): COMPLETES,
    ("exec", "runs slowly"): COMPLETES,
    ("fsync", "is answered slowly"): COMPLETES,
    ("exec", "cuts"): "connection-lost",
}
#: the requests of which a file has many
_MANY = ("read", "write")
#: what may happen to any one write
WRITES = ("fails", "is dropped", "cuts", "is done and not answered")
#: what comes of faults where the size is asked for: where it is all that proves a file, or goes with a command's digest
AT_THE_SIZE = {
    ("stat", "reports less"): "verify-failed",
    ("stat", "reports more"): "verify-failed",
    ("stat", "reports no size"): "host-failed",
}
#: of a host that does not report its limits, where a write is as large as every host takes it
SMALL_WRITE_BYTES = 32_768


@dataclass(frozen=True)
class Trial:
    """One move of a file of that size, and the fault that happens to it."""

    role: str
    requests: str
    deed: str
    size_bytes: int = MEGABYTE
    number: int = 0

    @property
    def fault(self) -> Fault:
        return Fault(self.requests, self.deed, self.number)

    @property
    def expected(self) -> str:
        if self.role == "swap" and self.requests not in _MANY:
            return AT_A_SWAP[self.requests, self.deed, self.number]
        if self.role == "destination" and self.size_bytes >= REMOTE_DIGEST_BYTES:
            return (AT_THE_DESTINATION | AT_THE_SIZE)[self.requests, self.deed]
        tables = {"source": AT_THE_SOURCE, "commands": AT_THE_COMMANDS, "size": AT_THE_DESTINATION | AT_THE_SIZE}
        return tables.get(self.role, AT_THE_DESTINATION)[self.requests, self.deed]

    def __str__(self) -> str:
        which = f" {self.number}" if self.number else ""
        return f"{self.role}: {self.requests}{which} {self.deed}, {self.size_bytes // MEGABYTE} MB"


TRIALS = [
    *(Trial("destination", *fault, number=3 if fault[0] in _MANY else 0) for fault in AT_THE_DESTINATION),
    *(Trial("source", *fault, number=3 if fault[0] in _MANY else 0) for fault in AT_THE_SOURCE),
    *(Trial("size", *fault) for fault in AT_THE_SIZE),
    *(Trial("swap", requests, deed, number=number) for requests, deed, number in AT_A_SWAP),
    *(Trial("commands", *fault, size_bytes=10 * MEGABYTE) for fault in AT_THE_COMMANDS),
]


class World:
    """A host that is sound, and one that is not, as the roles of a trial ask for."""

    def __init__(self, faulty: FaultyServer, directory: Path) -> None:
        self.faulty = faulty
        #: how the latest move was proven
        self.verified = ""
        self._directory = directory

    def run(self, trial: Any) -> str:
        """Moves with the fault, after a failure once more without it; returns the code, or COMPLETES."""
        self._prepare(trial)
        began = time.monotonic()
        self._strike(trial)
        diary, reported = self._attempt(trial, self._task)
        self._heal()
        assert time.monotonic() - began < BOUND_SECONDS, trial

        if reported == COMPLETES:
            assert self._final == self._content, trial
        else:
            self._require_nothing_lost(trial, diary)
            self._require_cleared_up(trial, diary)
        assert self._temporary_files == set(), trial
        return reported

    def _prepare(self, trial: Trial) -> None:
        shutil.rmtree(self._directory, ignore_errors=True)
        for name in ("source", "destination", "elsewhere"):
            (self._directory / name).mkdir(parents=True)
        self._content = random.Random(trial.size_bytes).randbytes(trial.size_bytes)
        (self._directory / "source" / "a").write_bytes(self._content)
        os.utime(self._directory / "source" / "a", (1, 1))  # a young source is read twice
        (self._directory / "destination" / "b").write_bytes(OLD)
        self._task = FileTask(
            job_id=7,
            file_number=0,
            attempt=1,
            source_path="/a",
            path="/b",
            checkpoint_bytes=2**18,
            state_dir=Path("/tmp"),
        )

    def _strike(self, trial: Any) -> None:
        self.faulty.announces = trial.role != "swap"
        self.faulty.view = (str(self._directory / "destination"), str(self._directory / "elsewhere"))
        self.faulty.fault = trial.fault

    def _heal(self) -> None:
        self.faulty.fault = Fault()

    def _attempt(self, trial: Trial, task: FileTask) -> tuple[Diary, str]:
        diary = Diary()
        try:
            with ExitStack() as connections:
                source, destination = (
                    connections.enter_context(self._connect(role, trial)) for role in ("source", "destination")
                )
                move_file(task, source, writable(destination), diary)
        except MoveFailure as failure:
            return diary, failure.code
        self.verified = diary.proof.verified if diary.proof else ""
        return diary, COMPLETES

    def _connect(self, role: str, trial: Trial) -> Source:
        root = self._directory / role
        table: dict[str, Any] = {"protocol": "local", "root": str(root), "roles": [role]}
        if (role == "source") == (trial.role == "source"):
            table = self._faulty_table(root, trial)
        return connect(role, PROTOCOLS[table["protocol"]].options.model_validate(table))

    def _faulty_table(self, root: Path, trial: Any) -> dict[str, Any]:
        replace_, verify = "swap" if trial.role == "swap" else "atomic", "size" if trial.role == "size" else "sha256"
        return self.faulty.server.options(root, replace=replace_, verify=verify, **_TERMS)

    def _require_nothing_lost(self, trial: Trial, diary: Diary) -> None:
        """The old file is untouched unless nobody can know yet; what is left beside it is on record."""
        in_doubt = "publishing" in diary.words and "not published" not in diary.words
        allowed = [OLD, self._content, None if trial.role == "swap" else OLD] if in_doubt else [OLD]
        assert self._final in allowed, trial
        assert self._temporary_files <= {temporary_file.path for temporary_file in diary.on_record}, trial

    def _require_cleared_up(self, trial: Trial, diary: Diary) -> None:
        """What was recorded is all that the next attempt needs."""
        in_doubt = "publishing" in diary.words and "not published" not in diary.words
        task = replace(
            self._task,
            attempt=2,
            publishing_sha256=hashlib.sha256(self._content).hexdigest() if in_doubt else None,
            temporary_files=tuple(diary.on_record),
        )
        assert self._attempt(trial, task)[1] == COMPLETES, trial
        assert self._final == self._content, trial

    @property
    def _final(self) -> bytes | None:
        """Return the content of the final path."""
        path = self._directory / "destination" / "b"
        return path.read_bytes() if path.exists() else None

    @property
    def _temporary_files(self) -> set[str]:
        return {f"/{name}" for name in os.listdir(self._directory / "destination") if name != "b"}


@pytest.fixture(scope="module")
def faulty(tmp_path_factory) -> Iterator[FaultyServer]:
    with faulty_server(tmp_path_factory.mktemp("faulty")) as server:
        yield server


@pytest.fixture
def world(faulty, tmp_path):
    return World(faulty, tmp_path / "world")


def sampled(seed: int, count: int) -> list[Trial]:
    """Trials of every size, fault and position, each as likely as the others."""
    chance = random.Random(seed)
    trials: list[Trial] = []
    while len(trials) < count:
        trial = replace(chance.choice(TRIALS), size_bytes=chance.choice([1, 3, 10]) * MEGABYTE)
        if trial.requests in _MANY:
            trial = replace(trial, number=chance.randint(1, -(-trial.size_bytes // BLOCK_BYTES)))
        if trial.role != "commands" or trial.size_bytes == 10 * MEGABYTE:
            trials.append(trial)
    return trials


def writes(role: str, size_bytes: int, write_bytes: int = BLOCK_BYTES) -> list[Trial]:
    """Everything that may happen to each write of a file of that size."""
    numbers = range(1, -(-size_bytes // write_bytes) + 1)
    return [Trial(role, "write", deed, size_bytes, number) for number in numbers for deed in WRITES]


def run_all(world: World, trials: list[Trial]) -> Counter[str]:
    """How often each code was reported. Descriptors and threads are as before once the connections have ended."""
    before = len(os.listdir("/proc/self/fd")), threading.active_count()
    reported: Counter[str] = Counter()
    for number, trial in enumerate(trials):
        code = world.run(trial)
        reported[code or "completed"] += 1
        print(f"{number:3} {trial} -> {code or 'completed'}")
        assert code == trial.expected, trial
    eventually(lambda: len(os.listdir("/proc/self/fd")) <= before[0], "no descriptor is left")
    eventually(lambda: threading.active_count() <= before[1], "no thread is left")
    return reported


def test_a_sound_host_completes(world):
    assert world.run(Trial("destination", "write", "is answered late", number=10**6)) == COMPLETES


@pytest.mark.parametrize("trial", TRIALS, ids=str)
def test_each_fault_is_reported_as_what_it_is(world, trial):
    assert world.run(trial) == trial.expected


@pytest.mark.parametrize("role", ["destination", "size"])
def test_a_write_that_goes_wrong_anywhere_in_a_file_is_reported(world, role):
    """Where the registry allows no proof but the size, too: the answers to the writes show it then."""
    run_all(world, writes(role, MEGABYTE))


def test_a_slow_command_is_waited_for_longer_than_for_other_answers(world):
    world.run(Trial("commands", "exec", "runs slowly", size_bytes=10 * MEGABYTE))
    assert world.verified == "sha256-remote"

    world.run(Trial("commands", "exec", "hangs", size_bytes=10 * MEGABYTE))
    assert world.verified == "sha256-readback"


def test_no_sampled_fault_completes_with_wrong_bytes(world):
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    world.run(TRIALS[0])

    run_all(world, sampled(seed, 20))


@pytest.mark.soak
@pytest.mark.parametrize("role", ["destination", "size"])
def test_no_write_of_one_three_or_ten_megabytes_goes_wrong_unreported(world, role):
    """Every write of every file, more than two hundred moves; nothing completes, so nothing has wrong bytes."""
    trials = [trial for megabytes in (1, 3, 10) for trial in writes(role, megabytes * MEGABYTE)]

    reported = run_all(world, trials)

    print(len(trials), reported)
    assert "completed" not in reported


@pytest.mark.soak
def test_no_small_write_goes_wrong_unreported_where_the_host_reports_no_limits(world):
    print(run_all(world, writes("swap", MEGABYTE, SMALL_WRITE_BYTES)))


@pytest.mark.soak
def test_two_hundred_sampled_faults_complete_with_no_wrong_bytes(world):
    seed = random.randrange(10**6)
    print(f"seed {seed}")
    world.run(TRIALS[0])

    print(run_all(world, sampled(seed, 200)))
