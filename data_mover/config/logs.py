"""Logging as the ini says, one event per line whatever characters paths, callers and hosts send."""

import logging
from typing import Any

import plaster

from data_mover.domain.printable import printable

_make_record = logging.LogRecord


def set_up_logging(ini: str) -> None:
    """Set up loggers, handlers and formats as the ini says, and escape what is logged."""
    plaster.setup_logging(ini)
    escape_records()


def escape_records() -> None:
    """Escape all messages of this process from now on, so that none spans lines or has characters that do not print.
    The lines of a traceback are indented."""
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
