"""`plan` returns what the move then does, and changes nothing."""

import os
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import func, select
from sqlalchemy.engine import make_url

from data_mover.store.database import Database
from data_mover.store.models import Job, PlanRequest
from tests.servers.deployment import Deployment, XmlRpc, deployment, host_table
from tests.servers.faulty_sftp import Fault, FaultyServer, faulty_server
from tests.servers.processes import eventually, free_port
from tests.servers.small_disk import small_disk
from tests.servers.web import Handler, WebServer, web_server

SETTINGS = """
data_mover.max_attempts = 1
data_mover.lease_seconds = 1.5
data_mover.fault_points = true
data_mover.stop_seconds = 5
"""
FILES = {"a.tif": 1000, "sub/b.csv": 20, "sub/deeper/c": 0, "line\nbreak": 3}


@dataclass
class Stage:
    """A service that moves from `disk` and the web to `vis` over SFTP, to `scp` and to `shelf`, a local directory."""

    directory: Path
    service: Deployment
    proxy: XmlRpc
    web: WebServer
    #: the host `faulty`, another way to the disk
    faulty: FaultyServer
    #: how to undo what a case has done
    undo: ExitStack = field(default_factory=ExitStack)

    @property
    def disk(self) -> Path:
        return self.directory / "disk"

    @property
    def vis(self) -> Path:
        return self.directory / "vis"

    def order(self, point: str, action: str) -> None:
        (self.directory / ".order").write_text(action)
        (self.directory / ".order").rename(self.directory / "orders" / point)

    def count(self, table: type) -> int:
        database = Database(make_url(f"sqlite:///{self.service.directory}/jobs.db"))
        with database.reading() as session:
            rows = session.scalars(select(func.count()).select_from(table)).one()
        database.close()
        return rows


@pytest.fixture(scope="module")
def stage(tmp_path_factory, openssh, redis_url) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("plan")
    for name in ("disk", "vis", "orders"):
        (directory / name).mkdir()
    local = {"protocol": "local", "roles": ["source", "destination"]}
    ssh = openssh.options(directory / "vis", idle_timeout_seconds=10)
    with ExitStack() as stack:
        web = stack.enter_context(web_server(directory / "web"))
        (directory / "faulty").mkdir()
        faulty = stack.enter_context(faulty_server(directory / "faulty"))
        registry = (
            host_table("disk", {**local, "root": directory / "disk"})
            + host_table("shelf", {**local, "root": directory / "vis"})
            + host_table("vis", ssh)
            + host_table("scp", {**ssh, "protocol": "scp"})
            + host_table("moon", {**ssh, "port": free_port(), "connect_timeout_seconds": 2})
            + host_table("faulty", faulty.server.options(directory / "disk", idle_timeout_seconds=10))
            + host_table("web", web.options())
            + host_table("rootless-local", {**local, "root": directory / "nowhere"})
            + host_table("rootless-sftp", {**ssh, "root": directory / "nowhere"})
        )
        service = stack.enter_context(deployment(directory / "service", redis_url, registry, extra=SETTINGS))
        service.environment["DATA_MOVER_FAULTS"] = str(directory / "orders")
        service.start_web()
        service.start_worker()
        service.start_sweeper()
        proxy = stack.enter_context(service.proxy)
        yield Stage(directory, service, proxy, web, faulty)


@pytest.fixture
def name(stage, request) -> Iterator[str]:
    """A folder of that name on `disk`, and an empty one at the destination, for each test."""
    name = f"case-{abs(hash(request.node.nodeid))}"
    for path, size_bytes in FILES.items():
        (stage.disk / name / path).parent.mkdir(parents=True, exist_ok=True)
        (stage.disk / name / path).write_bytes(os.urandom(size_bytes))
    (stage.disk / name / "empty").mkdir()
    (stage.vis / name).mkdir()
    yield name
    stage.undo.close()


@pytest.fixture(params=["vis", "scp", "shelf"])
def host(request) -> str:
    return request.param


