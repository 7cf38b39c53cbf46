"""Logging as the ini says, one event a line whatever paths, callers and hosts have in their words."""

import logging
from typing import Any

import plaster

from data_mover.domain.printable import printable

_make_record = logging.LogRecord


def set_up_logging(ini: str) -> None:
    """Sets loggers, handlers and formats up as the ini says, and escapes what is logged."""
    plaster.setup_logging(ini)
    escape_records()


def escape_records() -> None:
    """From now on no message of this process, whoever logs it, spans lines or has characters that do not print. The
    lines of a traceback are indented."""
    logging.setLogRecordFactory(_escaped)


def _escaped(*arguments: Any, **named: Any) -> logging.LogRecord:
    record = _make_record(*arguments, **named)
    try:
        record.msg, record.args = printable(record.getMessage()), None
    except (TypeError, ValueError):
        return record  # a message that does not fit its arguments, which logging itself reports
    if record.exc_info:
        lines = logging.Formatter().formatException(record.exc_info).splitlines()
        record.exc_text = "\n".join(f"    {printable(line)}" for line in lines)
    return record
