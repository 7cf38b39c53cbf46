"""One event a line, whatever is logged and by whom."""

import io
import logging

import pytest

from data_mover.config.logs import escape_records

EVIL = "a\n2026-11-27 00:00:00,000 INFO job-completed job=1\x1b[2J\x9b"


@pytest.fixture
def lines():
    """What the loggers of this process have written, line by line."""
    factory, stream = logging.getLogRecordFactory(), io.StringIO()
    handler = logging.StreamHandler(stream)
    handler.setFormatter(logging.Formatter("%(levelname)s %(message)s"))
    logger = logging.getLogger("some.library")
    logger.addHandler(handler)
    escape_records()
    yield lambda: stream.getvalue().split("\n")[:-1]
    logger.removeHandler(handler)
    logging.setLogRecordFactory(factory)


def test_a_message_stays_on_its_line(lines):
    logging.getLogger("some.library").warning("path=%s", EVIL)

    assert lines() == [r"WARNING path=a\n2026-11-27 00:00:00,000 INFO job-completed job=1\x1b[2J\x9b"]


def test_no_line_of_a_traceback_looks_like_another_event(lines):
    try:
        raise ValueError(EVIL)
    except ValueError:
        logging.getLogger("some.library").exception("broke")

    first, *traceback = lines()
    assert first == "ERROR broke"
    assert all(line.startswith("    ") and line.isprintable() for line in traceback)


def test_a_message_that_does_not_fit_its_arguments_harms_nobody(lines, monkeypatch):
    monkeypatch.setattr(logging, "raiseExceptions", False)

    logging.getLogger("some.library").warning("%d", "text")

    assert lines() == []
