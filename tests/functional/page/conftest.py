"""A service for the pages, and a browser."""

import http.client
import os
from types import SimpleNamespace

import pytest

from tests.servers.deployment import deployment, host_table, nobody_there
from tests.servers.processes import eventually

DATASETS = """
[datasets.species]
description = "Occurrence records"
source = "archive:/species/{id}.csv"

[datasets.layers]
description = "Climate layers"
source = { host = "archive", path = "/layers/{id}" }
destination = "visualizer:/layers/"
"""


@pytest.fixture(scope="module")
def roots(tmp_path_factory):
    base = tmp_path_factory.mktemp("roots")
    roots = SimpleNamespace(archive=base / "archive", visualizer=base / "visualizer")
    for directory in (roots.archive / "species", roots.archive / "layers" / "2050", roots.visualizer):
        directory.mkdir(parents=True)
    for number in range(5):
        (roots.archive / "species" / f"{number}.csv").write_text(f"species,count\nkoala,{number}\n")
    for number in range(3):
        (roots.archive / "layers" / "2050" / f"{number}.tif").write_bytes(os.urandom(1000))
    (roots.archive / "large").write_bytes(os.urandom(8_000_000))
    return roots


@pytest.fixture(scope="module")
def registry(roots):
    local = {"protocol": "local", "roles": ["source", "destination"]}
    return (
        host_table("archive", {**local, "root": roots.archive, "description": "What we have"})
        + host_table("slow", {**local, "root": roots.archive, "bandwidth": "1MB/s"})
        + host_table("visualizer", {**local, "root": roots.visualizer})
        + host_table("away", nobody_there())
        + DATASETS
    )


@pytest.fixture(scope="module")
def service(tmp_path_factory, redis_url, registry):
    """Ends with its module: its workers would answer the doorbell of whoever has the same Redis."""
    with deployment(tmp_path_factory.mktemp("page"), redis_url, registry) as service:
        service.start_web()
        service.start_worker()
        service.start_sweeper()
        eventually(lambda: is_ready(service), "everything that a move needs is there")
        yield service


def is_ready(service):
    connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
    connection.request("GET", "/health/ready")
    status = connection.getresponse().status
    connection.close()
    return status == 200


@pytest.fixture(scope="module")
def host_url(service):
    return f"http://127.0.0.1:{service.port}"


@pytest.fixture
def proxy(service):
    with service.proxy as proxy:
        yield proxy


@pytest.fixture
def get(service):
    """The status, headers and text of a page."""

    def ask(path, **headers):
        connection = http.client.HTTPConnection("127.0.0.1", service.port, timeout=30)
        connection.request("GET", path, headers={name.replace("_", "-"): value for name, value in headers.items()})
        response = connection.getresponse()
        text = response.read().decode()
        connection.close()
        return SimpleNamespace(status=response.status, headers=response.headers, text=text)

    return ask
