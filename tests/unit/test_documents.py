"""The documents say what the code does."""

import re
from pathlib import Path

import pytest
from pydantic import BaseModel

from data_mover.backends import PROTOCOLS
from data_mover.config.registry import OPEN_WEB, Dataset
from data_mover.config.registry_file import load_registry
from data_mover.config.settings import Settings
from data_mover.domain.errors import FAILURES
from data_mover.domain.states import REASONS
from data_mover.web.parsing import Options
from data_mover.web.xmlrpc.methods import METHODS
from tests.crash.matrix import FOLDER_POINTS, LISTING_POINTS, MAINTENANCE_POINTS, WEB_POINTS, WORKER_POINTS

MODELS: set[type[BaseModel]] = {*(protocol.options for protocol in PROTOCOLS.values()), Dataset}
DOCS = Path(__file__).parents[2] / "docs"
POINTS = {**WORKER_POINTS, **FOLDER_POINTS, **LISTING_POINTS, **MAINTENANCE_POINTS, **WEB_POINTS}

CODES_HEAD = """\
# Why a move can fail

`check` returns the code, a reason that begins with the sentence, whether a retry can help, and who can fix it. What a
retry can help is tried again by itself, with growing waits, until the attempts are used up or the deadline has passed.

Where a web server answers with another status than that of a file, the code is the status: `http-404` below stands for
`http-410` too, `http-5xx` for 408, 425, 429 and all from 500 on, and `http-<status>` for all others.

| code | sentence | a retry can help | who can fix it |
|---|---|---|---|
"""


CAUSES_HEAD = """
# What a move can wait for

A move that could run, and waits since a process is missing, tells which one; it runs once that is there.

| code | sentence |
|---|---|
"""


def codes_document():
    failures = "".join(codes_row(failure) for failure in FAILURES.values())
    causes = "".join(f"| `{cause.value}` | {sentence} |\n" for cause, sentence in REASONS.items())
    return CODES_HEAD + failures + CAUSES_HEAD + causes


def codes_row(failure):
    retry = "yes" if failure.retryable else "no"
    return f"| `{failure.code}` | {failure.sentence()} | {retry} | {failure.who_can_fix} |\n"


def test_the_codes_are_those_of_the_table():
    """To write the document anew: python -m tests.unit.test_documents"""
    assert (DOCS / "reference" / "codes.md").read_text() == codes_document()


@pytest.mark.parametrize("field", Settings.model_fields.values(), ids=lambda field: field.alias)
def test_every_setting_is_documented_with_its_default(field):
    row = row_of("reference/settings.md", field.alias)

    if field.default == ():
        assert "| |" in row
    elif field.default is not None and not field.is_required():
        assert f"| {field.default} |" in row


def test_how_many_transfers_may_run_with_the_open_web_is_documented(tmp_path):
    (tmp_path / "registry.toml").write_text("[hosts]\n")
    web = load_registry(tmp_path / "registry.toml", open_web=True).every_host[OPEN_WEB]

    assert f"no more than {web.max_transfers} transfers" in row_of("reference/settings.md", "data_mover.open_web")


@pytest.mark.parametrize("key", sorted({key for model in MODELS for key in model.model_fields}))
def test_every_key_of_the_registry_is_documented(key):
    assert row_of("reference/registry.md", key)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_is_documented(name):
    assert f"{name}(" in (DOCS / "reference" / "xml-rpc.md").read_text()


@pytest.mark.parametrize("option", sorted(Options.model_fields))
def test_every_option_is_documented(option):
    assert row_of("reference/xml-rpc.md", option)


@pytest.mark.parametrize(("point", "sentence"), POINTS.items())
def test_every_point_of_the_kill_matrix_is_documented(point, sentence):
    assert row_of("explanation/guarantees.md", point).split(" | ")[1] == sentence


def test_every_fault_point_of_the_code_is_in_the_kill_matrix():
    sources = "".join(path.read_text() for path in (DOCS.parent / "data_mover").rglob("*.py"))
    points = {*re.findall(r'reach\("([\w-]+)"\)', sources), "resolving", "transferring", "verifying"}

    assert points == {point for point in POINTS if not point.startswith("sent-")}


def row_of(document, key):
    lines = (DOCS / document).read_text().splitlines()
    rows = [line for line in lines if line.startswith("| `") and f"`{key}`" in line.split(" | ")[0]]
    assert rows, f"{document} has no row for {key}"
    return rows[0]


if __name__ == "__main__":
    (DOCS / "reference" / "codes.md").write_text(codes_document())
