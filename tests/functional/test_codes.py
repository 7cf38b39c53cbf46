"""Every code of a failed move: forced through the whole service, reported in bounded time, nothing left behind.

The table that the run prints has one row per cause.
"""

import os
import re
import shutil
import signal
import socket
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from sqlalchemy import func, select
from sqlalchemy.engine import make_url

from data_mover.domain.errors import FAILURES, failure_of
from data_mover.store.database import Database
from data_mover.store.models import TemporaryFile
from data_mover.transfer.names import TEMPORARY_PREFIX
from tests.servers.deployment import Deployment, XmlRpc, deployment, host_table
from tests.servers.faulty_sftp import Fault, FaultyServer, faulty_server
from tests.servers.openssh import make_keys
from tests.servers.processes import descendants, eventually, free_port
from tests.servers.proxy import Fault as LineFault
from tests.servers.proxy import Proxy, proxy
from tests.servers.small_disk import small_disk
from tests.servers.web import Fault as WebFault
from tests.servers.web import WebServer, web_server

OLD = b"what stood there before"
SECRET = "correct horse battery staple"
#: in a URL, which the database must keep, and which is shown nowhere
QUERY = "signature=c0ffee"
SETTINGS = """
data_mover.max_attempts = 2
data_mover.retry_first_seconds = 0.1
data_mover.probe_longest_seconds = 0.2
data_mover.lease_seconds = 1.5
data_mover.fault_points = true
"""
PATIENCE = {"idle_timeout_seconds": 1, "connect_timeout_seconds": 1}


@dataclass
class Stage:
    """A whole service, its hosts, and ways to break them."""

    directory: Path
    service: Deployment
    proxy: XmlRpc
    faulty: FaultyServer
    line: Proxy
    web: WebServer
    #: where a registered web server is not
    nobody_port: int
    redis_url: str
    #: how to undo what a cause has done
    undo: ExitStack = field(default_factory=ExitStack)

    @property
    def disk(self) -> Path:
        return self.directory / "disk"

    @property
    def vis(self) -> Path:
        """The root of all destinations, but for those that say otherwise."""
        return self.directory / "vis"

    def source(self, size_bytes: int = 1000) -> None:
        (self.disk / "a").write_bytes(os.urandom(size_bytes))

    def move(self, destination: str = "vis", source: Any = "local://disk/a", path: str = "/b", **options: Any) -> int:
        answer = self.proxy.move(source, f"sftp://{destination}{path}", options)
        return int(answer["id"])

    def slowly(self, size_bytes: int = 2_000_000, **options: Any) -> int:
        """A move that is in mid copy at 1 MB/s."""
        self.source(size_bytes)
        job_id = self.move("slow", **options)
        self.in_mid_copy(job_id)
        return job_id

    def in_mid_copy(self, job_id: int) -> None:
        eventually(lambda: self.proxy.check(job_id)["bytes_done"] > 0, "bytes have moved")

    def copies(self, job_id: int, attempt: int) -> bool:
        job = self.proxy.check(job_id)
        return (job["attempt"], job.get("phase")) == (attempt, "transferring")

    def order(self, point: str, action: str) -> None:
        (self.directory / ".order").write_text(action)
        (self.directory / ".order").rename(self.directory / "orders" / point)

    def struck(self, point: str) -> bool:
        return not (self.directory / "orders" / point).exists()

    def operate(self, *arguments: str) -> None:
        """What an operator does with the command."""
        process = self.service.start("operator", "data_mover", "-c", str(self.service.ini), *arguments)
        assert process.wait(timeout=30) == 0, self.service.log("operator")

    def registry(self, change: Callable[[str], str]) -> None:
        """Changes the registry until the case is over."""
        path = self.service.directory / "registry.toml"
        text = path.read_text()
        path.write_text(change(text))
        self.undo.callback(path.write_text, text)

    def horse(self) -> int:
        """The process that runs a job."""
        [worker] = self.service.workers
        return eventually(lambda: descendants(worker.pid), "a worker is at it")[0]

    def held_by_redis(self) -> bytes:
        """All values, those that RQ compresses as they were."""
        connection: Any = Redis.from_url(self.redis_url)
        hashes = [key for key in connection.scan_iter() if connection.type(key) == b"hash"]
        values = [value for key in hashes for value in connection.hvals(key)]
        lists = [key for key in connection.scan_iter() if connection.type(key) == b"list"]
        values += [value for key in lists for value in connection.lrange(key, 0, -1)]
        connection.close()
        return b"\n".join(map(_inflated, values))

    def left_behind(self) -> list[str]:
        files = [name for _, _, names in os.walk(self.vis) for name in names if name.startswith(TEMPORARY_PREFIX)]
        database = Database(make_url(f"sqlite:///{self.service.directory}/jobs.db"))
        with database.reading() as session:
            rows = session.scalars(select(func.count()).select_from(TemporaryFile)).one()
        database.close()
        return files + ["a row"] * rows


