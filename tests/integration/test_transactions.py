"""Transactions that are begun and not ended."""

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from itertools import count

import pytest
from sqlalchemy import text

from data_mover.domain.errors import ServiceUnavailable
from data_mover.store.database import Database
from tests.conftest import copied, new_postgresql_database
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


def test_no_writer_of_sqlite_waits_while_others_write_again_and_again(sqlite_template, tmp_path):
    """Each has its share of the writes, and nobody has to give up."""
    url, writers, writes = copied(sqlite_template, tmp_path), 8, 1200
    numbers, written = count(), Counter[int]()
    with closing(Database(url)) as database, database.writing() as session:
        session.execute(text("CREATE TABLE things AS SELECT 1 AS number"))

    def write(writer):
        with closing(Database(url)) as database:
            while next(numbers) < writes:
                with database.writing() as session:
                    session.execute(UPDATE)
                written[writer] += 1

    with ThreadPoolExecutor(writers) as pool:
        list(pool.map(write, range(writers)))

    assert min(written[writer] for writer in range(writers)) > writes / writers / 5, written
    with closing(Database(url)) as database, database.reading() as session:
        assert session.scalar(text("SELECT number FROM things")) == writes + 1
