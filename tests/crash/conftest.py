"""The world of the kill matrix, and how often each case is forced."""

import pytest

from tests.conftest import new_postgresql_database
from tests.crash.world import crash_world


def pytest_generate_tests(metafunc):
    if "time" in metafunc.fixturenames:
        metafunc.parametrize("time", range(metafunc.config.getoption("--times")))


@pytest.fixture(scope="module")
def world(request, tmp_path_factory, redis_url, openssh):
    database_url = ""
    if request.config.getoption("--database") == "postgresql":
        database_url = str(new_postgresql_database(request.getfixturevalue("postgresql_url")))
    with crash_world(tmp_path_factory.mktemp("world"), redis_url, openssh, database_url=database_url) as world:
        yield world
