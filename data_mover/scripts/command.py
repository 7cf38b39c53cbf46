"""The `data_mover` command."""

import os
import signal
import sys
import threading
from collections.abc import Callable
from typing import TypeVar

import click
import plaster

from data_mover import migrations
from data_mover.db import Database
from data_mover.errors import ConfigurationError
from data_mover.job_queue import Bell, redis_connection
from data_mover.registry import load_registry
from data_mover.scripts.demo import demo
from data_mover.scripts.processes import environment
from data_mover.settings import Settings
from data_mover.sweeper import Sweeper

_Read = TypeVar("_Read")
_Value = TypeVar("_Value")


@click.group()
@click.option(
    "-c", "--config", "ini", envvar="DATA_MOVER_INI", help="The ini of the deployment; $DATA_MOVER_INI if left out."
)
@click.pass_context
def main(context: click.Context, ini: str | None) -> None:
    """Moves files to registered destinations, and knows that they arrived."""
    context.obj = ini


@main.command()
@click.pass_obj
def worker(ini: str | None) -> None:
    """Runs jobs, until it is told to stop; start as many as you want, on as many machines."""
    path = os.path.abspath(_required(ini))
    _settings(path)
    arguments = [sys.executable, "-m", "rq.cli", "worker", "-c", "data_mover.rq_settings"]
    os.execve(sys.executable, arguments, {**environment(), "DATA_MOVER_INI": path})


@main.command()
@click.pass_obj
def sweep(ini: str | None) -> None:
    """Wakes workers for what nobody took and takes back what dead ones dropped, until it is told to stop."""
    settings = _settings(_required(ini))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    database = Database(_told(Settings.database_url, settings))
    _told(migrations.require_newest, database.engine)
    Sweeper(settings, database, Bell(redis_connection(settings))).run(stop)
    database.close()


@main.command("check-config")
@click.pass_obj
def check_config(ini: str | None) -> None:
    """Tells every mistake in the ini and in the registry."""
    settings = _settings(_required(ini))
    registry = _told(load_registry, settings.registry)
    click.echo(f"{ini}: no mistakes; {len(registry.hosts)} hosts, {len(registry.datasets)} data types")


main.add_command(demo)


def _required(ini: str | None) -> str:
    if ini is None:
        raise click.UsageError("say which deployment: data_mover -c production.ini ...")
    return ini


def _settings(ini: str) -> Settings:
    settings = _told(Settings.from_ini, ini)
    plaster.setup_logging(ini)
    return settings


def _told(read: Callable[[_Read], _Value], what: _Read) -> _Value:
    """What was read; mistakes are told in full, without a traceback."""
    try:
        return read(what)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error


if __name__ == "__main__":
    main()
