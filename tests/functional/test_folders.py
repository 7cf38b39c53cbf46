"""Folders and lists, moved by a whole service: what arrives, what is reported of each file, and what is left behind."""

import hashlib
import os
import shutil
import stat
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import pytest

from data_mover.transfer.names import TEMPORARY_PREFIX
from tests.servers.deployment import Deployment, XmlRpc, deployment, host_table
from tests.servers.processes import eventually

SETTINGS = """
data_mover.max_attempts = 3
data_mover.retry_first_seconds = 0.1
data_mover.lease_seconds = 1.5
data_mover.fault_points = true
"""
DATASETS = """
[datasets.layers]
source = { host = "disk", path = "/layers/{id}" }
destination = "vis:/layers/"
[datasets.pair]
source = ["local://disk/pair/{id}.csv", { host = "disk", path = "/pair/{id}.txt" }]
"""
ODD_NAMES = ["with space", "quote'\"`", "$(touch evil)", "line\nbreak", "*?[x]", "-rf", "é", "back\\slash", ".hidden"]


@dataclass
class Stage:
    """A service that moves from `disk` to `vis` over SFTP, to `scp` and to `shelf`, a local directory."""

    directory: Path
    service: Deployment
    proxy: XmlRpc

    @property
    def disk(self) -> Path:
        return self.directory / "disk"

    @property
    def vis(self) -> Path:
        return self.directory / "vis"

    def move(self, source: Any, destination: Any, **options: Any) -> int:
        answer = self.proxy.move(source, destination, options)
        assert "id" in answer, answer
        return int(answer["id"])

    def moved(self, source: Any, destination: Any, **options: Any) -> dict[str, Any]:
        return self.service.ended(self.move(source, destination, **options))

    def states(self, job_id: int) -> dict[str, str]:
        """Of the files, by name."""
        return {file["name"]: file["state"] for file in self.files(job_id) if file["kind"] == "file"}

    def files(self, job_id: int) -> list[dict[str, Any]]:
        found, page = [], self.proxy.files(job_id)
        while page:
            found += page
            page = self.proxy.files(job_id, {"after": page[-1]["number"]})
        return found

    def order(self, point: str, action: str) -> None:
        (self.directory / ".order").write_text(action)
        (self.directory / ".order").rename(self.directory / "orders" / point)

    def left_behind(self) -> list[str]:
        """What is being removed at this moment may be reported or not."""
        found = [Path(above, name) for above, below, names in os.walk(self.vis) for name in [*below, *names]]
        return [str(path) for path in found if path.name.startswith(TEMPORARY_PREFIX)]


@pytest.fixture(scope="module")
def stage(tmp_path_factory, openssh, redis_url):
    directory = tmp_path_factory.mktemp("folders")
    for name in ("disk", "vis", "orders"):
        (directory / name).mkdir()
    local = {"protocol": "local", "roles": ["source", "destination"]}
    ssh = openssh.options(directory / "vis", idle_timeout_seconds=10)
    registry = (
        host_table("disk", {**local, "root": directory / "disk"})
        + host_table("shelf", {**local, "root": directory / "vis"})
        + host_table("vis", ssh)
        + host_table("slow", {**ssh, "bandwidth": "300KB/s"})
        + host_table("scp", {**ssh, "protocol": "scp"})
        + DATASETS
    )
    with deployment(directory / "service", redis_url, registry, extra=SETTINGS) as service:
        service.environment["DATA_MOVER_FAULTS"] = str(directory / "orders")
        service.start_web()
        service.start_worker()
        service.start_worker()
        service.start_sweeper()
        with service.proxy as proxy:
            yield Stage(directory, service, proxy)


@pytest.fixture(params=["vis", "scp", "shelf"])
def host(request):
    return request.param


@pytest.fixture
def tree(stage, request):
    """A folder of its own for each test, and the name by which it is known on `disk`."""
    name = f"tree-{abs(hash(request.node.nodeid))}"
    folder = stage.disk / name
    make_tree(folder)
    yield folder
    shutil.rmtree(folder)