def _inflated(value: bytes) -> bytes:
    try:
        return zlib.decompress(value)
    except zlib.error:
        return value


@pytest.fixture(scope="module")
def stage(tmp_path_factory, openssh, ceph, redis_url) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("codes")
    for name in ("disk", "vis", "orders", "other"):
        (directory / name).mkdir()
    make_keys(directory / "other")
    with ExitStack() as stack:
        faulty = stack.enter_context(faulty_server(directory / "faulty"))
        line = stack.enter_context(proxy(openssh.port))
        nobody_port = free_port()
        web = stack.enter_context(web_server(directory / "web", tls=True))
        unproven = stack.enter_context(web_server(directory / "unproven", tls=True))
        silent = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
        here = {"protocol": "local", "root": directory / "disk", "roles": ["source"]}
        there = openssh.options(directory / "vis", **PATIENCE)
        keyless = {key: value for key, value in there.items() if key != "key_file"}
        other_key = (directory / "other" / "host_key.pub").read_text().strip()
        registry = (
            host_table("disk", here)
            + host_table("vis", there)
            + host_table("scp", {**there, "protocol": "scp"})
            + host_table("slow", {**there, "bandwidth": "1MB/s"})
            + host_table("cut", {**there, "port": line.port, "bandwidth": "1MB/s"})
            + host_table("faulty", faulty.server.options(directory / "vis", **PATIENCE))
            + host_table("web", web.options("/web", **PATIENCE, max_size="1MB", total_timeout_seconds=2))
            + host_table("nobody", {**web.options(), "port": nobody_port})
            + host_table("unproven", {**unproven.options(), "ca_file": web.ca_file})
            + host_table("down", {**there, "port": free_port()})
            + host_table("silent", {**there, "port": silent.getsockname()[1]})
            + host_table("nowhere", {**there, "address": "no-such-host.invalid"})
            + host_table("impostor", {**there, "host_key": other_key})
            + host_table("stranger", {**there, "key_file": directory / "other" / "user_key"})
            + host_table("locked", {**keyless, "password": "env:DATA_MOVER_TEST_SECRET"})
            + host_table("store", ceph.options(ceph.make_bucket("codes"), **PATIENCE))
            + host_table("rootless", {**there, "root": directory / "missing"})
        )
        service = stack.enter_context(deployment(directory / "service", redis_url, registry, extra=SETTINGS))
        service.environment |= {"DATA_MOVER_FAULTS": str(directory / "orders"), "DATA_MOVER_TEST_SECRET": SECRET}
        service.start_web()
        service.start_worker()
        service.start_sweeper()
        eventually(lambda: "Listening" in service.log("worker"), "the worker listens")
        yield Stage(directory, service, stack.enter_context(service.proxy), faulty, line, web, nobody_port, redis_url)


@dataclass(frozen=True)
class Cause:
    """One way to force a code. `bring_about` answers with the id of the job that fails."""

    code: str
    how: str
    bring_about: Callable[[Stage], int]


CAUSES: list[Cause] = []


