"""The documents say what the code does."""

import json
import re

import pytest

from data_mover.backends import PROTOCOLS
from data_mover.config.registry import OPEN_WEB
from data_mover.config.registry_file import load_registry
from data_mover.web.xmlrpc.methods import METHODS
from tests.crash.matrix import FOLDER_POINTS, LISTING_POINTS, MAINTENANCE_POINTS, WEB_POINTS, WORKER_POINTS
from tests.project import PROJECT, script

DOCS = PROJECT / "docs"
POINTS = {**WORKER_POINTS, **FOLDER_POINTS, **LISTING_POINTS, **MAINTENANCE_POINTS, **WEB_POINTS}


@pytest.fixture(scope="module")
def reference():
    """The script that writes the reference."""
    return script("docs/write_reference.py")


def test_the_reference_is_what_the_code_says(reference):
    stale = [page.name for page in reference.pages() if reference.written(page.read_text()) != page.read_text()]

    assert stale == [], "run .venv/bin/python docs/write_reference.py"


def test_every_part_that_the_code_can_write_is_in_one_page(reference):
    named = [name for page in reference.pages() for name, _ in reference.PART.findall(page.read_text())]

    assert sorted(named) == sorted(reference.PARTS)


def test_every_protocol_has_its_keys_in_the_reference(reference):
    """A new one needs a part of its own, unless it has the keys of every host and no others."""
    parts = "".join(part() for name, part in reference.PARTS.items() if name.startswith("keys of"))

    for protocol in PROTOCOLS.values():
        assert [key for key in protocol.options.model_fields if f"| `{key}` |" not in parts] == []


def test_how_many_transfers_may_run_with_the_open_web_is_documented(tmp_path):
    (tmp_path / "registry.toml").write_text("[hosts]\n")
    web = load_registry(tmp_path / "registry.toml", open_web=True).every_host[OPEN_WEB]

    assert f"no more than {web.max_transfers} transfers" in row_of("reference/settings.md", "data_mover.open_web")


@pytest.mark.parametrize("name", sorted(METHODS))
def test_every_method_is_documented(name):
    assert f"{name}(" in (DOCS / "reference" / "xml-rpc.md").read_text()


@pytest.mark.parametrize("name", ["Move", "Plan", "File", "Event", "Explanation", "Host"])
def test_every_key_of_an_answer_is_documented(reference, name):
    """The answers of XML-RPC have the names of those of `/api/v1`."""
    schemas = json.loads(reference.OPENAPI.read_text())["components"]["schemas"]
    page = (DOCS / "reference" / "xml-rpc.md").read_text()

    assert [key for key in schemas[name]["properties"] if f"`{key}`" not in page] == []


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
