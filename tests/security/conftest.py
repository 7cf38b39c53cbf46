"""A service that is attacked: the web process alone, so that what it takes in stays as it is."""

import resource
from contextlib import contextmanager

import pytest
from sqlalchemy import func, select
from sqlalchemy.engine import make_url

from data_mover.store.database import Database
from data_mover.store.models import Job
from tests.servers.deployment import deployment, host_table

DATASETS = """
[datasets.species]
source = { host = "disk", path = "/species/{id}.csv" }

[datasets.scans]
source = "local://disk/scans/{id}"
id_pattern = "[0-9]+"
"""


@pytest.fixture(scope="module")
def service(tmp_path_factory, redis_url):
    roots = tmp_path_factory.mktemp("roots")
    registry = (
        host_table("disk", {"protocol": "local", "root": roots, "roles": ["source"]})
        + host_table("archive", {"protocol": "local", "root": roots, "roles": ["source", "destination"]})
        + host_table("inbox", {"protocol": "local", "root": roots, "roles": ["destination"]})
        + DATASETS
    )
    with deployment(tmp_path_factory.mktemp("service"), redis_url, registry) as running:
        with few_open_files():
            running.web = running.start_web()
        yield running


@contextmanager
def few_open_files():
    """As strict as a supervisor may be with what it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.fixture
def proxy(service):
    with service.proxy as proxy:
        yield proxy


@pytest.fixture(scope="module")
def jobs(service):
    """How many jobs are on record."""
    database = Database(make_url(f"sqlite:///{service.directory}/jobs.db"))

    def count():
        with database.reading() as session:
            return session.scalars(select(func.count()).select_from(Job)).one()

    yield count
    database.close()
