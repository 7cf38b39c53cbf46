"""Files on the web, moved by a whole service."""

import os
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import count, repeat
from pathlib import Path
from typing import Any

import pytest

from tests.servers.deployment import Deployment, deployment, host_table
from tests.servers.web import WebServer, web_server

CONTENT = bytes(range(256)) * 8192
QUERY = "signature=c0ffee"
PASSWORD = "correct-horse"
SETTINGS = """
data_mover.retry_first_seconds = 0.1
data_mover.open_web = true
data_mover.checkpoint_bytes = 1048576
"""
DATASET = """
[datasets.species]
source = "{url}/species/{{id}}.csv"
"""


@dataclass
class Stage:
    """A service, the web server that it moves from, and the roots of its destinations."""

    service: Deployment
    web: WebServer
    disk: Path
    vis: Path

    def moved(self, source: Any, destination: Any = "sftp://vis/d/", **options: Any) -> dict[str, Any]:
        with self.service.proxy as proxy:
            answer = proxy.move(source, destination, options)
            assert "id" in answer, answer
            return self.service.ended(answer["id"])


@pytest.fixture(scope="module")
def stage(tmp_path_factory, openssh, redis_url):
    directory = tmp_path_factory.mktemp("web-sources")
    for name in ("disk", "vis"):
        (directory / name).mkdir()
    with ExitStack() as stack:
        web = stack.enter_context(web_server(directory / "web", tls=True))
        here = {"protocol": "local", "root": directory / "vis", "roles": ["destination"]}
        registry = (
            host_table("data", web.options(bearer="env:DATA_TOKEN"))
            + host_table("impatient", web.options("/slow", idle_timeout_seconds=2))
            + host_table("disk", {"protocol": "local", "root": directory / "disk", "roles": ["source"]})
            + host_table("visualizer", here)
            + host_table("vis", openssh.options(directory / "vis"))
            + host_table("scp", {**openssh.options(directory / "vis"), "protocol": "scp"})
            + DATASET.format(url=web.url)
        )
        service = stack.enter_context(deployment(directory / "service", redis_url, registry, extra=SETTINGS))
        service.environment["DATA_TOKEN"] = PASSWORD
        service.start_web()
        service.start_worker()
        service.start_sweeper()
        yield Stage(service, web, directory / "disk", directory / "vis")


def test_a_url_is_moved_under_its_own_name_and_its_query_is_sent_to_the_server_alone(stage):
    stage.web.faults["/x/été 12.csv"] = lambda handler: handler.answer(200, CONTENT)
    stage.web.requests.clear()

    job = stage.moved(f"{stage.web.url}/x/été 12.csv?{QUERY}")

    assert (job["status"], job["path"]) == ("COMPLETED", "/d/été 12.csv")
    assert (stage.vis / "d" / "été 12.csv").read_bytes() == CONTENT
    assert job["source"] == {"type": "url", "url": f"{stage.web.url}/x/%C3%A9t%C3%A9%2012.csv?…"}
    assert {path for path, _ in stage.web.requests} == {f"/x/%C3%A9t%C3%A9%2012.csv?{QUERY}"}
    for log in stage.service.directory.glob("*.log"):
        assert QUERY not in log.read_text()


def test_a_retry_asks_for_the_same_url_with_its_query(stage):
    stage.web.faults["/later.csv"] = lambda handler: handler.answer(404)
    failed = stage.moved({"type": "url", "url": f"{stage.web.url}/later.csv?{QUERY}"})
    assert (failed["status"], failed["code"], failed["who_can_fix"]) == ("FAILED", "http-404", "caller")
    stage.web.faults["/later.csv"] = lambda handler: handler.answer(200, handler.path.encode())

    with stage.service.proxy as proxy:
        job = stage.service.ended(proxy.retry(failed["id"])["id"])

    assert job["status"] == "COMPLETED"
    assert (stage.vis / "d" / "later.csv").read_text() == f"/later.csv?{QUERY}"