def forces(code: str, how: str) -> Callable[[Callable[[Stage], int]], Callable[[Stage], int]]:
    def listed(bring_about: Callable[[Stage], int]) -> Callable[[Stage], int]:
        CAUSES.append(Cause(code, how, bring_about))
        return bring_about

    return listed


@pytest.fixture(scope="module")
def table(request) -> Iterator[list[str]]:
    """What was seen, printed at the end."""
    rows: list[str] = []
    yield rows
    with request.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print(f"\n{'code':18} {'seconds':>7}  how it was forced; nothing was left behind", *rows, sep="\n")


# the host and the way to it


@forces("host-unreachable", "nobody listens there, until the deadline of 4 s")
def host_down(stage: Stage) -> int:
    return stage.move("down", deadline=4)


@forces("host-unreachable", "it takes the connection and never says a word, until the deadline of 4 s")
def host_silent(stage: Stage) -> int:
    return stage.move("silent", deadline=4)


@forces("host-unreachable", "its name has no address, until the deadline of 4 s")
def host_nowhere(stage: Stage) -> int:
    return stage.move("nowhere", deadline=4)


@forces("host-key-mismatch", "it shows another key than the pinned one")
def host_key_mismatch(stage: Stage) -> int:
    return stage.move("impostor")


@forces("login-refused", "it does not know the key")
def login_refused(stage: Stage) -> int:
    return stage.move("stranger")


@forces("login-refused", "it does not take the password")
def password_refused(stage: Stage) -> int:
    return stage.move("locked")


@forces("connection-lost", "the line is cut in mid copy, and again")
def connection_lost(stage: Stage) -> int:
    stage.source(20_000_000)
    job_id = stage.move("cut")
    for attempt in (1, 2):
        eventually(lambda n=attempt: stage.copies(job_id, n), f"attempt {attempt} copies")
        stage.line.strike(LineFault.RESET)
        eventually(lambda n=attempt: not stage.copies(job_id, n), "the copy has broken off")
        stage.line.heal()
    return job_id


@forces("stalled", "it stops answering in mid copy")
def stalled(stage: Stage) -> int:
    stage.faulty.fault = Fault("write", "is dropped")
    return stage.move("faulty")


@forces("host-failed", "it fails to write and does not say why")
def host_failed(stage: Stage) -> int:
    stage.faulty.fault = Fault("write", "fails")
    return stage.move("faulty")


@forces("verify-failed", "it stores another byte")
def verify_failed(stage: Stage) -> int:
    stage.faulty.fault = Fault("write", "is altered")
    return stage.move("faulty")


@forces("cannot-replace", "it has no posix-rename, and a file is there")
def cannot_replace(stage: Stage) -> int:
    stage.faulty.announces = False
    stage.undo.callback(setattr, stage.faulty, "announces", True)
    return stage.move("faulty")


# the destination


@forces("no-root", "its root is missing")
def rootless(stage: Stage) -> int:
    return stage.move("rootless")


@forces("is-a-directory", "a directory has the file's name")
def directory_in_the_way(stage: Stage) -> int:
    (stage.vis / "d" / "a").mkdir(parents=True, exist_ok=True)
    return int(stage.proxy.move("local://disk/a", "sftp://vis/d/")["id"])


@forces("no-such-file", "a file stands where a parent is to be")
def file_in_the_way(stage: Stage) -> int:
    return int(stage.proxy.move("local://disk/a", "sftp://vis/b/c")["id"])


@forces("not-allowed", "a link leads out of its root")
def link_out_of_the_root(stage: Stage) -> int:
    (stage.vis / "out").symlink_to(stage.directory)
    return int(stage.proxy.move("local://disk/a", "sftp://vis/out/b")["id"])


@forces("permission", "its directory may not be written; for root, who may write everywhere, the disk is read-only")
def read_only(stage: Stage) -> int:
    locked = stage.vis / "locked"
    if os.geteuid() == 0:
        stage.undo.enter_context(small_disk(locked, 1_000_000, "ro"))
    else:
        locked.mkdir(mode=0o555)
    return int(stage.proxy.move("local://disk/a", "sftp://vis/locked/b")["id"])