def make_tree(folder: Path) -> None:
    for path in ("sub/deeper", "sub/empty", "empty", *ODD_NAMES[:6]):
        (folder / path).mkdir(parents=True)
    for directory in (folder, folder / "sub" / "deeper"):
        for number, name in enumerate(ODD_NAMES):
            (directory / f"{name}.bin").write_bytes(hashlib.shake_128(name.encode()).digest(number * 1000))
    (folder / "sub" / "run.sh").write_text("#!/bin/sh\n")
    (folder / "sub" / "run.sh").chmod(0o755)
    (folder / "sub" / "secret.txt").write_text("mine")
    (folder / "sub" / "secret.txt").chmod(0o600)
    (folder / "sub" / "empty").chmod(0o700)
    (folder / "link").symlink_to("sub/run.sh")
    for number, (above, _, names) in enumerate(os.walk(folder, topdown=False)):
        for name in names:
            if not os.path.islink(os.path.join(above, name)):
                os.utime(os.path.join(above, name), (1_600_000_000 + number,) * 2)
        os.utime(above, (1_500_000_000 + number,) * 2)


def seen(folder: Path) -> dict[str, Any]:
    """What there is below a folder: kinds, modes, times and contents, links left out."""
    found = {}
    for path in [folder, *folder.rglob("*")]:
        if not path.is_symlink():
            status = path.stat()
            content = path.read_bytes() if path.is_file() else None
            found[str(path.relative_to(folder))] = (stat.S_IMODE(status.st_mode), int(status.st_mtime), content)
    return found


def test_a_folder_arrives_as_it_is(stage, tree, host):
    target = stage.vis / f"new-{host}"

    job = stage.moved(f"local://disk/{tree.name}", f"sftp://{host}/{target.name}")

    assert job["status"] == "COMPLETED", job
    assert seen(target) == seen(tree)
    states = stage.states(job["id"])
    assert set(states.values()) == {"published"}
    assert job["files_total"] == job["files_done"] == len(states)
    assert job["bytes_total"] == job["bytes_done"] == sum(len(each[2] or b"") for each in seen(tree).values())
    assert job["path"] == f"/{target.name}"
    assert stage.left_behind() == []


def test_a_folder_is_read_from_every_kind_of_host(stage, tree, host):
    assert stage.moved(f"local://disk/{tree.name}", f"sftp://shelf/from-{host}")["status"] == "COMPLETED"

    job = stage.moved(f"sftp://{host}/from-{host}", f"local://disk/back-{host}")

    assert job["status"] == "COMPLETED", job
    assert seen(stage.disk / f"back-{host}") == seen(tree)
    shutil.rmtree(stage.disk / f"back-{host}")


def test_a_folder_merges_into_what_is_there_and_removes_nothing(stage, tree):
    target = stage.vis / tree.name
    (target / "sub").mkdir(parents=True)
    (target / "sub" / "other").write_text("stays")
    (target / "sub" / "run.sh").write_text("goes")

    job = stage.moved(f"local://disk/{tree.name}", "sftp://vis/")

    assert job["status"] == "COMPLETED", job
    assert (target / "sub" / "other").read_text() == "stays"
    assert (target / "sub" / "run.sh").read_text() == "#!/bin/sh\n"
    assert seen(tree).keys() < seen(target).keys()


