"""`data_mover doctor`: everything that can be wrong with an installation, in words, with the way out."""

import logging
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from datetime import UTC, datetime
from getpass import getuser

import click

from data_mover.checks.config import check_configuration
from data_mover.checks.machine import check_machine, check_software
from data_mover.checks.report import Check
from data_mover.checks.service import check_service
from data_mover.cli.options import GlobalOptions
from data_mover.config.registry_file import host_entries
from data_mover.config.settings import Settings
from data_mover.domain.errors import ConfigurationError, ServiceUnavailable
from data_mover.domain.findings import Finding
from data_mover.domain.signals import signals_as_interrupts
from data_mover.domain.states import Cause
from data_mover.doorbell import Doorbell, redis_connection
from data_mover.services.readiness import Readiness
from data_mover.store import workers
from data_mover.store.database import Database

#: so many hosts are checked at a time: one that does not answer keeps the others waiting for seconds
HOSTS_AT_ONCE = 8


@click.command()
@click.pass_obj
def doctor(options: GlobalOptions) -> None:
    """Find what is wrong with this installation, and say what to do about it.

    Checks software, ini, registry, callers, secrets, database, Redis, disks and the clock, then whether web, workers
    and sweeper run, then every host. Ends with status 0 if nothing is wrong, else 1. Changes nothing, except for a
    small file on each host that it removes again.
    """
    logging.disable()
    with signals_as_interrupts():
        passed = options.show_checks(_checks(options.required_ini))
    if not passed:
        raise SystemExit(1)


def _checks(ini: str) -> Iterator[Check]:
    yield Check("Software", check_software())
    yield Check(f"{ini}, checked by the user {getuser()}", check_configuration(ini))
    try:
        settings = Settings.from_ini(ini)
    except ConfigurationError:
        return  # reported; nothing else is known
    yield Check("This machine", check_machine(ini, settings))
    yield Check("The running service", _check_running(ini, settings))
    yield Check("Hosts", _check_hosts(settings))


def _check_running(ini: str, settings: Settings) -> Iterator[Finding]:
    yield from check_service(ini, settings, datetime.now(UTC))
    with suppress(ConfigurationError, ServiceUnavailable):  # a database that is away is reported above
        yield from _check_processes(settings)


def _check_processes(settings: Settings) -> list[Finding]:
    """Return whether workers and a sweeper are alive, as `/health/ready` has it."""
    database = Database(settings.database_url())
    try:
        doorbell = Doorbell(redis_connection(settings.redis_url, settings.redis_secret()))
        missing = {part.code: part.sentence for part in Readiness(database, doorbell).missing()}
        with database.reading() as session:
            alive = workers.alive(session, workers.SILENT_AFTER_SECONDS)
    finally:
        database.close()
    well = {Cause.NO_WORKER: ("workers", f"{alive} alive"), Cause.NO_SWEEPER: ("sweeper", "alive")}
    return [
        Finding(step, cause not in missing, missing.get(cause, sentence)) for cause, (step, sentence) in well.items()
    ]


def _check_hosts(settings: Settings) -> Iterator[Finding]:
    from data_mover.checks.host import check_briefly  # loads paramiko, which no other check needs

    try:
        entries = host_entries(settings.registry)
    except ConfigurationError:
        return  # reported with the registry
    with ThreadPoolExecutor(HOSTS_AT_ONCE) as threads:
        for findings in threads.map(check_briefly, entries):
            yield from findings