def seen(folder: Path) -> dict[str, Any]:
    """Everything below a folder, with every attribute that a change would alter."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        status = path.lstat()
        found[str(path)] = (status.st_ino, status.st_mode, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
    return found


def planned(proxy: XmlRpc, *arguments: Any) -> dict[str, Any]:
    """The complete plan, however long it takes."""
    return eventually(lambda: (plan := proxy.plan(*arguments))["complete"] and plan, "the plan is complete", 120)


@dataclass(frozen=True)
class Case:
    """A move, and its obstacle."""

    #: the source, below the folder
    source: Any = ""
    #: the destination, below its directory
    destination: str = "/"
    options: dict[str, Any] = field(default_factory=dict)
    prepare: Callable[[Stage, str], object] = lambda stage, name: None
    #: how the move ends; None if it is COMPLETED
    code: str | None = None


def written(path: str, text: str = "other") -> Callable[[Stage, str], None]:
    """A file exists at the destination."""

    def write(stage: Stage, name: str) -> None:
        (stage.vis / name / path).parent.mkdir(parents=True, exist_ok=True)
        (stage.vis / name / path).write_text(text)

    return write


def made(path: str) -> Callable[[Stage, str], None]:
    """A directory exists at the destination."""
    return lambda stage, name: (stage.vis / name / path).mkdir(parents=True)


def locked(stage: Stage, name: str) -> None:
    """For root, who may write everywhere, a read-only disk."""
    if os.geteuid() == 0:
        stage.undo.enter_context(small_disk(stage.vis / name / "locked", 1_000_000, "ro"))
    else:
        (stage.vis / name / "locked").mkdir(mode=0o555)


def tiny(stage: Stage, name: str) -> None:
    stage.undo.enter_context(small_disk(stage.vis / name / "tiny", 100_000))
    (stage.disk / name / "large").write_bytes(bytes(1_000_000))


CASES = {
    "a folder": Case(destination="/new/deeper"),
    "a folder into a directory": Case(),
    "a folder into what is there": Case("/sub", prepare=written("sub/b.csv")),
    "a file": Case("/a.tif", "/b.tif"),
    "a file into a directory": Case("/a.tif"),
    "a file at the path of another": Case("/a.tif", prepare=written("a.tif")),
    "a list": Case(["/a.tif", "/sub"]),
    "patterns": Case(options={"match": ["*.tif", "**/*.csv"]}),
    "the same bytes": Case("/sub/b.csv", "/b", {"if_exists": "verify"}),
    "at once": Case(destination="/new", options={"atomic": True}),
    "nothing there": Case("/nothing", code="no-such-file"),
    "one of a list is not there": Case(["/a.tif", "/nothing"], code="no-such-file"),
    "no file matches": Case(options={"match": "*.x"}, code="no-such-file"),
    "no file of a list matches": Case(["", "/sub"], options={"match": "*.x"}, code="no-such-file"),
    "a checksum of nothing": Case(options={"checksums": {"x": "sha256:" + "0" * 64}}, code="no-such-file"),
    "below a file": Case("/a.tif", "/file/a", prepare=written("file"), code="no-such-file"),
    "a folder onto a file": Case("/sub", prepare=written("sub"), code="not-a-directory"),
    "a file onto a directory": Case("/a.tif", prepare=made("a.tif"), code="is-a-directory"),
    "a list onto a file": Case(["/a.tif", "/sub"], "/file", prepare=written("file"), code="not-a-directory"),
    "a file of a folder onto a directory": Case("/sub", prepare=made("sub/b.csv"), code="is-a-directory"),
    "to be left": Case("/a.tif", options={"if_exists": "refuse"}, prepare=written("a.tif"), code="exists"),
    "another size": Case("/a.tif", options={"if_exists": "verify"}, prepare=written("a.tif"), code="exists"),
    "at once where something is": Case("/sub", options={"atomic": True}, prepare=made("sub"), code="exists"),
    "two of one name": Case(["/a.tif", "/a.tif"], code="name-conflict"),
    "a pipe": Case(
        prepare=lambda stage, name: os.mkfifo(stage.disk / name / "pipe"),
        code="not-a-regular-file",
    ),
    "a locked directory": Case("/a.tif", "/locked/", prepare=locked, code="permission"),
    "a folder into a locked directory": Case("/sub", "/locked/", prepare=locked, code="permission"),
    "a small disk": Case("/large", "/tiny/", prepare=tiny, code="no-space"),
    "a folder for a small disk": Case("", "/tiny/new", prepare=tiny, code="no-space"),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_plan_is_what_the_move_comes_to(stage, name, host, case):
    case.prepare(stage, name)
    source = (
        [f"local://disk/{name}{each}" for each in case.source]
        if isinstance(case.source, list)
        else f"local://disk/{name}{case.source}"
    )
    if case.options.get("if_exists") == "verify" and case.code is None:
        (stage.vis / name / "b").write_bytes((stage.disk / name / "sub/b.csv").read_bytes())
    arguments = [source, f"sftp://{host}/{name}{case.destination}", case.options]
    before, jobs = seen(stage.disk / name) | seen(stage.vis / name), stage.count(Job)

    plan = planned(stage.proxy, *arguments)

    assert seen(stage.disk / name) | seen(stage.vis / name) == before
    assert stage.count(Job) == jobs
    assert stage.count(PlanRequest) == 0
    job = stage.service.ended(stage.proxy.move(*arguments)["id"])
    assert plan["destination"] == {"host": host, "path": f"/{name}{case.destination}"}
    assert (plan.get("code"), job.get("code")) == (case.code, case.code), (plan, job)
    assert job.get("path") in (None, plan.get("path"))
    if case.code is None:
        assert (plan["files_total"], plan["bytes_total"]) == (job["files_total"], job["bytes_total"])
        assert plan["writable"] is True
        assert plan["bytes_free"] > 0
        assert plan["files_failed"] == 0
    else:
        assert plan["reason"].partition(": ")[0] in job["reason"]
        assert plan["retryable"] is job["retryable"]
        assert plan["who_can_fix"] == job["who_can_fix"]


def test_what_stands_at_the_final_paths_is_counted(stage, name, host):
    for path in ("a.tif", "sub/b.csv"):
        written(path)(stage, name)

    plan = planned(stage.proxy, f"local://disk/{name}", f"sftp://{host}/")

    assert (plan["files_total"], plan["files_existing"]) == (len(FILES), 2)
    assert "code" not in plan
    assert "phase" not in plan


def test_files_that_would_fail_are_reported_by_name_and_counted(stage, name):
    for number in range(120):
        os.mkfifo(stage.disk / name / f"pipe {number}")

    plan = planned(stage.proxy, f"local://disk/{name}", f"sftp://vis/{name}")

    assert (plan["files_failed"], len(plan["failures"])) == (120, 100)
    assert {each["code"] for each in plan["failures"]} == {"not-a-regular-file"}
    assert plan["failures"][0]["name"].startswith("pipe ")


@pytest.mark.parametrize("options", [{}, {"match": "**/c"}], ids=["everything", "patterns"])
def test_a_directory_that_cannot_be_read_is_reported_as_the_move_reports_it(stage, name, options):
    stage.faulty.fault = Fault("opendir", "is denied", number=2)
    arguments = [f"sftp://faulty/{name}/sub", f"local://shelf/{name}/new", options]

    plan = planned(stage.proxy, *arguments)

    job = stage.service.ended(stage.proxy.move(*arguments)["id"])
    files = {file["name"]: file for file in stage.proxy.files(job["id"], {"state": "failed"})}
    assert (plan["code"], plan["files_failed"], job["code"]) == ("permission", 1, "permission")
    assert plan["failures"] == [{key: files["deeper"][key] for key in ("name", "code", "reason")}]
    names = [file["name"] for file in stage.proxy.files(job["id"])]
    assert names == (["", "deeper"] if options else ["", "b.csv", "deeper"])


@pytest.mark.parametrize("rootless", ["rootless-sftp", "rootless-local"])
def test_a_root_that_is_not_there_is_reported_as_the_move_reports_it(stage, name, rootless):
    arguments = [f"local://disk/{name}/a.tif", f"sftp://{rootless}/new/"]

    plan = planned(stage.proxy, *arguments)

    job = stage.service.ended(stage.proxy.move(*arguments)["id"])
    assert (plan["code"], plan["reason"]) == (job["code"], job["reason"]) == ("no-root", job["reason"])


def test_a_file_on_the_web_is_sized_and_not_read(stage, name):
    large = stage.disk / name / "large"
    large.write_bytes(bytes(5_000_000))

    plan = planned(stage.proxy, f"{stage.web.url}{large}", f"sftp://vis/{name}/")
    missing = planned(stage.proxy, f"{stage.web.url}{large}.missing", f"sftp://vis/{name}/")

    assert (plan["path"], plan["files_total"], plan["bytes_total"]) == (f"/{name}/large", 1, 5_000_000)
    assert (missing["code"], missing["complete"]) == ("http-404", True)


def test_what_takes_longer_than_a_call_waits_is_answered_in_part_and_resumed(stage, name):
    urls = [f"{stage.web.url}/slow/{number}" for number in range(6)]
    stage.web.faults |= {f"/slow/{number}": slowly for number in range(6)}
    planned(stage.proxy, f"local://disk/{name}", f"sftp://vis/{name}/")  # a worker is awake
    asked_before = len(stage.web.requests)

    first = stage.proxy.plan(urls, f"sftp://vis/{name}/")
    second = stage.proxy.plan(urls, f"sftp://vis/{name}/")

    assert (first["complete"], first["phase"], first["path"]) == (False, "resolving", f"/{name}")
    assert 0 < first["files_total"] < 6
    assert (second["complete"], second["files_total"], second["bytes_total"]) == (True, 6, 6)
    assert len(stage.web.requests) - asked_before == 6


def slowly(handler: Handler) -> None:
    """Answers after two seconds."""
    handler.server.web.ended.wait(2)
    handler.answer(200, b"x")


def test_a_large_folder_is_reported_as_a_whole(stage, name):
    for number in range(10_000):
        path = stage.disk / name / f"{number % 100}" / f"{number}"
        path.parent.mkdir(exist_ok=True)
        path.touch()

    assert planned(stage.proxy, f"local://disk/{name}", f"sftp://vis/{name}/new")["files_total"] == 10_000 + len(FILES)


def test_a_host_that_is_away_blocks_and_is_not_tried_for_each_plan(stage, name):
    first = planned(stage.proxy, f"local://disk/{name}", f"sftp://moon/{name}")
    second = planned(stage.proxy, f"local://disk/{name}/sub", f"sftp://moon/{name}")

    for plan in (first, second):
        assert (plan["complete"], plan["phase"], plan["code"]) == (True, "blocked", "host-unreachable")
    assert stage.service.log("worker").count("host-failed host=moon") == 1


def test_a_plan_is_refused_where_the_move_would_be(stage):
    for arguments in ([], ["local://disk/a"], ["species", 12], ["local://disk/a", "sftp://mars/a"]):
        assert stage.proxy.plan(*arguments) == stage.proxy.move(*arguments)
        assert stage.proxy.plan(*arguments)["status"] == "REJECTED"


@pytest.mark.parametrize("action", ["kill", "raise"])
def test_a_worker_that_is_struck_leaves_the_plan_request_to_another(stage, name, action):
    stage.order("answering", action)

    plan = planned(stage.proxy, f"local://disk/{name}", f"sftp://vis/{name}/")

    assert plan["files_total"] == len(FILES)
    assert not (stage.directory / "orders" / "answering").exists()


def test_several_who_ask_the_same_are_all_answered(stage, name):
    def ask(_: int) -> dict[str, Any]:
        with stage.service.proxy as proxy:
            return planned(proxy, f"local://disk/{name}", f"sftp://vis/{name}/")

    with ThreadPoolExecutor(4) as pool:
        assert [plan["files_total"] for plan in pool.map(ask, range(4))] == [len(FILES)] * 4


def test_a_worker_that_is_asked_to_stop_leaves_the_plan_request_to_another(stage, name):
    """The host that it waits for answers nobody else meanwhile."""
    asked = threading.Event()

    def hangs_once(handler: Handler) -> None:
        if not asked.is_set():
            asked.set()
            handler.server.web.ended.wait()
        handler.answer(200, b"x")

    stage.web.faults["/hangs"] = hangs_once
    arguments = [f"{stage.web.url}/hangs", f"sftp://vis/{name}/"]
    with ThreadPoolExecutor(1) as pool, stage.service.proxy as proxy:
        plan = pool.submit(planned, proxy, *arguments)
        eventually(asked.is_set, "the server was asked")
        stage.service.stop(worker := stage.service.workers.pop())
        stage.service.start_worker()

        assert worker.returncode == 0
        assert plan.result()["files_total"] == 1


@pytest.fixture(scope="module")
def idle(tmp_path_factory, redis_url) -> Iterator[Deployment]:
    """A service of which nobody answers, until a test starts a worker."""
    directory = tmp_path_factory.mktemp("idle")
    (directory / "disk").mkdir()
    for number in range(3):
        (directory / "disk" / str(number)).write_text("x")
    here = {"protocol": "local", "roles": ["source", "destination"], "root": directory / "disk"}
    with deployment(directory / "service", redis_url, host_table("disk", here)) as service:
        service.start_web()
        yield service


def test_the_answer_comes_in_time_and_the_same_call_is_answered_later(idle):
    arguments = [["local://disk/0", "local://disk/1"], "local://disk/new/"]
    begun = time.monotonic()
    with idle.proxy as proxy:
        first = proxy.plan(*arguments)
        waited = time.monotonic() - begun
        idle.start_worker()
        idle.start_sweeper()
        second = planned(proxy, *arguments)

    assert (first["complete"], first["phase"], first["files_total"]) == (False, "queued", 0)
    assert waited >= 9
    assert second["files_total"] == 2


def test_half_of_the_threads_stay_free_for_others(idle):
    for worker in idle.workers:
        idle.stop(worker)
    threads = [threading.Thread(target=_ask, args=(idle, number)) for number in range(16)]
    for thread in threads:
        thread.start()
    with idle.proxy as proxy:
        eventually(lambda: sum(thread.is_alive() for thread in threads) == 4, "all but four are answered")
        proxy.hosts()
        assert sum(thread.is_alive() for thread in threads) == 4
    for thread in threads:
        thread.join()


def _ask(service: Deployment, number: int) -> None:
    with service.proxy as proxy:
        proxy.plan("local://disk/0", f"local://disk/new-{number}")
