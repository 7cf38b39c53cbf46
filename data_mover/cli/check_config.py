"""`data_mover check-config`: what is wrong with a configuration."""

import logging
from getpass import getuser

import click

from data_mover.checks.config import check_configuration
from data_mover.checks.report import Check
from data_mover.cli.options import GlobalOptions


@click.command("check-config")
@click.pass_obj
def check_config(options: GlobalOptions) -> None:
    """List every problem of the ini and of the registry, and check that database and Redis answer."""
    ini = options.required_ini
    logging.disable()
    if not options.show_checks([Check(f"{ini}, checked by the user {getuser()}", check_configuration(ini))]):
        raise SystemExit(1)
