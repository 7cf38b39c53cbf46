"""What the commands of operators share: they read the settings, and record what they have changed."""

from collections.abc import Callable
from getpass import getuser
from typing import TypeVar

import click

from data_mover.config.logs import set_up_logging
from data_mover.config.settings import Settings
from data_mover.domain.errors import ConfigurationError, ServiceUnavailable
from data_mover.store.audit_trail import AuditTrail

_Read = TypeVar("_Read")
_Value = TypeVar("_Value")


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