@pytest.mark.parametrize("if_exists", ["replace", "refuse", "verify"])
def test_a_retry_moves_what_is_missing_alone_where_no_server_reports_a_time(stage, if_exists):
    paths = [f"/{if_exists}/{name}" for name in ("tagged", "plain", "missing")]
    stage.web.faults[paths[0]] = lambda handler: handler.answer(200, b"tagged", ETag='"1"')
    stage.web.faults[paths[1]] = lambda handler: handler.answer(200, b"plain")
    stage.web.faults[paths[2]] = lambda handler: handler.answer(404)
    urls = [f"{stage.web.url}{path}" for path in paths]
    first = stage.moved(urls, f"local://visualizer/{if_exists}/", if_exists=if_exists)
    stage.web.faults[paths[2]] = lambda handler: handler.answer(200, b"missing")
    inodes = {name: (stage.vis / if_exists / name).stat().st_ino for name in ("tagged", "plain")}

    with stage.service.proxy as proxy:
        second = stage.service.ended(proxy.retry(first["id"])["id"])
        states = {file["name"]: file["state"] for file in proxy.files(second["id"]) if file["kind"] == "file"}

    assert (first["status"], second["status"]) == ("FAILED", "COMPLETED"), second
    assert states == {"tagged": "skipped", "plain": "skipped", "missing": "published"}
    assert {name: (stage.vis / if_exists / name).stat().st_ino for name in inodes} == inodes
    assert second["bytes_done"] == second["bytes_total"] == len("tagged" + "plain" + "missing")


def test_a_file_that_cannot_be_had_keeps_nothing_else_from_its_path(stage):
    stage.web.faults["/never"] = lambda handler: handler.answer(503)
    empty = stage.disk / "folder" / "empty"
    empty.mkdir(parents=True)
    (stage.disk / "folder" / "file").write_bytes(b"mine")
    os.utime(empty, (1_500_000_000,) * 2)

    job = stage.moved([f"{stage.web.url}/never", "local://disk/folder"], "sftp://vis/beside/")

    assert (job["status"], job["code"]) == ("FAILED", "http-503")
    assert (stage.vis / "beside" / "folder" / "file").read_bytes() == b"mine"
    assert (stage.vis / "beside" / "folder" / "empty").stat().st_mtime == 1_500_000_000
    with stage.service.proxy as proxy:
        files = proxy.files(job["id"])
    assert {file["name"]: file["state"] for file in files if file["kind"] == "file"} == {
        "never": "failed",
        "folder/file": "published",
    }
    assert {file["state"] for file in files if file["kind"] == "directory"} == {"failed"}


def test_the_catalogue_leads_to_the_web(stage):
    stage.web.faults["/species/12.csv"] = lambda handler: handler.answer(200, CONTENT)

    with stage.service.proxy as proxy:
        job = stage.service.ended(proxy.move("species", 12)["id"])

    assert (job["status"], job["path"]) == ("COMPLETED", "/12.csv")


def test_a_path_on_a_web_server_stands_for_itself(stage):
    stage.web.faults["/a?b#c%20.csv"] = lambda handler: handler.answer(200, CONTENT)

    job = stage.moved({"host": "data", "path": "/a?b#c%20.csv"}, "local://visualizer/e/")

    assert (job["status"], job["path"]) == ("COMPLETED", "/e/a?b#c%20.csv")


