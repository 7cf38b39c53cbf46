"""The schema's migrations. `initialize_data_mover_db` upgrades a database to the newest one."""

import logging
from collections.abc import Set
from functools import cache
from importlib.resources import files

from sqlalchemy import Connection, Engine, String, column, inspect, select, table
from sqlalchemy.exc import OperationalError

from data_mover.domain.errors import ConfigProblem, ConfigurationError
from data_mover.store.database import long_transaction

log = logging.getLogger(__name__)

OLD = "the schema is missing or old; run: initialize_data_mover_db INI"
NEWER = "the schema is newer than this release; install the release that made it, or restore a backup"


def upgrade(engine: Engine, step: str = "head") -> None:
    """Create the schema, or upgrade it to the step, by default the newest one.

    Concurrent calls run one after the other. Raises ConfigurationError if the schema is newer than this release.
    """
    from alembic import command  # whatever only looks at the schema starts sooner without it
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", "data_mover.store:migrations")
    config.set_main_option("path_separator", "os")
    with long_transaction(engine) as connection:
        if _is_newer(connection):
            raise ConfigurationError("[app:main]", [ConfigProblem("sqlalchemy.url", NEWER)])
        config.attributes["connection"] = connection
        command.upgrade(config, step)


def is_newer(engine: Engine) -> bool:
    """Whether a newer release than this one has made the schema."""
    with engine.connect() as connection:
        return _is_newer(connection)


def is_newest(engine: Engine) -> bool:
    """Whether the database has exactly the schema that this release needs."""
    with engine.connect() as connection:
        return _steps_of(connection) == {max(known_steps())}


def require_newest(engine: Engine) -> None:
    """Raise ConfigurationError, with the way out, if the database has another schema than this release needs.

    A database that does not answer raises nothing here: processes start without it.
    """
    try:
        newest = is_newest(engine)
    except OperationalError as error:
        log.warning("schema-not-checked the database does not answer: %s", error.orig)
        return
    if not newest:
        problem = ConfigProblem("sqlalchemy.url", NEWER if is_newer(engine) else OLD)
        raise ConfigurationError("[app:main]", [problem])


@cache
def known_steps() -> Set[str]:
    """Return the steps of this release. The files of `versions` are named for them, and each follows the one before."""
    names = [file.name for file in files("data_mover.store.migrations.versions").iterdir()]
    return frozenset(name[:4] for name in names if name[:4].isdecimal())


def _is_newer(connection: Connection) -> bool:
    return not _steps_of(connection) <= known_steps()


def _steps_of(connection: Connection) -> Set[str]:
    """Return the newest step that the database has, as Alembic keeps it; nothing if there is no schema."""
    version = column("version_num", String)
    if not inspect(connection).has_table("alembic_version"):
        return frozenset()
    return frozenset(connection.scalars(select(version).select_from(table("alembic_version", version))))