def test_directories_that_stood_there_keep_their_mode_and_new_ones_get_that_of_the_source(stage, tree, host):
    target = stage.vis / f"kept-{host}" / tree.name
    (target / "sub").mkdir(parents=True)
    for path, mode in ((tree, 0o777), (tree / "sub", 0o777), (target, 0o750), (target / "sub", 0o750)):
        path.chmod(mode)

    job = stage.moved(f"local://disk/{tree.name}", f"sftp://{host}/kept-{host}/")

    assert job["status"] == "COMPLETED", job
    modes = [stat.S_IMODE(path.stat().st_mode) for path in (target, target / "sub", target / "sub" / "empty")]
    assert modes == [0o750, 0o750, 0o700]
    assert (target / "sub" / "empty").stat().st_mtime == (tree / "sub" / "empty").stat().st_mtime
    states = {file["name"]: file["state"] for file in stage.files(job["id"]) if file["kind"] == "directory"}
    assert {name for name, state in states.items() if state == "skipped"} == {"", "sub"}
    assert states["sub/empty"] == "published"


def test_a_subfolder_that_is_a_link_within_the_root_receives_files_and_changes_nothing_else(stage, tree, host):
    target, other = stage.vis / f"linked-{host}" / tree.name, stage.vis / f"other-{host}"
    target.mkdir(parents=True)
    other.mkdir()
    other.chmod(0o750)
    (target / "sub").symlink_to(f"../../{other.name}")

    job = stage.moved(f"local://disk/{tree.name}", f"sftp://{host}/linked-{host}/")

    assert job["status"] == "COMPLETED", job
    assert (other / "run.sh").read_text() == "#!/bin/sh\n"
    assert (target / "sub").is_symlink()
    assert stat.S_IMODE(other.stat().st_mode) == 0o750


def test_what_is_there_already_is_skipped_where_that_is_asked_for(stage, tree):
    stage.moved(f"local://disk/{tree.name}", "sftp://vis/twice")
    before = {path: path.stat().st_ino for path in (stage.vis / "twice").rglob("*") if path.is_file()}
    (tree / "sub" / "new").write_text("new")

    job = stage.moved(f"local://disk/{tree.name}/sub", "sftp://vis/twice/", if_exists="verify")

    assert job["status"] == "COMPLETED", job
    states = stage.states(job["id"])
    assert states.pop("new") == "published"
    assert set(states.values()) == {"skipped"}
    assert before.items() <= {path: path.stat().st_ino for path in (stage.vis / "twice").rglob("*")}.items()


def test_patterns_choose_files(stage, tree):
    (tree / "a.tif").touch()
    (tree / "sub" / "b.tif").touch()
    (tree / "sub" / "deeper" / "c.csv").touch()

    job = stage.moved(f"local://disk/{tree.name}", "sftp://vis/chosen", match=["*.tif", "**/*.csv"])

    assert job["status"] == "COMPLETED", job
    assert sorted(stage.states(job["id"])) == ["a.tif", "sub/deeper/c.csv"]
    assert sorted(path.name for path in (stage.vis / "chosen").rglob("*")) == ["a.tif", "c.csv", "deeper", "sub"]


def test_where_no_file_matches_the_move_fails(stage, tree):
    job = stage.moved(f"local://disk/{tree.name}", "sftp://vis/none", match="*.nothing")

    assert (job["status"], job["code"]) == ("FAILED", "no-such-file")
    assert "options.match" in job["reason"]
    assert not (stage.vis / "none").exists()


@pytest.mark.parametrize(
    ("links", "status", "state"),
    [("skip", "COMPLETED", None), ("follow", "COMPLETED", "published"), ("refuse", "FAILED", "failed")],
)
def test_links_are_left_out_followed_or_refused(stage, tree, links, status, state):
    (tree / "loop").symlink_to(".")
    (tree / "to-sub").symlink_to("sub")

    target = stage.vis / f"links-{links}"
    job = stage.moved(f"local://disk/{tree.name}", f"sftp://vis/{target.name}", links=links)

    states = stage.states(job["id"])
    assert states.get("link") == state
    assert states.get("loop") == (None if links == "skip" else "failed")
    assert job["status"] == ("FAILED" if links == "follow" else status)
    assert (target / "to-sub" / "run.sh").exists() == (links == "follow")
    assert (target / "sub" / "run.sh").exists()


