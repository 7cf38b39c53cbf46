"""Commands for operators, on a machine of the service: the processes, and the check of their configuration."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from getpass import getuser
from typing import TypeVar

import click

from data_mover.checks.config import check_configuration
from data_mover.checks.report import Check
from data_mover.cli.options import GlobalOptions
from data_mover.config.logs import set_up_logging
from data_mover.config.settings import Settings
from data_mover.domain.child_environment import environment
from data_mover.domain.errors import ConfigurationError, ServiceUnavailable
from data_mover.doorbell import WORKER_CLASS, Doorbell, redis_connection
from data_mover.store import migrations
from data_mover.store.audit_trail import AuditTrail
from data_mover.store.database import Database
from data_mover.worker.sweeper import Sweeper

_Read = TypeVar("_Read")
_Value = TypeVar("_Value")


@click.command()
@click.pass_obj
def worker(options: GlobalOptions) -> None:
    """Run jobs until stopped; start as many workers as you want, on as many machines."""
    path = os.path.abspath(options.required_ini)
    read_settings(path)
    arguments = [sys.executable, "-m", "rq.cli", "worker", "-c", "data_mover.rq_settings"]
    os.execve(sys.executable, arguments, {**environment(), "DATA_MOVER_INI": path, "RQ_WORKER_CLASS": WORKER_CLASS})


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


@click.command("check-config")
@click.pass_obj
def check_config(options: GlobalOptions) -> None:
    """List every problem of the ini and of the registry, and check that database and Redis answer."""
    ini = options.required_ini
    logging.disable()
    if not options.show_checks([Check(f"{ini}, checked by the user {getuser()}", check_configuration(ini))]):
        raise SystemExit(1)


def record_command(settings: Settings, command: str, name: str) -> None:
    """Append a command that has changed something to the audit trail. Ends the command if that fails."""
    try:
        AuditTrail(settings.audit_path).record(event="command", command=command, name=name, user=getuser())
    except ServiceUnavailable as error:
        raise click.ClickException(f"{error}; the command has taken effect") from error


def read_settings(ini: str) -> Settings:
    """Return the settings, and set logging up as the ini says. Ends the command with every problem."""
    settings = checked(Settings.from_ini, ini)
    set_up_logging(ini)
    return settings


def checked(read: Callable[[_Read], _Value], what: _Read) -> _Value:
    """Return what was read. Ends the command with every problem, without a traceback."""
    try:
        return read(what)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error
