"""The documents say what the code does."""

from pathlib import Path

import pytest

from data_mover.errors import FAILURES
from data_mover.protocols.options import LocalOptions, SshOptions
from data_mover.registry import Dataset
from data_mover.rpc.methods import METHODS
from data_mover.rpc.requests import Options
from data_mover.settings import Settings

DOCS = Path(__file__).parents[2] / "docs"

CODES_HEAD = """\
# Why a move can fail

`check` tells the code, a reason that begins with the sentence, whether a retry can help, and who can fix it. What a
retry can help is tried again by itself, with growing waits, until the attempts are used up or the deadline has passed.

| code | sentence | a retry can help | who can fix it |
|---|---|---|---|
"""


def codes_document():
    return CODES_HEAD + "".join(codes_row(failure) for failure in FAILURES.values())


def codes_row(failure):
    retry = "yes" if failure.retryable else "no"
    return f"| `{failure.code}` | {failure.sentence()} | {retry} | {failure.who_can_fix} |\n"


def test_the_codes_are_those_of_the_table():
    """To write the document anew: python -m tests.unit.test_documents"""
    assert (DOCS / "codes.md").read_text() == codes_document()


@pytest.mark.parametrize("field", Settings.model_fields.values(), ids=lambda field: field.alias)
def test_every_setting_is_documented_with_its_default(field):
    row = row_of("configuration.md", field.alias)

    if field.default not in (None, ...) and not field.is_required():
        assert f"| {field.default} |" in row


@pytest.mark.parametrize("key", sorted({*LocalOptions.model_fields, *SshOptions.model_fields, *Dataset.model_fields}))
def test_every_key_of_the_registry_is_documented(key):
    assert row_of("configuration.md", key)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_is_documented(name):
    assert f"{name}(" in (DOCS / "xml-rpc.md").read_text()


@pytest.mark.parametrize("option", sorted(Options.model_fields))
def test_every_option_is_documented(option):
    assert row_of("xml-rpc.md", option)


def row_of(document, key):
    lines = (DOCS / document).read_text().splitlines()
    rows = [line for line in lines if line.startswith("| `") and f"`{key}`" in line.split(" | ")[0]]
    assert rows, f"{document} has no row for {key}"
    return rows[0]


if __name__ == "__main__":
    (DOCS / "codes.md").write_text(codes_document())