def test_special_files_are_refused_by_name_and_the_others_arrive(stage, tree):
    os.mkfifo(tree / "sub" / "pipe")
    (tree / os.fsdecode(b"not-\xff-utf8")).touch()

    job = stage.moved(f"local://disk/{tree.name}", "sftp://vis/special")

    failed = {file["name"]: file["code"] for file in stage.proxy.files(job["id"], {"state": "failed"})}
    assert failed == {"sub/pipe": "not-a-regular-file", "not-\ufffd-utf8": "bad-name"}
    assert (job["status"], job["files_total"] - job["files_completed"]) == ("FAILED", 2)
    assert job["reason"].startswith(f"2 of {job['files_total']} files have not arrived. ")
    assert (stage.vis / "special" / "sub" / "run.sh").exists()


def test_a_list_is_received_by_a_directory(stage, tree):
    (stage.disk / "single").write_text("single")
    pair = make_pair(stage)
    sources = [{"host": "disk", "path": "/single"}, f"local://disk/{tree.name}", {"type": "pair", "id": 7}]

    job = stage.moved(sources, "sftp://vis/listed/")

    assert job["status"] == "COMPLETED", job
    assert (stage.vis / "listed" / "single").read_text() == "single"
    assert (stage.vis / "listed" / tree.name / "sub" / "run.sh").exists()
    assert {name: (stage.vis / "listed" / name).read_text() for name in pair} == pair
    assert f"{tree.name}/sub/run.sh" in stage.states(job["id"])


def make_pair(stage: Stage) -> dict[str, str]:
    (stage.disk / "pair").mkdir(exist_ok=True)
    (stage.disk / "pair" / "7.csv").write_text("csv")
    (stage.disk / "pair" / "7.txt").write_text("txt")
    return {"7.csv": "csv", "7.txt": "txt"}


def test_one_that_is_missing_keeps_no_other_from_arriving_and_a_retry_moves_it_alone(stage, tree):
    names = [f"{number}.bin" for number in range(3)]
    for name in names:
        (tree / name).write_bytes(os.urandom(1000))
    hidden = (tree / "1.bin").rename(stage.disk / f"{tree.name}-hidden")
    sources = [{"host": "disk", "path": f"/{tree.name}/{name}"} for name in names]

    first = stage.moved(sources, "sftp://vis/partly/")
    assert (first["status"], first["code"], first["files_completed"]) == ("FAILED", "no-such-file", 2)
    inodes = {name: (stage.vis / "partly" / name).stat().st_ino for name in ("0.bin", "2.bin")}
    hidden.rename(tree / "1.bin")
    second = stage.service.ended(stage.proxy.retry(first["id"])["id"])

    assert second["status"] == "COMPLETED", second
    assert stage.states(second["id"]) == {"0.bin": "skipped", "1.bin": "published", "2.bin": "skipped"}
    assert {name: (stage.vis / "partly" / name).stat().st_ino for name in ("0.bin", "2.bin")} == inodes
    assert (stage.vis / "partly" / "1.bin").read_bytes() == (tree / "1.bin").read_bytes()


def test_a_retry_moves_again_what_is_no_longer_as_it_was(stage, tree):
    (tree / "gone").write_text("x")
    (tree / "gone").chmod(0)
    os.mkfifo(tree / "pipe")
    first = stage.moved(f"local://disk/{tree.name}", "sftp://vis/again")
    (stage.vis / "again" / "sub" / "run.sh").write_text("meddled with")
    (tree / "pipe").unlink()

    second = stage.service.ended(stage.proxy.retry(first["id"])["id"])

    assert (first["status"], second["status"], second["path"]) == ("FAILED", "COMPLETED", "/again")
    assert (stage.vis / "again" / "sub" / "run.sh").read_text() == "#!/bin/sh\n"
    assert stage.states(second["id"])["sub/run.sh"] == "published"
    assert stage.states(second["id"])["sub/secret.txt"] == "skipped"


