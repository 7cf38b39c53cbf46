"""The schema's migrations. `initialize_data_mover_db` upgrades a database to the newest one."""

import logging

from alembic import command
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine
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
    config = _config()
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
        current = MigrationContext.configure(connection).get_current_heads()
    return set(current) == set(ScriptDirectory.from_config(_config()).get_heads())


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


def _is_newer(connection: Connection) -> bool:
    known = {step.revision for step in ScriptDirectory.from_config(_config()).walk_revisions()}
    return not known.issuperset(MigrationContext.configure(connection).get_current_heads())


def _config() -> Config:
    config = Config()
    config.set_main_option("script_location", "data_mover.store:migrations")
    config.set_main_option("path_separator", "os")
    return config