@pytest.mark.parametrize("destination", ["sftp://vis/chunks", "local://visualizer/chunks", "scp://scp/chunks"])
def test_a_file_of_unknown_size_is_moved(stage, destination):
    def chunks(handler):
        handler.answer(200, Content_Length=None, Transfer_Encoding="chunked")
        for start in range(0, len(CONTENT), 100_000):
            piece = CONTENT[start : start + 100_000]
            handler.wfile.write(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        handler.wfile.write(b"0\r\n\r\n")

    stage.web.faults["/chunks"] = chunks

    job = stage.moved(f"{stage.web.url}/chunks", destination)

    assert (job["status"], job["bytes_done"], job["bytes_total"]) == ("COMPLETED", len(CONTENT), len(CONTENT))
    assert (stage.vis / "chunks").read_bytes() == CONTENT
    state = stage.service.directory / "state"
    assert [path.name for path in state.rglob("*") if path.is_file()] == ["session.secret"]


def test_a_stream_of_ten_kilobytes_a_second_survives_for_longer_than_it_may_stand_still(stage):
    def drip(handler):
        handler.answer(200, Content_Length=40_000)
        for start in range(0, 40_000, 1000):
            handler.wfile.write(CONTENT[start : start + 1000])
            stage.web.ended.wait(0.1)

    stage.web.faults["/slow/drip"] = drip

    job = stage.moved(f"{stage.web.url}/slow/drip")

    assert (job["status"], job["attempt"]) == ("COMPLETED", 1), job
    assert (stage.vis / "d" / "drip").read_bytes() == CONTENT[:40_000]


def test_another_file_of_the_same_size_is_not_mixed_with_what_was_there_before_though_no_version_is_reported(stage):
    other = CONTENT[::-1]
    answers = iter([CONTENT] * 2)

    def breaking(handler):
        content = next(answers, other)
        handler.answer(200, content[: -1000 if content is CONTENT else None], Content_Length=len(content))
        handler.close_connection = True

    stage.web.faults["/unversioned"] = breaking

    job = stage.moved(f"{stage.web.url}/unversioned")

    assert job["status"] == "COMPLETED", job
    assert job["attempt"] >= 3
    assert (stage.vis / "d" / "unversioned").read_bytes() == other


def test_a_copy_that_breaks_off_resumes_with_the_same_version_and_not_with_another(stage):
    versions = iter(['W/"one"'] * 2 + ['W/"two"'] * 10)
    cut = iter([True, False, False, False, False])

    def breaking(handler):
        version = next(versions)
        if next(cut):
            handler.answer(200, CONTENT[:-1000], Content_Length=len(CONTENT), ETag=version)
            handler.close_connection = True
        else:
            handler.answer(200, CONTENT, ETag=version)

    stage.web.faults["/breaking"] = breaking

    job = stage.moved(f"{stage.web.url}/breaking")

    assert (job["status"], job["attempt"]) == ("COMPLETED", 3), job
    assert (stage.vis / "d" / "breaking").read_bytes() == CONTENT


def hanging_up_after_three_megabytes(versions):
    """Of seven, and honest about ranges of the version that it has when it is asked."""
    content = os.urandom(7 * 10**6)

    def answer(handler):
        version, wanted = next(versions), handler.headers.get("Range")
        offset = int(wanted[6:-1]) if wanted and handler.headers.get("If-Range") == version else 0
        rest = f"bytes {offset}-{len(content) - 1}/{len(content)}" if offset else None
        length = len(content) - offset
        handler.answer(206 if offset else 200, Content_Length=length, ETag=version, Content_Range=rest)
        handler.wfile.write(content[offset : offset + 3 * 10**6])
        handler.close_connection = True

    return answer


def test_a_server_that_hangs_up_again_and_again_costs_no_attempt(stage):
    stage.web.faults["/parts"] = hanging_up_after_three_megabytes(repeat('"one"'))
    stage.web.requests.clear()

    job = stage.moved(f"{stage.web.url}/parts")

    assert (job["status"], job["attempt"], job["bytes_done"]) == ("COMPLETED", 1, 7 * 10**6), job
    asked = [fields["Range"] for _, fields in stage.web.requests if "Range" in fields]
    assert asked == ["bytes=3000000-", "bytes=6000000-"]


@pytest.mark.parametrize(
    ("versions", "code"),
    [((f'"{number}"' for number in count()), "source-changed"), (repeat(None), "connection-lost")],
    ids=["always another version", "no version"],
)
def test_a_server_that_hangs_up_has_to_tell_that_the_file_is_still_the_same(stage, versions, code):
    stage.web.faults["/parts"] = hanging_up_after_three_megabytes(versions)

    job = stage.moved(f"{stage.web.url}/parts")

    assert (job["status"], job["code"]) == ("FAILED", code)


def test_a_password_in_a_url_is_refused_and_kept_nowhere(stage):
    with stage.service.proxy as proxy:
        answer = proxy.move(f"https://user:{PASSWORD}@127.0.0.1:{stage.web.port}/a", "sftp://vis/d/")

    assert (answer["status"], answer["code"], answer["field"]) == ("REJECTED", "invalid-parameter", "source")
    assert PASSWORD not in str(answer)
    for file in stage.service.directory.rglob("*"):
        assert not file.is_file() or PASSWORD.encode() not in file.read_bytes(), file


def test_what_is_not_public_is_not_moved_from_the_open_web(stage):
    job = stage.moved("http://2130706433/latest/meta-data/")

    assert (job["status"], job["code"]) == ("FAILED", "not-allowed")
