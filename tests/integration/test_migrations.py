"""The schema that the migrations make."""

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from sqlalchemy.engine import make_url

from data_mover.domain.errors import ConfigurationError
from data_mover.store import migrations
from data_mover.store.database import Database
from data_mover.store.models import Base
from tests.servers.processes import free_port


def test_the_migrations_make_the_schema_of_the_models(database):
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_a_database_without_the_schema_is_told_with_the_way_out(tmp_path):
    database = Database(make_url(f"sqlite:///{tmp_path}/empty.db"))

    with pytest.raises(ConfigurationError, match="initialize_data_mover_db"):
        migrations.require_newest(database.engine)


def test_a_database_that_does_not_answer_keeps_nobody_from_starting(caplog):
    database = Database(make_url(f"postgresql://nobody@127.0.0.1:{free_port()}/nothing"))

    migrations.require_newest(database.engine)

    assert "schema-not-checked" in caplog.text


def test_upgrading_again_changes_nothing(database):
    migrations.upgrade(database.engine)

    assert migrations.is_newest(database.engine)