@pytest.mark.parametrize("place", ["source", "destination"])
def test_a_retry_looks_at_the_bytes_and_not_at_times_alone(stage, tree, place):
    """Those of a source within the same second, those of the destination put back."""
    os.utime(tree / "sub" / "run.sh", ns=(0, 1_000_200_000_000))
    os.mkfifo(tree / "pipe")
    first = stage.moved(f"local://disk/{tree.name}", f"sftp://vis/{tree.name}")
    changed = (tree if place == "source" else stage.vis / tree.name) / "sub" / "run.sh"
    changed.write_text("#!/bin/no\n")
    os.utime(changed, ns=(0, 1_000_700_000_000 if place == "source" else 1_000_000_000_000))
    (tree / "pipe").unlink()

    second = stage.service.ended(stage.proxy.retry(first["id"])["id"])

    assert (first["status"], second["status"]) == ("FAILED", "COMPLETED")
    assert (stage.vis / tree.name / "sub" / "run.sh").read_text() == (tree / "sub" / "run.sh").read_text()
    assert stage.states(second["id"])["sub/run.sh"] == "published"
    assert stage.states(second["id"])["sub/secret.txt"] == "skipped"


def test_the_figures_of_a_job_that_ended_add_up_from_its_files(stage, tree):
    os.mkfifo(tree / "pipe")

    part, whole = (
        stage.moved(f"local://disk/{tree.name}", f"sftp://vis/figures-{atomic}", atomic=atomic)
        for atomic in (False, True)
    )
    files = [file for file in stage.files(part["id"]) if file["kind"] == "file"]
    there = [file for file in files if file["state"] == "published"]

    assert (part["status"], part["files_total"], part["files_done"]) == ("FAILED", len(files), len(files) - 1)
    assert part["bytes_done"] == part["bytes_total"] == sum(file["size_bytes"] for file in there) > 0
    assert part["reason"].startswith(f"1 of {len(files)} files have not arrived. ")
    assert (whole["status"], whole["files_done"], whole["bytes_done"]) == ("FAILED", 0, 0)
    assert whole["reason"].startswith(f"{len(files)} of {len(files)} files have not arrived. ")
    assert set(stage.states(whole["id"]).values()) == {"failed"}


def test_a_completed_folder_shows_the_digest_of_the_list_of_its_files(stage, tree):
    job = stage.moved(f"local://disk/{tree.name}", "vis:/proof/")

    files = [file for file in stage.files(job["id"]) if file["kind"] == "file"]
    printed = "".join(f"{file['sha256']}  {file['name']}\0" for file in files)
    names = "".join(f"{file['name']}\0" for file in files)
    sums = subprocess.run(
        ["xargs", "-0", "sha256sum", "--zero", "--"],
        input=names.encode(),
        cwd=stage.vis / "proof" / tree.name,
        capture_output=True,
        check=True,
    )
    assert (job["status"], job["verified"]) == ("COMPLETED", "sha256-readback")
    assert job["sha256"] == hashlib.sha256(printed.encode()).hexdigest() == hashlib.sha256(sums.stdout).hexdigest()
    with urlopen(stage.service.url.replace("data_mover", f"moves/{job['id']}")) as page:
        assert job["sha256"] in page.read().decode()


def test_a_completed_folder_of_one_file_shows_the_digest_of_that_file(stage, tmp_path):
    (stage.disk / "one" / "empty").mkdir(parents=True)
    (stage.disk / "one" / "file").write_bytes(b"one")

    job = stage.moved("local://disk/one", "vis:/proof-one/")

    assert (job["files_total"], job["sha256"]) == (1, hashlib.sha256(b"one").hexdigest())


