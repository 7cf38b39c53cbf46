"""A whole service whose parts may be killed, what it moves, and the checker of what must be true afterwards."""

import os
import random
import re
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from sqlalchemy import func, select, text
from sqlalchemy.engine import make_url

from data_mover.domain.errors import ServiceUnavailable
from data_mover.store.database import Database
from data_mover.store.models import Job, JobFile, TemporaryFile
from data_mover.transfer.names import TEMPORARY_PREFIX
from tests.crash.cargo import Cargo
from tests.crash.publications import Publications
from tests.crash.supervisor import Supervisor, run_a_little
from tests.crash.transitions import backward_steps, record_transitions
from tests.servers.deployment import QUICK_PACE, TERMINAL, Deployment, XmlRpc, deployment, host_table
from tests.servers.openssh import SshServer
from tests.servers.processes import answers, eventually
from tests.servers.web import web_server

LEASE_SECONDS = 1.5

IMPATIENT = f"""
data_mover.lease_seconds = {LEASE_SECONDS}
data_mover.max_attempts = 50
data_mover.retry_first_seconds = 0.1
data_mover.retry_longest_seconds = 1
data_mover.probe_longest_seconds = 1
data_mover.claim_on_seconds = 5
data_mover.stop_seconds = 3
data_mover.fault_points = true
data_mover.checkpoint_bytes = 200000
"""

OLD = b"what stood there before"


@dataclass
class World:
    """The hosts are `disk` (the source), `shelf` (a directory), `vis` (SFTP) and `slow`, the same with 1 MB/s; `far` is
    what is on `disk`, by SFTP and with 1 MB/s, and `web` the same by HTTP."""

    directory: Path
    service: Deployment
    supervisor: Supervisor
    publications: Publications
    database: Database
    #: what each acknowledged job moves
    moves: dict[int, Cargo] = field(default_factory=dict)
    #: ids of moves that somebody has asked to cancel
    unwanted: set[int] = field(default_factory=set)
    #: final names under which something stood before
    replaced: set[Path] = field(default_factory=set)
    #: violations that have been reported
    reported: set[str] = field(default_factory=set)
    #: where callers ask, if they do not reach the service itself
    port: int | None = None

    @property
    def orders(self) -> Path:
        return self.directory / "orders"

    def order(self, point: str, action: str) -> None:
        """Orders a fault point to strike once."""
        unfinished = self.orders / ".unfinished"
        unfinished.write_text(action)
        unfinished.rename(self.orders / point)

    def ready(self) -> None:
        """Returns once the service answers."""
        eventually(lambda: answers(self.service.port), "the service is up", 90)

    def struck(self, point: str) -> bool:
        return not (self.orders / point).exists()

    def asleep(self) -> list[int]:
        """The processes that a fault point has stopped. On SQLite, one that stopped in mid transaction keeps everybody
        from writing, and is woken for a moment."""
        stopped = eventually(self.supervisor.stopped, "a process is stopped")
        while self._is_locked():
            for pid in stopped:
                run_a_little(pid)
        return stopped

    def source(self, name: str, size_bytes: int, seed: object) -> Path:
        """A new file at the source, of known content."""
        path = self.directory / "disk" / name
        path.write_bytes(random.Random(str(seed)).randbytes(size_bytes))
        return path

    def destination(self, host: str, name: str) -> Path:
        return self.directory / ("vis" if host == "slow" else host) / name

    def old(self, host: str, name: str) -> None:
        """Puts an old file under a final name, as a publication would."""
        unfinished, final = self.destination(host, f"{TEMPORARY_PREFIX}old"), self.destination(host, name)
        unfinished.write_bytes(OLD)
        unfinished.rename(final)
        self.replaced.add(final)
        eventually(lambda: self.publications.of(final), "the watcher has seen the old file")

    def folder(self, name: str, sizes_bytes: Sequence[int], seed: object) -> Path:
        """A new folder at the source: an empty directory, and files of known content, every other one a level lower."""
        path = self.directory / "disk" / name
        for directory in ("sub", "empty"):
            (path / directory).mkdir(parents=True)
        for number, size_bytes in enumerate(sizes_bytes):
            self.source(f"{name}/{'sub/' * (number % 2)}{number}", size_bytes, f"{seed} {number}")
        return path

    def submit(self, source: Path, host: str, origin: str = "disk") -> int:
        """Moves the file to the host under the same name, which is the job's key too; the id that was answered."""
        return self.submit_cargo(Cargo.of_file(source, self.destination(host, source.name)), host, origin)

    def submit_cargo(self, cargo: Cargo, host: str, origin: str = "disk") -> int:
        """Moves what it consists of to the host, under the same names; the first is the job's key too."""
        sources = [
            {"host": "web" if source in cargo.from_web else origin, "path": f"/{source.name}"}
            for source in cargo.sources
        ]
        receiver = "/".join(["", *cargo.final.relative_to(self.destination(host, "")).parts, ""])
        options = {"key": cargo.sources[0].name, **({"atomic": True} if cargo.is_atomic else {})}
        with XmlRpc(f"http://127.0.0.1:{self.port or self.service.port}/data_mover") as proxy:
            answer = proxy.move(
                sources if cargo.is_list else sources[0],
                {"host": host, "path": receiver if cargo.is_list else receiver.rstrip("/")},
                options,
            )
        self.moves[answer["id"]] = cargo
        return int(answer["id"])

    def cancel(self, job_id: int) -> None:
        """Asks for a cancellation, which may come too late."""
        self.unwanted.add(job_id)
        with self.service.proxy as proxy:
            proxy.cancel(job_id)

    def in_mid_copy(self, job_id: int) -> None:
        """Returns once bytes of a slow move have arrived."""
        with self.service.proxy as proxy:
            eventually(lambda: proxy.check(job_id)["bytes_done"] > 0, "bytes have moved")

    def at_work(self, job_id: int) -> tuple[str, int]:
        """The name of the worker that is at the job, and its work-horse's pid."""
        horse = int(self.job(job_id).worker.rpartition(":")[2])
        [name] = [name for name in self.supervisor.names("worker") if horse in self.supervisor.horses(name)]
        return name, horse

    def job(self, job_id: int) -> Job:
        """The row as it is now."""
        with self.database.reading() as session:
            return session.get_one(Job, job_id)

    def has_ended(self, ids: Collection[int]) -> bool:
        """Whether all have, as the database says; while that is away nobody knows."""
        with suppress(ServiceUnavailable), self.database.reading() as session:
            return set(session.scalars(select(Job.status).where(Job.id.in_(ids)))) <= set(TERMINAL)
        return False

    def find(self, path: Path) -> int | None:
        """The newest job for that name, whether its id was answered or not."""
        with self.database.reading() as session:
            statement = select(func.max(Job.id)).where(Job.destination_path == f"/{path.name}")
            return session.scalars(statement).one()

    def violations(self, failures: Collection[str] = ()) -> list[str]:
        """What is not as it must be once all is quiet, and was not reported before: each case answers for itself alone.
        `failures` are the codes that what happened explains."""
        self.publications.catch_up()
        found = self.publications.harm()
        with self.database.reading() as session:
            found += backward_steps(session)
            jobs = {job.id: job for job in session.scalars(select(Job).where(Job.id.in_(self.moves)))}
            rows = {id_: session.scalars(select(JobFile).where(JobFile.job_id == id_)).all() for id_ in jobs}
        found += [f"job {job_id} was acknowledged and is gone" for job_id in self.moves.keys() - jobs.keys()]
        for job_id in self.moves.keys() & jobs.keys():
            reported = jobs[job_id], rows[job_id]
            found += self.moves[job_id].violations(*reported, self.publications, self.replaced, failures)
        cancelled = {job_id for job_id, job in jobs.items() if job.status == "CANCELLED"}
        found += [f"job {job_id} was cancelled and nobody asked for that" for job_id in cancelled - self.unwanted]
        found += self.left_behind() + self.broken_threads()
        fresh = [each for each in found if each not in self.reported]
        self.reported.update(fresh)
        return fresh

    def broken_threads(self) -> list[str]:
        """What keeps a lease may end with it, and not otherwise."""
        logs = [path.read_text(errors="replace") for path in self.service.directory.glob("*.log")]
        broken = re.compile("^Exception in thread .*", re.MULTILINE)
        return [found for log in logs for found in broken.findall(log)]

    def left_behind(self) -> list[str]:
        """Temporary files on the hosts and in the database."""
        walks = [os.walk(self.directory / host) for host in ("vis", "shelf")]
        files = [name for walk in walks for _, *both in walk for names in both for name in names]
        with self.database.reading() as session:
            rows = session.scalars(select(TemporaryFile.path)).all()
        return [f"left on the host: {name}" for name in files if name.startswith(TEMPORARY_PREFIX)] + [
            f"left on record: {path}" for path in rows
        ]

    def _is_locked(self) -> bool:
        with suppress(ServiceUnavailable), self.database.writing() as session:
            session.execute(text("SELECT 1"))
            return False
        return True