@forces("no-space", "its disk is full")
def disk_full(stage: Stage) -> int:
    stage.source(2_000_000)
    tiny = stage.undo.enter_context(small_disk(stage.vis / "tiny", 1_000_000))
    return int(stage.proxy.move("local://disk/a", f"sftp://vis/{tiny.name}/b")["id"])


@forces("exists", "a file is there and is to stay")
def exists(stage: Stage) -> int:
    return stage.move(if_exists="refuse")


@forces("superseded", "a later move publishes there while this one waits for a paused host")
def superseded(stage: Stage) -> int:
    stage.operate("hosts", "pause", "slow")
    older = stage.move("slow")
    assert stage.proxy.check(older)["phase"] == "blocked"
    assert stage.service.ended(stage.move())["status"] == "COMPLETED"
    (stage.vis / "b").write_bytes(OLD)
    stage.operate("hosts", "resume", "slow")
    return older


# the source


@forces("no-such-file", "the source is missing")
def source_missing(stage: Stage) -> int:
    return stage.move(source="local://disk/missing")


@forces("no-such-file", "the source vanishes in mid copy and stays away")
def source_vanishes(stage: Stage) -> int:
    job_id = stage.slowly()
    (stage.disk / "a").unlink()
    return job_id


@forces("permission", "the source may not be read")
def source_unreadable(stage: Stage) -> int:
    (stage.vis / "a").write_bytes(b"not for everybody")
    stage.faulty.fault = Fault("open", "is denied")
    return stage.move("scp", source="sftp://faulty/a")


@forces("is-a-directory", "the source is a directory, and shall have the checksum of a file")
def source_is_a_directory(stage: Stage) -> int:
    (stage.disk / "folder").mkdir()
    stage.undo.callback((stage.disk / "folder").rmdir)
    return stage.move(source="local://disk/folder", path="/folder", checksum=f"sha256:{'0' * 64}")


@forces("not-a-directory", "the source is a directory, and a file has its name")
def a_file_is_in_the_way(stage: Stage) -> int:
    return stage.move(source="local://disk/")


@forces("not-a-directory", "the sources are two, and a file has the name")
def two_for_one_name(stage: Stage) -> int:
    return stage.move(source=["local://disk/a", "local://disk/a"])


@forces("name-conflict", "the sources are two of one name")
def two_of_one_name(stage: Stage) -> int:
    return stage.move(source=["local://disk/a", "local://disk/a"], path="/")


@forces("bad-name", "a name is not UTF-8")
def bad_name(stage: Stage) -> int:
    folder = stage.disk / "odd"
    folder.mkdir()
    stage.undo.callback(shutil.rmtree, folder)
    (folder / os.fsdecode(b"\xff")).touch()
    return stage.move(source="local://disk/odd", path="/", match="*[!a]")


@forces("not-atomic", "an object store is to make a folder appear at once")
def not_atomic(stage: Stage) -> int:
    folder = stage.disk / "whole"
    folder.mkdir()
    stage.undo.callback(shutil.rmtree, folder)
    (folder / "a").touch()
    return stage.move("store", source="local://disk/whole", path="/new", atomic=True)


@forces("not-a-regular-file", "the source is a pipe")
def source_is_a_pipe(stage: Stage) -> int:
    os.mkfifo(stage.disk / "pipe")
    return stage.move(source="local://disk/pipe")


@forces("not-allowed", "the source is a link out of the root")
def source_leads_out(stage: Stage) -> int:
    (stage.disk / "leak").symlink_to("/etc/hostname")
    return stage.move(source="local://disk/leak")


@forces("source-changed", "the source grows in each attempt")
def source_changed(stage: Stage) -> int:
    ended = threading.Event()
    job_id = stage.slowly()

    def grow() -> None:
        while not ended.wait(0.05):
            with suppress(FileNotFoundError), (stage.disk / "a").open("ab") as file:
                file.write(b"more")

    thread = threading.Thread(target=grow)
    thread.start()
    stage.undo.callback(thread.join)
    stage.undo.callback(ended.set)
    return job_id


