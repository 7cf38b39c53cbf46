"""A service with callers."""

from contextlib import contextmanager
from types import SimpleNamespace

import pytest

from tests.functional.callers.service import CALLERS, DATASETS, TOKENS, write
from tests.servers.deployment import XmlRpc, deployment, host_table


@pytest.fixture(scope="module")
def world(tmp_path_factory, redis_url, openssh):
    base = tmp_path_factory.mktemp("callers")
    roots = SimpleNamespace(archive=base / "archive", vis=base / "vis", secret=base / "secret")
    for directory in ("species", "layers", "private", "species/folder"):
        (roots.archive / directory).mkdir(parents=True)
    for directory in ("maps", "drop", "other"):
        (roots.vis / directory).mkdir(parents=True)
    roots.secret.mkdir()
    for name in ("species/1.csv", "species/folder/a", "layers/7.tif", "private/x", "one.csv", "one.csv.old"):
        (roots.archive / name).write_text(f"the content of {name}")
    (roots.archive / "species" / "link").symlink_to(roots.archive / "private" / "x")
    (roots.archive / "species" / "linked").symlink_to(roots.archive / "private")
    (roots.vis / "maps" / "out").symlink_to(roots.vis / "other")
    local = {"protocol": "local", "roles": ["source", "destination"]}
    registry = (
        host_table("archive", {**local, "root": roots.archive})
        + host_table("vis", openssh.options(roots.vis, idle_timeout_seconds=10))
        + host_table("slow", {**local, "root": roots.archive, "roles": ["source"], "bandwidth": "4MB/s"})
        + host_table("secret", {**local, "root": roots.secret})
        + host_table("site", {"protocol": "http", "address": "127.0.0.1", "port": 9})
        + DATASETS
    )
    with deployment(base / "service", redis_url, registry) as service:
        callers = service.directory / "callers.toml"
        write(callers, CALLERS)
        service.ini.write_text(service.ini.read_text().replace("callers = none", f"callers = {callers}"))
        service.start_web()
        service.start_worker()
        service.start_sweeper()
        yield SimpleNamespace(service=service, roots=roots, callers=callers)


@pytest.fixture
def callers(world):
    """Changes the callers' file, which is as before afterwards."""
    yield lambda text: write(world.callers, text)
    write(world.callers, CALLERS)


@pytest.fixture
def proxy_of(world):
    """An XML-RPC client, unmodified: name and token are in its URL."""

    @contextmanager
    def proxy(name):
        with XmlRpc(f"http://{name}:{TOKENS[name]}@127.0.0.1:{world.service.port}/data_mover") as client:
            yield client

    return proxy