@contextmanager
def crash_world(
    directory: Path,
    redis_url: str,
    ssh: SshServer,
    *,
    database_url: str = "",
    direct_database_url: str = "",
    extra: str = IMPATIENT,
    pace: str = QUICK_PACE,
    workers: int = 2,
) -> Iterator[World]:
    """Web, workers and a sweeper, each restarted when it dies. The checker has a way to the database of its own."""
    for name in ("disk", "vis", "shelf", "orders"):
        (directory / name).mkdir(parents=True)
    local = {"protocol": "local", "roles": ["source", "destination"]}
    patience = {"idle_timeout_seconds": 3, "connect_timeout_seconds": 3, "max_transfers": 20}
    registry = (
        host_table("disk", {**local, **patience, "root": directory / "disk"})
        + host_table("shelf", {**local, **patience, "root": directory / "shelf"})
        + host_table("vis", ssh.options(directory / "vis", **patience))
        + host_table("slow", ssh.options(directory / "vis", bandwidth="1MB/s", **patience))
        + host_table("far", ssh.options(directory / "disk", bandwidth="1MB/s", **patience))
    )
    with (
        web_server(directory / "web") as web,
        deployment(
            directory / "service",
            redis_url,
            registry + host_table("web", web.options(directory / "disk", **patience)),
            database_url=database_url,
            extra=extra,
            pace=pace,
        ) as service,
    ):
        service.environment["DATA_MOVER_FAULTS"] = str(directory / "orders")
        own_url = direct_database_url or database_url or f"sqlite:///{service.directory}/jobs.db"
        database = Database(make_url(own_url))
        record_transitions(database)
        starts = {
            "web": lambda: service.start("web", "pserve", str(service.ini)),
            "sweeper": service.start_sweeper,
            **{f"worker-{number}": service.start_worker for number in range(workers)},
        }
        with (
            Publications(directory / "vis", directory / "shelf") as publications,
            Supervisor(starts) as supervisor,
        ):
            yield World(directory, service, supervisor, publications, database)
        database.close()
