"""Files of the web of unknown size, larger than the memory that a worker may use; each prints what it took."""

import random
import shutil
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.servers.deployment import TERMINAL, Deployment, deployment, host_table
from tests.servers.peaks import Peaks
from tests.servers.processes import absent, eventually
from tests.servers.web import Fault, WebServer, web_server

MEBIBYTE = 2**20
MOST_BYTES = 150 * 10**6
LONGEST_SECONDS = 3600
NOISE = random.Random(4).randbytes(MEBIBYTE - 8)


@dataclass
class Stage:
    """A service with one worker, the web server that it moves from, and hosts of one root."""

    directory: Path
    service: Deployment
    web: WebServer

    @property
    def arrived(self) -> Path:
        return self.directory / "root" / "stream"

    def moved(self, host: str, peaks: Peaks) -> dict[str, Any]:
        [worker] = self.service.workers

        def look() -> bool:
            peaks.look(worker)
            return proxy.check(job_id)["status"] in TERMINAL

        with self.service.proxy as proxy:
            job_id = proxy.move(f"{self.web.url}/stream", f"local://{host}/stream")["id"]
            eventually(look, "the stream has arrived", LONGEST_SECONDS, 0.2)
            return dict(proxy.check(job_id))


@pytest.fixture(scope="module")
def stage(tmp_path_factory, openssh, redis_url) -> Iterator[Stage]:
    directory = tmp_path_factory.mktemp("streams")
    root = directory / "root"
    root.mkdir()
    with ExitStack() as stack:
        web = stack.enter_context(web_server(directory / "web"))
        registry = (
            host_table("web", web.options())
            + host_table("local", {"protocol": "local", "root": root, "roles": ["destination"]})
            + host_table("sftp", openssh.options(root))
            + host_table("scp", openssh.options(root, protocol="scp"))
        )
        service = stack.enter_context(deployment(directory / "service", redis_url, registry))
        service.start_web()
        service.start_worker()
        service.start_sweeper()
        yield Stage(directory, service, web)


@pytest.mark.parametrize(
    ("host", "mebibytes"),
    [
        ("sftp", 200),
        ("local", 200),
        ("scp", 200),
        pytest.param("sftp", 10 * 1024, marks=pytest.mark.soak),
        pytest.param("local", 10 * 1024, marks=pytest.mark.soak),
        pytest.param("scp", 1024, marks=pytest.mark.soak),
    ],
)
def test_a_stream_of_unknown_length_arrives_with_a_small_worker(stage, host, mebibytes):
    require_room(stage.directory, (2 if host == "scp" else 1) * mebibytes * MEBIBYTE)
    stage.web.faults["/stream"] = streaming(mebibytes)
    peaks = Peaks()

    job = stage.moved(host, peaks)

    print(f"\n{mebibytes} MiB to {host}: {peaks}")
    assert (job["status"], job["attempt"], job["bytes_done"]) == ("COMPLETED", 1, mebibytes * MEBIBYTE), job
    assert_is_the_stream(stage.arrived, mebibytes)
    assert 0 < peaks.horse_bytes < MOST_BYTES
    assert 0 < peaks.worker_bytes < MOST_BYTES
    state = stage.service.directory / "state"
    assert [path.name for path in state.rglob("*") if path.is_file()] == ["session.secret"]
    stage.arrived.unlink()


def require_room(directory: Path, size_bytes: int) -> None:
    free_bytes = shutil.disk_usage(directory).free
    if free_bytes < 1.1 * size_bytes:
        absent(f"{directory} has {free_bytes} bytes free, and {size_bytes} are to arrive there")


def streaming(mebibytes: int) -> Fault:
    """Made up while it is sent, in chunks."""

    def answer(handler):
        handler.answer(200, Content_Length=None, Transfer_Encoding="chunked", ETag=f'"{mebibytes}"')
        for number in range(mebibytes):
            handler.wfile.write(f"{MEBIBYTE:x}\r\n".encode() + block(number) + b"\r\n")
        handler.wfile.write(b"0\r\n\r\n")

    return answer


def block(number: int) -> bytes:
    return number.to_bytes(8) + NOISE


def assert_is_the_stream(path: Path, mebibytes: int) -> None:
    with path.open("rb") as file:
        assert all(file.read(MEBIBYTE) == block(number) for number in range(mebibytes))
        assert file.read(1) == b""
