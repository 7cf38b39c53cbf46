"""`data_mover hosts`: list, check, pause and resume hosts."""

import logging
from pathlib import Path

import click

from data_mover.checks.report import Check
from data_mover.cli.options import GlobalOptions
from data_mover.cli.output import Column, pairs_of, table_of
from data_mover.cli.service import chosen_service
from data_mover.cli.settings import checked, read_settings, record_command
from data_mover.config.registry_file import HostEntry, host_entries
from data_mover.config.settings import Settings
from data_mover.domain.signals import signals_as_interrupts
from data_mover.doorbell import Doorbell, redis_connection
from data_mover.store import migrations
from data_mover.store.database import Database
from data_mover.store.host_health import set_paused


@click.group(invoke_without_command=True)
@click.pass_context
def hosts(context: click.Context) -> None:
    """List the hosts of the registry; check, pause and resume them."""
    if context.invoked_subcommand is None:
        _list(context.obj)


@hosts.command("check")
@click.argument("name", required=False)
@click.pass_context
def check_hosts(context: click.Context, name: str | None) -> None:
    """Try the operations of a move on the host NAME, or on each host, and report each step."""
    from data_mover.checks import host  # loads paramiko, which the sweeper does not need

    logging.disable()
    path = checked(Settings.from_ini, context.obj.required_ini).registry
    chosen = _chosen(checked(host_entries, path), name, path)
    checks = (Check(host.headline(entry), host.check_host(entry)) for entry in chosen)
    with signals_as_interrupts():
        passed = context.obj.show_checks(checks)
    if not passed:
        context.exit(1)


@hosts.command("pause")
@click.argument("name")
@click.pass_obj
def pause_host(options: GlobalOptions, name: str) -> None:
    """Pause the host NAME: its moves wait until it is resumed, running moves continue."""
    _set_paused(options, name, True)


@hosts.command("resume")
@click.argument("name")
@click.pass_obj
def resume_host(options: GlobalOptions, name: str) -> None:
    """Resume the host NAME: its moves run again."""
    _set_paused(options, name, False)


def _chosen(entries: list[HostEntry], name: str | None, path: Path) -> list[HostEntry]:
    chosen = [entry for entry in entries if name in (None, entry.name)]
    if not chosen:
        known = ", ".join(entry.name for entry in entries) or "none"
        what = f"there is no host '{name}'" if name else "there is no host"
        raise click.ClickException(f"{path}: {what}; known: {known}")
    return chosen


def _set_paused(options: GlobalOptions, name: str, paused: bool) -> None:
    """Pause or resume through the database of the ini, or else through the service at --url."""
    if options.ini is None:
        with chosen_service().client() as client:
            answer = client.pause(name) if paused else client.resume(name)
        options.show(answer, pairs_of(answer))
        return
    _pause_in_database(options.ini, name, paused)
    answer = {"name": name, "paused": paused}
    options.show(answer, pairs_of(answer))
    click.echo(f"{name} is paused: its moves wait" if paused else f"{name} is not paused: its moves run", err=True)


def _pause_in_database(ini: str, name: str, paused: bool) -> None:
    settings = read_settings(ini)
    _chosen(checked(host_entries, settings.registry), name, settings.registry)
    database = Database(checked(Settings.database_url, settings))
    checked(migrations.require_newest, database.engine)
    with database.writing() as session:
        set_paused(session, name, paused)
    database.close()
    record_command(settings, "hosts pause" if paused else "hosts resume", name)
    Doorbell(redis_connection(settings.redis_url, settings.redis_secret())).notify_all_workers()


def _list(options: GlobalOptions) -> None:
    """Show the registered hosts and their health."""
    with chosen_service().client() as client:
        found = client.hosts()
    columns: dict[str, Column] = {
        "name": "name",
        "protocol": "protocol",
        "roles": lambda each: ", ".join(each["roles"]),
        "health": "health",
        "code": "code",
        "reason": "reason",
        "description": "description",
    }
    options.show(found, table_of(found, columns))