def test_while_files_are_missing_their_owner_may_write_into_all_directories(stage, tree, host):
    closed, target = tree / "sub", stage.vis / f"closed-{host}"
    os.mkfifo(closed / "pipe")
    closed.chmod(0o555)

    first = stage.moved(f"local://disk/{tree.name}", f"sftp://{host}/{target.name}")
    open_mode = stat.S_IMODE((target / "sub").stat().st_mode)
    (closed / "pipe").unlink()
    (closed / "pipe").write_text("no pipe")
    second = stage.service.ended(stage.proxy.retry(first["id"])["id"])

    assert (first["status"], second["status"]) == ("FAILED", "COMPLETED")
    assert oct(open_mode) == oct(0o755)
    assert oct(stat.S_IMODE((target / "sub").stat().st_mode)) == oct(0o555)
    closed.chmod(0o755)


def test_checksums_are_those_of_the_files(stage, tree):
    right = f"sha256:{hashlib.sha256((tree / 'sub' / 'run.sh').read_bytes()).hexdigest()}"

    good = stage.moved(f"local://disk/{tree.name}", "sftp://vis/right", checksums={"sub/run.sh": right})
    bad = stage.moved(f"local://disk/{tree.name}", "sftp://vis/wrong", checksums={"sub/secret.txt": right})
    unknown = stage.moved(f"local://disk/{tree.name}", "sftp://vis/unknown", checksums={"sub/nothing": right})

    assert good["status"] == "COMPLETED", good
    assert (bad["status"], bad["code"]) == ("FAILED", "checksum-mismatch")
    assert not (stage.vis / "wrong" / "sub" / "secret.txt").exists()
    assert (unknown["status"], unknown["code"]) == ("FAILED", "no-such-file")
    assert "sub/nothing" in unknown["reason"]


def test_a_checksum_of_a_directory_fails_the_move(stage, tree):
    digest = f"sha256:{'0' * 64}"

    moves = [
        stage.moved(f"local://disk/{tree.name}", "sftp://vis/proven", checksums={"sub/empty": digest}),
        stage.moved(f"local://disk/{tree.name}", "sftp://vis/proven", checksum=digest),
        stage.moved([f"local://disk/{tree.name}"], "sftp://vis/proven", checksums={"": digest}),
    ]

    assert [(job["status"], job["code"]) for job in moves] == [("FAILED", "is-a-directory")] * 3
    assert f"/{tree.name}/sub/empty; options.checksums is of files" in moves[0]["reason"]
    assert not (stage.vis / "proven").exists()


def test_a_folder_appears_at_once(stage, tree, host):
    target = stage.vis / f"whole-{host}"

    job = stage.moved(f"local://disk/{tree.name}", f"sftp://{host}/{target.name}", atomic=True)

    assert job["status"] == "COMPLETED", job
    assert seen(target) == seen(tree)
    assert set(stage.states(job["id"]).values()) == {"published"}
    eventually(lambda: not stage.left_behind(), "nothing is left behind")
    again = stage.moved(f"local://disk/{tree.name}", f"sftp://{host}/{target.name}/", atomic=True)
    assert again["status"] == "COMPLETED", again  # its own name within the folder is free
    third = stage.moved(f"local://disk/{tree.name}", f"sftp://{host}/{target.name}/", atomic=True)
    assert (third["status"], third["code"]) == ("FAILED", "exists")


def test_a_folder_that_cannot_appear_as_a_whole_does_not_appear(stage, tree):
    os.mkfifo(tree / "sub" / "pipe")

    job = stage.moved(f"local://disk/{tree.name}", "sftp://vis/never", atomic=True)

    assert (job["status"], job["code"], job["files_completed"]) == ("FAILED", "not-a-regular-file", 0)
    assert not (stage.vis / "never").exists()
    eventually(lambda: not stage.left_behind(), "nothing is left behind")


