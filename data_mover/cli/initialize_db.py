"""`initialize_data_mover_db INI`: creates or upgrades the schema. It may be run again at any time."""

import click
from sqlalchemy.exc import OperationalError

from data_mover.config.logs import set_up_logging
from data_mover.config.settings import Settings
from data_mover.domain.errors import ConfigurationError, ServiceUnavailable
from data_mover.store import migrations
from data_mover.store.database import Database


@click.command()
@click.argument("ini", type=click.Path(exists=True, dir_okay=False))
def main(ini: str) -> None:
    """Create or upgrade the schema of the database that INI names."""
    set_up_logging(ini)
    click.echo(f"{make_schema(ini)}: the schema is up to date")


def make_schema(ini: str) -> str:
    """Create or upgrade the schema; return the URL of the database. Ends the command if that fails."""
    try:
        settings = Settings.from_ini(ini)
        settings.make_state_dir()
        database = Database(settings.database_url())
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error
    try:
        migrations.upgrade(database.engine)
        database.optimize()
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error
    except ServiceUnavailable as error:
        raise click.ClickException(f"{settings.sqlalchemy_url}: {error}") from error
    except OperationalError as error:
        raise click.ClickException(f"{settings.sqlalchemy_url}: {error.orig}") from error
    finally:
        database.close()
    return settings.sqlalchemy_url


if __name__ == "__main__":
    main()