@forces("checksum-mismatch", "the request says another checksum")
def checksum_mismatch(stage: Stage) -> int:
    return stage.move(checksum="sha256:" + "0" * 64)


# a web server


def from_the_web(stage: Stage, fault: WebFault, **options: Any) -> int:
    stage.web.faults["/web/a"] = fault
    return stage.move(source=f"{stage.web.url}/web/a?{QUERY}", **options)


@forces("http-404", "the web server has no such file")
def web_missing(stage: Stage) -> int:
    return from_the_web(stage, lambda answer: answer.answer(404, b"a page about it"))


@forces("http-403", "the web server does not give it")
def web_refused(stage: Stage) -> int:
    return from_the_web(stage, lambda answer: answer.answer(403))


@forces("http-401", "the web server refuses the login")
def web_login_refused(stage: Stage) -> int:
    return from_the_web(stage, lambda answer: answer.answer(401))


@forces("http-302", "the web server leads in a circle")
def web_circle(stage: Stage) -> int:
    return from_the_web(stage, lambda answer: answer.answer(302, Location=answer.path))


@forces("http-503", "the web server cannot answer now, and again")
def web_fails(stage: Stage) -> int:
    return from_the_web(stage, lambda answer: answer.answer(503))


@forces("connection-lost", "the web server sends less than it has announced, and again")
def web_cuts(stage: Stage) -> int:
    def cut(answer):
        answer.answer(200, b"the beginning", Content_Length=1000)
        answer.close_connection = True

    return from_the_web(stage, cut)


@forces("host-failed", "the web server sends more than it has announced, and again")
def web_overflows(stage: Stage) -> int:
    return from_the_web(stage, lambda answer: answer.answer(200, b"more than that", Content_Length=4))


@forces("stalled", "the web server stops in the middle, and again")
def web_stalls(stage: Stage) -> int:
    def stall(answer):
        answer.answer(200, b"the beginning", Content_Length=1000)
        stage.web.ended.wait(5)

    return from_the_web(stage, stall)


@forces("not-allowed", "the web server leads to a server that nobody has named")
def web_leads_out(stage: Stage) -> int:
    return from_the_web(stage, lambda answer: answer.answer(302, Location="http://127.0.0.1:1/"))


@forces("host-unreachable", "the web server leads to a registered one that is not there, and again")
def web_leads_nowhere(stage: Stage) -> int:
    gone = f"https://127.0.0.1:{stage.nobody_port}/"
    return from_the_web(stage, lambda answer: answer.answer(302, Location=gone))


@forces("source-changed", "the web server has another version each time")
def web_changes(stage: Stage) -> int:
    return from_the_web(stage, lambda answer: answer.answer(200, b"x", ETag=f'"{time.monotonic_ns()}"'))


@forces("too-large", "the web server sends more than the registry allows")
def too_large(stage: Stage) -> int:
    return from_the_web(stage, lambda answer: answer.answer(200, bytes(1_000_001)))


@forces("too-slow", "the web server needs longer than the registry allows, and again")
def too_slow(stage: Stage) -> int:
    def drip(answer):
        answer.answer(200, Content_Length=100)
        for _ in range(100):
            answer.wfile.write(b"x")
            stage.web.ended.wait(0.1)

    return from_the_web(stage, drip)


@forces("size-unknown", "the web server does not report where the file ends")
def size_unknown(stage: Stage) -> int:
    return from_the_web(stage, lambda answer: answer.answer(200, b"x", Content_Length=None, Connection="close"))


@forces("state-dir-full", "a file of unknown size waits for an scp host where there is no space, and again")
def state_dir_full(stage: Stage) -> int:
    stage.undo.enter_context(small_disk(stage.service.directory / "state", 1_000_000))
    chunks = {"Content_Length": None, "Transfer_Encoding": "chunked"}
    return from_the_web(stage, lambda answer: answer.answer(200, b"1\r\nx\r\n0\r\n\r\n", **chunks), destination="scp")


@forces("encoded", "the web server compresses the file")
def encoded(stage: Stage) -> int:
    return from_the_web(stage, lambda answer: answer.answer(200, b"x", Content_Encoding="gzip"))


