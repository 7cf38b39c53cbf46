"""Real servers and databases, shared by all tests."""

import itertools

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from data_mover import migrations
from data_mover.db import Database
from tests.servers.openssh import openssh_server
from tests.servers.postgresql import postgresql_server
from tests.servers.redis import redis_server

_numbers = itertools.count(1)


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory):
    with redis_server(tmp_path_factory.mktemp("redis")) as url:
        yield url


@pytest.fixture(scope="session")
def postgresql_url(tmp_path_factory):
    with postgresql_server(tmp_path_factory.mktemp("postgresql")) as url:
        yield url


@pytest.fixture(scope="session")
def openssh(tmp_path_factory):
    with openssh_server(tmp_path_factory.mktemp("openssh")) as server:
        yield server


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """The URL of a fresh database with the schema, of each kind."""
    if request.param == "sqlite":
        url = make_url(f"sqlite:///{tmp_path}/jobs.db")
    else:
        url = _new_postgresql_database(make_url(request.getfixturevalue("postgresql_url")))
    database = Database(url)
    migrations.upgrade(database.engine)
    database.close()
    return url


@pytest.fixture
def database(database_url):
    database = Database(database_url)
    yield database
    database.close()


def _new_postgresql_database(server):
    name = f"test_{next(_numbers)}"
    admin = Database(server)
    with admin.engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    admin.close()
    return server.set(database=name)
