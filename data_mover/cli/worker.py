"""`data_mover worker`: imports little of what a worker needs, since it becomes RQ's command."""

import os
import sys

import click

from data_mover.cli.options import GlobalOptions
from data_mover.cli.settings import read_settings
from data_mover.domain.child_environment import environment
from data_mover.doorbell import WORKER_CLASS


@click.command()
@click.pass_obj
def worker(options: GlobalOptions) -> None:
    """Run jobs until stopped; start as many workers as you want, on as many machines."""
    path = os.path.abspath(options.required_ini)
    read_settings(path)
    arguments = [sys.executable, "-m", "rq.cli", "worker", "-c", "data_mover.rq_settings"]
    os.execve(sys.executable, arguments, {**environment(), "DATA_MOVER_INI": path, "RQ_WORKER_CLASS": WORKER_CLASS})
