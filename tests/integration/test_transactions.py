"""Transactions that are begun and not ended."""

import pytest
from sqlalchemy import text

from data_mover.domain.errors import ServiceUnavailable
from data_mover.store.database import Database
from tests.conftest import new_postgresql_database
from tests.servers.processes import eventually

UPDATE = text("UPDATE things SET number = number + 1")


@pytest.fixture
def clients(postgresql_url):
    """Two clients of a PostgreSQL that has one row."""
    url = new_postgresql_database(postgresql_url)
    first, second = Database(url), Database(url)
    with first.writing() as session:
        session.execute(text("CREATE TABLE things AS SELECT 1 AS number"))
    yield first, second
    first.close()
    second.close()


def test_a_client_that_stands_still_with_a_lock_loses_it(clients):
    """As a stopped process does, or a machine that is no longer there."""
    first, second = clients

    def has_written():
        try:
            with second.writing() as session:
                session.execute(UPDATE)
        except ServiceUnavailable:
            return False
        return True

    def stand_still():
        with first.writing() as session:
            session.execute(UPDATE)
            eventually(has_written, "the other client has written")

    with pytest.raises(ServiceUnavailable):
        stand_still()
