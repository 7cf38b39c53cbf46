"""Real servers and databases, shared by all tests.

A fixture imports what it takes, so that tests that take no server do not wait for botocore and its like.
"""

import itertools
import logging
import os
import shutil
from pathlib import Path

import pytest

_numbers = itertools.count(1)

#: the files that take longest, in the order of their seconds: of several at a time none of them is to begin last
SLOWEST = [
    "protocols/test_conformance.py",
    "protocols/test_directories.py",
    "functional/test_folders.py",
    "functional/test_failures.py",
    "functional/test_demo.py",
    "functional/test_plan.py",
    "functional/test_moves.py",
    "security/test_forged_redis.py",
    "protocols/test_lying_hosts.py",
    "functional/test_object_store.py",
    "crash/test_stops.py",
    "functional/test_supervisor.py",
    "functional/test_codes.py",
    "functional/test_resume.py",
    "crash/test_fault_points.py",
    "crash/test_storm.py",
    "crash/test_outages.py",
    "functional/callers/test_rights.py",
    "functional/test_space.py",
    "functional/callers/test_login.py",
    "security/test_slow_clients.py",
    "functional/callers/test_generated_client.py",
    "security/test_mutations.py",
]


def pytest_addoption(parser):
    parser.addoption("--times", type=int, default=1, help="how often each case of the kill matrix is forced")
    parser.addoption(
        "--database", choices=["sqlite", "postgresql"], default="sqlite", help="what the crash tests run on"
    )


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items):
    """For `--dist loadfile --no-loadscope-reorder`, which hands out files in this order."""
    places = {Path(__file__).parent / name: place for place, name in enumerate(SLOWEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_runtest_setup(item):
    if item.get_closest_marker("ordinary_user") and os.geteuid() == 0:
        pytest.skip("root may do everything; .ci/run runs this as an ordinary user")


@pytest.fixture(autouse=True)
def logs():
    """A command that a test runs in this process silences them."""
    yield
    logging.disable(logging.NOTSET)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory):
    from tests.servers.redis import redis_server

    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="session")
def postgresql_url(tmp_path_factory):
    from tests.servers.postgresql import postgresql_server

    with postgresql_server(tmp_path_factory.mktemp("postgresql")) as url:
        yield url


@pytest.fixture(scope="session")
def openssh(tmp_path_factory):
    from tests.servers.openssh import openssh_server

    with openssh_server(tmp_path_factory.mktemp("openssh")) as server:
        yield server


@pytest.fixture(scope="session")
def ceph(tmp_path_factory):
    """An object store."""
    from tests.servers.s3 import s3_server

    with s3_server(tmp_path_factory.mktemp("ceph")) as server:
        yield server


@pytest.fixture(scope="session")
def apache(tmp_path_factory):
    """A server that speaks WebDAV."""
    from tests.servers.webdav import apache_server

    with apache_server(tmp_path_factory.mktemp("apache")) as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    from tests.servers.browser import chromium

    with chromium() as browser:
        yield browser


@pytest.fixture
def page(browser, host_url):
    """A page of a browser that has been nowhere yet, for the service at `host_url`."""
    from tests.servers.browser import new_page

    with new_page(browser, host_url) as page:
        yield page


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory):
    """The URL of an SQLite database with the schema, to be copied."""
    from sqlalchemy.engine import make_url

    return _migrated(make_url(f"sqlite:///{tmp_path_factory.mktemp('template')}/jobs.db"))


@pytest.fixture(scope="session")
def postgresql_template(postgresql_url):
    """The URL of a PostgreSQL database with the schema, to be copied."""
    return _migrated(new_postgresql_database(postgresql_url))


def _migrated(url):
    from data_mover.store import migrations
    from data_mover.store.database import Database

    database = Database(url)
    migrations.upgrade(database.engine)
    database.close()
    return url


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """The URL of a fresh database with the schema, of each kind."""
    return copied(request.getfixturevalue(f"{request.param}_template"), tmp_path)


@pytest.fixture
def database(database_url):
    from data_mover.store.database import Database

    database = Database(database_url)
    yield database
    database.close()


def copied(template, directory):
    """The URL of a copy of a database that nobody uses; that of an SQLite database lies in the directory."""
    if template.get_backend_name() == "sqlite":
        return template.set(database=str(shutil.copy(template.database, directory / "jobs.db")))
    return new_postgresql_database(template.set(database="postgres"), template.database)


def new_postgresql_database(server, template="template1"):
    """The URL of a new database of the server, empty unless it is told what to copy."""
    from sqlalchemy import text
    from sqlalchemy.engine import make_url

    from data_mover.store.database import Database

    name = f"test_{next(_numbers)}"
    admin = Database(make_url(server))
    with admin.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE DATABASE {name} TEMPLATE {template}"))
    admin.close()
    return make_url(server).set(database=name)
