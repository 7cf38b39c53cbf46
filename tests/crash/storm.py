"""A storm: clients submit moves while one random failure after another strikes; then a checker looks at everything.

Run as `python -m tests.crash.storm --seconds 60 --seeds 50 [--first-seed N] [--database postgresql] [--folders 0.25]
[--lists 0.1]`. What strikes, and when, follows from the seed; what it hits then depends on the machine.
"""

import argparse
import random
import shutil
import signal
import sqlite3
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Mapping
from contextlib import ExitStack, closing, suppress
from dataclasses import dataclass, field
from pathlib import Path

from redis.exceptions import RedisError
from sqlalchemy import select

from data_mover.domain.errors import ServiceUnavailable
from data_mover.store.models import Job
from tests.crash.cargo import Cargo
from tests.crash.matrix import ACTIONS, FOLDER_POINTS, WEB_POINTS, WORKER_POINTS
from tests.crash.rough import UNANSWERED, UNNOTICED, RoughWorld, rough_world
from tests.crash.supervisor import strike
from tests.crash.world import LEASE_SECONDS, World
from tests.servers.openssh import SshServer, openssh_server
from tests.servers.proxy import Fault

CLIENTS = 3
LARGEST_BYTES = 2_000_000
LARGEST_OF_MANY_BYTES = 100_000
#: nothing waits so long, but a machine may be slow
CALM_SECONDS = 600


@dataclass(frozen=True)
class Shares:
    """How many of all moves are of something else than one file."""

    folders: float = 0.25
    lists: float = 0.1


@dataclass
class Report:
    """What a storm has come to."""

    seed: int
    statuses: Counter[str] = field(default_factory=Counter)
    kinds: Counter[str] = field(default_factory=Counter)
    #: why jobs have failed
    codes: Counter[str] = field(default_factory=Counter)
    struck: Counter[str] = field(default_factory=Counter)
    most_attempts: int = 0
    #: from the last strike until everything rested
    calm_seconds: float = 0
    violations: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        reported = " ".join(f"{status}={count}" for status, count in sorted(self.statuses.items()))
        lines = [
            f"seed {self.seed}: {reported} ({_listed(self.kinds)}), failed with: {_listed(self.codes) or 'nothing'}, "
            f"{self.most_attempts} attempts at most, at rest after {self.calm_seconds:.0f} s; "
            f"struck: {_listed(self.struck)}",
            *(f"  VIOLATION {violation}" for violation in self.violations),
        ]
        return "\n".join(lines)


def _listed(counts: Counter[str]) -> str:
    return ", ".join(f"{count} {name}" for name, count in sorted(counts.items()))


def storm(
    directory: Path, ssh: SshServer, database: str, seconds: float, seed: int, shares: Shares = Shares()
) -> Report:
    """Storms for so many seconds, waits for calm, and reports."""
    with rough_world(directory, ssh, database, workers=3) as rough:
        rough.world.ready()
        report = Report(seed)
        ended = threading.Event()
        #: what was ever asked for, by its key
        asked: dict[str, Cargo] = {}
        clients = [
            threading.Thread(target=_submit, args=(rough, random.Random(f"{seed} {n}"), n, shares, ended, asked))
            for n in range(CLIENTS)
        ]
        for client in clients:
            client.start()
        _strike_again_and_again(rough, random.Random(seed), time.monotonic() + seconds, report)
        ended.set()
        for client in clients:
            while client.is_alive():  # its answer may have to come from a process that a fault point has stopped
                rough.world.supervisor.wake()
                client.join(timeout=0.5)
        began = time.monotonic()
        _calm(rough)
        report.calm_seconds = time.monotonic() - began
        _look(rough, report, asked)
    return report


