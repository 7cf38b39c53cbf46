"""The `data_mover` command."""

import logging
import os
import signal
import sys
import threading
from collections.abc import Callable
from getpass import getuser
from pathlib import Path
from pkgutil import resolve_name
from typing import TypeVar

import click
import plaster

from data_mover.checks.config import check_configuration
from data_mover.checks.report import show
from data_mover.cli import moves
from data_mover.config.registry import HostEntry, host_entries
from data_mover.config.settings import Settings
from data_mover.domain.child_environment import environment
from data_mover.domain.errors import ConfigurationError
from data_mover.domain.signals import signals_as_interrupts
from data_mover.doorbell import WORKER_CLASS, Doorbell, redis_connection
from data_mover.store import migrations
from data_mover.store.database import Database
from data_mover.store.host_health import set_paused
from data_mover.worker.sweeper import Sweeper

_Read = TypeVar("_Read")
_Value = TypeVar("_Value")

#: commands that stand elsewhere: the demo has packages of its own to import
ELSEWHERE = {"demo": "data_mover.demo.run:demo"}


class Commands(click.Group):
    """The commands of this module, and those that are loaded only when they are asked for."""

    def list_commands(self, context: click.Context) -> list[str]:
        return sorted([*super().list_commands(context), *ELSEWHERE])

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        return resolve_name(ELSEWHERE[name]) if name in ELSEWHERE else super().get_command(context, name)


@click.group(cls=Commands)
@click.option(
    "-c", "--config", "ini", envvar="DATA_MOVER_INI", help="The ini of the deployment; $DATA_MOVER_INI if left out."
)
@click.option("--url", envvar="DATA_MOVER_URL", help="The service that callers ask; $DATA_MOVER_URL if left out.")
@click.option(
    "--token-file", type=click.Path(path_type=Path), help="The file with the token; else $DATA_MOVER_TOKEN, if any."
)
@click.option("--json", "as_json", is_flag=True, help="Answers of the service as JSON.")
@click.pass_context
def main(context: click.Context, ini: str | None, url: str | None, token_file: Path | None, as_json: bool) -> None:
    """Moves files to registered destinations, and knows that they arrived.

    Callers say --url; operators, on a machine of the service, -c.
    """
    context.obj = ini
    moves.choose_service(context, url, token_file, as_json)


@main.command()
@click.pass_obj
def worker(ini: str | None) -> None:
    """Runs jobs, until it is asked to stop; start as many as you want, on as many machines."""
    path = os.path.abspath(_required(ini))
    _settings(path)
    arguments = [sys.executable, "-m", "rq.cli", "worker", "-c", "data_mover.rq_settings"]
    os.execve(sys.executable, arguments, {**environment(), "DATA_MOVER_INI": path, "RQ_WORKER_CLASS": WORKER_CLASS})


@main.command()
@click.pass_obj
def sweep(ini: str | None) -> None:
    """Wakes workers for what nobody took and takes back what dead ones dropped, until it is asked to stop."""
    settings = _settings(_required(ini))
    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    database = Database(_told(Settings.database_url, settings))
    _told(migrations.require_newest, database.engine)
    Sweeper(settings, database, Doorbell(redis_connection(settings.redis_url, settings.redis_secret()))).run(stop)
    database.close()


@main.command("check-config")
@click.pass_context
def check_config(context: click.Context) -> None:
    """Lists every problem of the ini and of the registry, and says whether database and Redis answer."""
    ini = _required(context.obj)
    logging.disable()
    if not show(f"{ini}, checked by the user {getuser()}", check_configuration(ini)):
        context.exit(1)


@main.group(invoke_without_command=True)
@click.pass_context
def hosts(context: click.Context) -> None:
    """Lists the hosts of the registry; checks, pauses and resumes them."""
    if context.invoked_subcommand is None:
        moves.list_hosts()


@hosts.command("check")
@click.argument("name", required=False)
@click.pass_context
def check_hosts(context: click.Context, name: str | None) -> None:
    """Tries what moves will do on the host NAME, or on each one, and says step by step what holds."""
    from data_mover.checks import host  # loads paramiko, for which the sweeper has no use

    logging.disable()
    path = _told(Settings.from_ini, _required(context.obj)).registry
    chosen = _chosen(_told(host_entries, path), name, path)
    with signals_as_interrupts():
        hold = [show(host.headline(entry), host.check_host(entry)) for entry in chosen]
    if not all(hold):
        context.exit(1)


@hosts.command("pause")
@click.argument("name")
@click.pass_obj
def pause_host(ini: str | None, name: str) -> None:
    """Lets the moves with the host NAME wait until it is resumed; running moves continue."""
    _set_paused(ini, name, True)


@hosts.command("resume")
@click.argument("name")
@click.pass_obj
def resume_host(ini: str | None, name: str) -> None:
    """Lets the moves with the host NAME run again."""
    _set_paused(ini, name, False)


def _required(ini: str | None) -> str:
    if ini is None:
        raise click.UsageError("say which deployment: data_mover -c production.ini ...")
    return ini


def _chosen(entries: list[HostEntry], name: str | None, path: Path) -> list[HostEntry]:
    chosen = [entry for entry in entries if name in (None, entry.name)]
    if not chosen:
        known = ", ".join(entry.name for entry in entries) or "none"
        what = f"there is no host '{name}'" if name else "there is no host"
        raise click.ClickException(f"{path}: {what}; known: {known}")
    return chosen


def _set_paused(ini: str | None, name: str, paused: bool) -> None:
    """Through the database of the ini, or else through the service at --url."""
    if ini is None and moves.chosen_service().url is not None:
        moves.set_paused(name, paused)
    else:
        _pause_in_database(_required(ini), name, paused)


def _pause_in_database(ini: str, name: str, paused: bool) -> None:
    settings = _settings(ini)
    _chosen(_told(host_entries, settings.registry), name, settings.registry)
    database = Database(_told(Settings.database_url, settings))
    _told(migrations.require_newest, database.engine)
    with database.writing() as session:
        set_paused(session, name, paused)
    database.close()
    Doorbell(redis_connection(settings.redis_url, settings.redis_secret())).notify_all_workers()
    click.echo(f"{name} is paused: its moves wait" if paused else f"{name} is not paused: its moves run")


def _settings(ini: str) -> Settings:
    settings = _told(Settings.from_ini, ini)
    plaster.setup_logging(ini)
    return settings


def _told(read: Callable[[_Read], _Value], what: _Read) -> _Value:
    """Returns what was read. Ends the command with every problem, without a traceback."""
    try:
        return read(what)
    except ConfigurationError as error:
        raise click.ClickException(str(error)) from error


for command in moves.COMMANDS:
    main.add_command(command)

if __name__ == "__main__":
    main()