@forces("certificate-refused", "the web server's certificate is from another authority")
def certificate_refused(stage: Stage) -> int:
    return stage.move(source={"host": "unproven", "path": "/a"})


# the service itself


@forces("deadline", "its time is up in mid copy")
def deadline(stage: Stage) -> int:
    return stage.slowly(4_000_000, deadline=3)


@forces("unknown-host", "the host is no destination any more when the move begins")
def unknown_host(stage: Stage) -> int:
    stage.operate("hosts", "pause", "vis")
    stage.undo.callback(stage.operate, "hosts", "resume", "vis")
    stage.undo.callback(eventually, lambda: len(roles(stage, "vis")) == 2, "the registry is as it was")
    job_id = stage.move()
    stage.registry(lambda text: re.sub(r'(\[hosts\.vis\].*?), "destination"', r"\1", text, count=1, flags=re.DOTALL))
    eventually(lambda: roles(stage, "vis") == ["source"], "the change counts")
    stage.operate("hosts", "resume", "vis")
    return job_id


def roles(stage: Stage, name: str) -> list[str]:
    [found] = [host["roles"] for host in stage.proxy.hosts() if host["name"] == name]
    return list(found)


@forces("unknown-outcome", "the worker dies in mid rename, and what it was to rename is gone")
def unknown_outcome(stage: Stage) -> int:
    stage.order("marked", "kill")
    job_id = stage.move()
    eventually(lambda: stage.struck("marked"), "it has been killed")
    for name in os.listdir(stage.vis):
        if name.startswith(TEMPORARY_PREFIX):
            (stage.vis / name).unlink()
    return job_id


@forces("poison", "its work-horse is killed three times")
def poison(stage: Stage) -> int:
    job_id = stage.slowly()
    for attempt in (1, 2, 3):
        eventually(lambda n=attempt: stage.proxy.check(job_id)["attempt"] == n, f"attempt {attempt} has begun")
        os.kill(stage.horse(), signal.SIGKILL)
    return job_id


@forces("internal", "an exception that nothing foresees, and again")
def internal(stage: Stage) -> int:
    stage.order("verifying", "raise")
    job_id = stage.move()
    eventually(lambda: stage.struck("verifying"), "the first attempt has broken")
    stage.order("verifying", "raise")
    return job_id


def test_every_code_is_forced():
    assert {failure_of(cause.code).code for cause in CAUSES} == set(FAILURES)


@pytest.mark.parametrize("cause", CAUSES, ids=lambda cause: f"{cause.code}: {cause.how}")
def test_a_failed_move_says_why_and_leaves_nothing_behind(stage, table, cause):
    stage.source()
    (stage.vis / "b").write_bytes(OLD)
    stage.faulty.fault = Fault()
    began = time.monotonic()
    with stage.undo:
        job = stage.service.ended(cause.bring_about(stage), 30)
        took_seconds = time.monotonic() - began
        eventually(lambda: not stage.left_behind(), f"nothing is left behind, {stage.left_behind()}")
    stage.faulty.fault = Fault()

    failure = failure_of(cause.code)
    assert (job["status"], job.get("code")) == ("FAILED", cause.code), job
    assert (job["retryable"], job["who_can_fix"]) == (failure.retryable, failure.who_can_fix)
    assert job["reason"].startswith(failure.sentence().rstrip("."))
    assert job["submitted_at"] <= job["ended_at"]
    assert (stage.vis / "b").read_bytes() == OLD
    assert SECRET.encode() not in stage.held_by_redis()
    assert QUERY.encode() not in stage.held_by_redis()
    for file in stage.service.directory.rglob("*"):
        if file.is_file():
            assert SECRET.encode() not in file.read_bytes(), file
    assert SECRET not in str(job)
    assert QUERY not in str(job)
    assert not [log for log in stage.service.directory.glob("*.log") if QUERY in log.read_text()]
    table.append(f"{cause.code:18} {took_seconds:7.1f}  {cause.how}")