def _submit(
    rough: RoughWorld,
    chance: random.Random,
    client: int,
    shares: Shares,
    ended: threading.Event,
    asked: dict[str, Cargo],
) -> None:
    """What one client does: a move whose answer is lost is asked for again, with the same key; a few are cancelled."""
    number = 0
    while not ended.is_set():
        number += 1
        host = chance.choice(["vis", "shelf", "slow"])
        cargo = _cargo(rough.world, chance, shares, f"{client}-{number}", host)
        asked[cargo.sources[0].name] = cargo
        if chance.random() < 0.05:
            _take_away(chance.choice(cargo.sources))
        job_id = None
        while not ended.is_set() and job_id is None:
            job_id = _acknowledged(rough, cargo, host)
            ended.wait(0.1)
        ended.wait(chance.uniform(0, 0.4))
        if job_id is not None and chance.random() < 0.1:
            with suppress(*UNANSWERED):
                rough.world.cancel(job_id)


def _cargo(world: World, chance: random.Random, shares: Shares, name: str, host: str) -> Cargo:
    """A folder of small files or a list, each of which is to appear at once or not; or, mostly, a file."""
    kind, is_atomic = chance.random(), chance.random() < 0.5
    if kind < shares.folders:
        return Cargo.of_folder(_folder(world, chance, name), world.destination(host, name), is_atomic)
    if kind < shares.folders + shares.lists:
        files = [world.source(f"{name}-{part}", size, name) for part, size in enumerate(_sizes_bytes(chance, 3))]
        sources = [*files[: chance.randint(1, 3)], *([_folder(world, chance, f"{name}-folder")] * chance.randint(0, 1))]
        chance.shuffle(sources)
        is_atomic = is_atomic and len(sources) > 1  # a list of one goes where that one goes by itself
        receiver = world.destination(host, name if is_atomic else "")
        return Cargo.of_list(sources, receiver, is_atomic, from_web=files[: chance.randint(0, 1)])
    source = world.source(name, int(LARGEST_BYTES ** chance.random()), name)
    return Cargo.of_file(source, world.destination(host, name))


def _folder(world: World, chance: random.Random, name: str) -> Path:
    return world.folder(name, _sizes_bytes(chance, chance.randint(3, 12)), name)


def _sizes_bytes(chance: random.Random, count: int) -> list[int]:
    return [int(LARGEST_OF_MANY_BYTES ** chance.random()) for _ in range(count)]


def _take_away(source: Path) -> None:
    if source.is_dir():
        shutil.rmtree(source)
    else:
        source.unlink()


def _acknowledged(rough: RoughWorld, cargo: Cargo, host: str) -> int | None:
    with suppress(*UNANSWERED):
        return rough.world.submit_cargo(cargo, host)
    return None


def _strike_again_and_again(rough: RoughWorld, chance: random.Random, until: float, report: Report) -> None:
    strikes = _Strikes(rough, chance)
    names = [name for name in vars(_Strikes) if not name.startswith("_")]
    names.remove("database_is_locked" if "database" in rough.ways else "database_dies")
    while time.monotonic() < until:
        name = chance.choice(names)
        report.struck[name.replace("_", " ")] += 1
        getattr(strikes, name)()
        time.sleep(chance.uniform(0, 0.6))


