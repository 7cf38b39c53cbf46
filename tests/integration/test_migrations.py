"""The schema that the migrations make."""

from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext

from data_mover import migrations
from data_mover.jobs.models import Base


def test_the_migrations_make_the_schema_of_the_models(database):
    with database.engine.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection), Base.metadata) == []


def test_upgrading_again_changes_nothing(database):
    migrations.upgrade(database.engine)

    assert migrations.is_newest(database.engine)