@pytest.mark.parametrize("point", ["recorded", "verified", "marked", "renamed", "moved", "verifying"])
@pytest.mark.parametrize("atomic", [False, True], ids=["file by file", "at once"])
def test_a_folder_resumes_where_a_worker_died(stage, tree, point, atomic):
    target = stage.vis / f"died-{point}-{atomic}"

    stage.order(point, "kill")
    job = stage.moved(f"local://disk/{tree.name}", f"sftp://vis/{target.name}", atomic=atomic)

    assert (job["status"], job["attempt"]) == ("COMPLETED", 2), job
    assert seen(target) == seen(tree)
    assert stage.states(job["id"]).keys() == {name for name, each in seen(tree).items() if each[2] is not None}
    eventually(lambda: not stage.left_behind(), "nothing is left behind")


@pytest.mark.parametrize("point", ["tree-recorded", "tree-marked", "tree-renamed", "tree-forgotten"])
def test_a_folder_appears_once_where_a_worker_died_that_let_it_appear(stage, tree, point):
    target = stage.vis / f"died-{point}"

    stage.order(point, "kill")
    job = stage.moved(f"local://disk/{tree.name}", f"sftp://vis/{target.name}", atomic=True)

    assert (job["status"], job["attempt"]) == ("COMPLETED", 2), job
    assert seen(target) == seen(tree)
    eventually(lambda: not stage.left_behind(), "nothing is left behind")


def test_a_folder_that_something_came_before_leaves_nothing_of_itself(stage, tree):
    target = stage.vis / "came-before"

    stage.order("verifying", "kill")
    job_id = stage.move(f"local://disk/{tree.name}", f"sftp://vis/{target.name}", atomic=True)
    eventually(lambda: not (stage.directory / "orders" / "verifying").exists(), "a worker has died")
    target.mkdir()
    job = stage.service.ended(job_id)

    assert (job["status"], job["code"]) == ("FAILED", "exists"), job
    eventually(lambda: not stage.left_behind(), "nothing is left behind")


def test_a_folder_is_transferring_while_its_first_file_is_copied(stage):
    (stage.disk / "two").mkdir()
    for name in ("a", "b"):
        (stage.disk / "two" / name).write_bytes(os.urandom(1_200_000))

    job_id = stage.move("local://disk/two", "sftp://slow/two")
    eventually(lambda: stage.proxy.check(job_id)["bytes_done"] > 0, "bytes have moved")

    job = stage.proxy.check(job_id)
    assert (job["phase"], job["files_done"]) == ("transferring", 0)
    assert stage.service.ended(job_id)["status"] == "COMPLETED"


def test_a_folder_that_is_cancelled_leaves_what_has_arrived_and_nothing_else(stage, tree):
    for number in range(10):
        (tree / f"{number}.bin").write_bytes(os.urandom(200_000))
    job_id = stage.move(f"local://disk/{tree.name}", "sftp://slow/cancelled", match="*.bin")
    eventually(lambda: stage.proxy.check(job_id)["files_done"] > 1, "files have arrived")

    stage.proxy.cancel(job_id)
    job = stage.service.ended(job_id)

    assert job["status"] == "CANCELLED"
    arrived = {name for name, state in stage.states(job_id).items() if state == "published"}
    assert job["files_done"] == len(arrived) < job["files_total"]
    assert {path.name for path in (stage.vis / "cancelled").iterdir() if path.is_file()} >= arrived
    eventually(lambda: not stage.left_behind(), "nothing is left behind")


def test_a_data_type_of_folders_names_where_they_go(stage):
    (stage.disk / "layers" / "rain").mkdir(parents=True)
    (stage.disk / "layers" / "rain" / "jan.tif").write_text("wet")

    job = stage.service.ended(stage.proxy.move("layers", "rain")["id"])

    assert (job["status"], job["path"]) == ("COMPLETED", "/layers/rain"), job
    assert (stage.vis / "layers" / "rain" / "jan.tif").read_text() == "wet"


def test_an_empty_folder_arrives(stage):
    (stage.disk / "hollow").mkdir()

    job = stage.moved("local://disk/hollow", "sftp://vis/hollow")

    assert (job["status"], job["files_total"], job["bytes_done"]) == ("COMPLETED", 0, 0), job
    assert (stage.vis / "hollow").is_dir()