class _Strikes:
    """What can strike, each once in a while; every public method is one."""

    def __init__(self, rough: RoughWorld, chance: random.Random) -> None:
        self._rough = rough
        self._world = rough.world
        self._chance = chance

    def kill(self) -> None:
        strike(self._victim(), signal.SIGKILL)

    def kill_a_horse(self) -> None:
        supervisor = self._world.supervisor
        horses = [horse for name in supervisor.names("worker") for horse in supervisor.horses(name)]
        for horse in horses[:1]:
            strike(horse, signal.SIGKILL)

    def stop(self) -> None:
        """Nobody else strikes meanwhile: the others take over."""
        pid = self._victim()
        strike(pid, signal.SIGSTOP)
        time.sleep(self._chance.uniform(0.1, 2 * LEASE_SECONDS))
        strike(pid, signal.SIGCONT)

    def terminate(self) -> None:
        supervisor = self._world.supervisor
        strike(supervisor.pid(self._chance.choice(supervisor.names())), signal.SIGTERM)

    def fault_point(self) -> None:
        """Who was stopped at the last one is woken."""
        self._world.supervisor.wake()
        points = sorted(WORKER_POINTS | FOLDER_POINTS) * 3 + sorted(WEB_POINTS)
        self._world.order(self._chance.choice(points), self._chance.choice(sorted(ACTIONS)))

    def obstruct(self) -> None:
        way = self._chance.choice(sorted(self._rough.ways))
        fault = self._chance.choice([fault for fault in Fault if (way, fault) not in UNNOTICED])
        self._rough.obstruct(way, fault, self._chance.uniform(0.1, 4))

    def redis_dies(self) -> None:
        self._rough.stop_server("redis")
        time.sleep(self._chance.choice([0, 0, 3]))
        self._rough.start_server("redis")

    def redis_is_emptied(self) -> None:
        with suppress(RedisError):
            self._rough.empty_redis()

    def database_dies(self) -> None:
        self._rough.stop_server("database", self._chance.choice([signal.SIGINT, signal.SIGQUIT]))
        time.sleep(self._chance.uniform(0, 3))
        self._rough.start_server("database")

    def database_is_locked(self) -> None:
        path = self._world.service.directory / "jobs.db"
        stranger = sqlite3.connect(path, timeout=20, isolation_level=None)
        with closing(stranger), suppress(sqlite3.OperationalError):  # somebody who is frozen has it
            stranger.execute("BEGIN IMMEDIATE")
            time.sleep(self._chance.uniform(0, 6))

    def _victim(self) -> int:
        supervisor = self._world.supervisor
        name = self._chance.choice(supervisor.names())
        return self._chance.choice([supervisor.pid(name), *supervisor.horses(name)])


def _calm(rough: RoughWorld) -> None:
    """Repair everything, and wait for the service to come to rest."""
    world = rough.world
    for way in rough.ways.values():
        way.heal()
    for name in rough.servers.names():
        rough.start_server(name)
    until = time.monotonic() + CALM_SECONDS
    while time.monotonic() < until and not _rests(rough):
        for order in world.orders.iterdir():
            order.unlink(missing_ok=True)
        world.supervisor.wake()
        time.sleep(0.2)


def _rests(rough: RoughWorld) -> bool:
    """While the database is still on its way back, nobody knows."""
    with suppress(ServiceUnavailable):
        with rough.world.database.reading() as session:
            live = session.scalars(select(Job.id).where(Job.ended_ms.is_(None)).limit(1)).first()
        return live is None and not rough.world.left_behind()
    return False


def _look(rough: RoughWorld, report: Report, asked: Mapping[str, Cargo]) -> None:
    """Record the violations of every job, also of those whose id never reached a client."""
    world = rough.world
    with world.database.reading() as session:
        jobs = list(session.scalars(select(Job)))
    for job in jobs:
        world.moves.setdefault(job.id, asked[str(job.key)])
    report.statuses.update(job.status for job in jobs)
    report.kinds.update(f"{world.moves[job.id].kind} {job.status}" for job in jobs)
    report.codes.update(str(job.code) for job in jobs if job.status == "FAILED")
    report.most_attempts = max((job.attempt for job in jobs), default=0)
    report.violations = world.violations(failures={"poison", "unknown-outcome"})


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--first-seed", type=int, default=1)
    parser.add_argument("--database", choices=["sqlite", "postgresql"], default="sqlite")
    parser.add_argument("--folders", type=float, default=Shares.folders, help="of all moves")
    parser.add_argument("--lists", type=float, default=Shares.lists, help="of all moves")
    arguments = parser.parse_args()
    shares = Shares(arguments.folders, arguments.lists)
    harmed = []
    with ExitStack() as stack:
        base = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="storm-", ignore_cleanup_errors=True)))
        base.chmod(0o711)
        ssh = stack.enter_context(openssh_server(base / "openssh"))
        for seed in range(arguments.first_seed, arguments.first_seed + arguments.seeds):
            report = storm(base / str(seed), ssh, arguments.database, arguments.seconds, seed, shares)
            print(report, flush=True)
            if report.violations:
                harmed.append(seed)
        if harmed:
            kept = Path(tempfile.mkdtemp(prefix="storm-kept-"))
            base.rename(kept / "storm")
            print(f"{len(harmed)} of {arguments.seeds} seeds with violations: {harmed}; logs in {kept}")
    sys.exit(bool(harmed))


if __name__ == "__main__":
    main()
