"""Only the user of the service can read the database, and no error repeats its values."""

import os

import pytest
from sqlalchemy import text
from sqlalchemy.engine import make_url

from data_mover.domain.errors import ServiceUnavailable
from data_mover.store.database import Database


@pytest.fixture
def open_umask():
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.parametrize("mode", [None, 0o644])
def test_the_files_of_sqlite_are_their_owners_alone(tmp_path, open_umask, mode):
    path = tmp_path / "jobs.db"
    if mode is not None:
        path.touch()
        path.chmod(mode)
    database = Database(make_url(f"sqlite:///{path}"))

    with database.writing() as session:
        session.execute(text("CREATE TABLE a (b)"))
        session.execute(text("INSERT INTO a VALUES (1)"))

        modes = {file.name: file.stat().st_mode & 0o777 for file in tmp_path.iterdir()}
    assert modes == {"jobs.db": 0o600, "jobs.db-wal": 0o600, "jobs.db-shm": 0o600}
    database.close()


def test_no_error_of_a_statement_repeats_its_values(tmp_path):
    database = Database(make_url(f"sqlite:///{tmp_path}/jobs.db"))

    with pytest.raises(ServiceUnavailable) as refused, database.writing() as session:
        session.execute(text("INSERT INTO nowhere VALUES (:path)"), {"path": "/patients/jane"})

    assert "nowhere" in str(refused.value.__cause__)
    assert "jane" not in str(refused.value.__cause__)
    database.close()
