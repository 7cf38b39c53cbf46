"""`data_mover sweep`: the sweeper's process."""

import signal
import threading

import click

from data_mover.cli.options import GlobalOptions
from data_mover.cli.settings import checked, read_settings
from data_mover.config.settings import Settings
from data_mover.doorbell import Doorbell, redis_connection
from data_mover.store import migrations
from data_mover.store.database import Database
from data_mover.worker.sweeper import Sweeper


@click.command()
@click.pass_obj
def sweep(options: GlobalOptions) -> None:
    """Wake workers for waiting jobs and take back the jobs of dead ones, until stopped."""
    settings = read_settings(options.required_ini)
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    database = Database(checked(Settings.database_url, settings))
    checked(migrations.require_newest, database.engine)
    Sweeper(settings, database, Doorbell(redis_connection(settings.redis_url, settings.redis_secret()))).run(stop)
    database.close()
