"""A client that openapi-python-client makes of the document that the service serves calls `/api/v1`."""

import importlib
import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.functional.callers.service import TOKENS, ask

GENERATOR = Path(sys.executable).parent / "openapi-python-client"
PACKAGE = "data_mover_client"


@pytest.fixture(scope="module")
def generated(world, tmp_path_factory):
    """The modules of the package, by their names."""
    base = tmp_path_factory.mktemp("generated")
    (base / "openapi.json").write_text(json.dumps(ask(world, "GET", "/api/v1/openapi.json", token=TOKENS["portal"])[2]))
    (base / "config.json").write_text('{"post_hooks": []}')
    command = [GENERATOR, "generate", "--meta", "none", "--fail-on-warning", "--output-path", base / PACKAGE]
    subprocess.run([*command, "--path", base / "openapi.json", "--config", base / "config.json"], check=True)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(base)
        yield lambda name: importlib.import_module(f"{PACKAGE}{name}")


@pytest.fixture
def portal(world, generated):
    """Calls an operation of the document by its name."""
    url = f"{world.service.url.removesuffix('/data_mover')}/api/v1"
    with generated("").AuthenticatedClient(url, TOKENS["portal"]) as client:
        yield lambda name, *args, **more: generated(f".api.default.{name}").sync(*args, client=client, **more)


@pytest.fixture
def models(generated):
    return generated(".models")


def test_a_move_from_submission_to_its_end(portal, models):
    options = models.Options(label="generated", priority=models.OptionsPriority.HIGH)
    request = models.MoveRequest("archive:/species/1.csv", "vis:/maps/generated", options)

    accepted = portal("move", body=request, idempotency_key="generated-1")
    again = portal("move", body=request, idempotency_key="generated-1")
    move = portal("get_move", accepted.id, wait=30)

    assert again.id == accepted.id
    assert (move.status, move.label, move.path) == (models.MoveStatus.COMPLETED, "generated", "/maps/generated")
    assert move.reason is None
    [file] = portal("list_files", accepted.id, state=models.ListFilesState.PUBLISHED).files
    assert (file.name, file.sha256) == ("1.csv", move.sha256)
    assert [event.event for event in portal("list_events", accepted.id).events][-1] == "completed"
    assert portal("explain_move", accepted.id).cause == models.ExplanationCause.ENDED


def test_pages_hosts_and_data_types(portal, models):
    request = models.MoveRequest(models.LocationType2(type_="layers", id=7), "vis:/maps/")
    moves = [portal("move", body=request).id for _ in range(2)]

    page = portal("list_moves", limit=1)

    assert [move.id for move in page.moves] == moves[-1:]
    assert page.next_.startswith("/api/v1/moves?")
    assert {host.name for host in portal("list_hosts").hosts} == {"archive", "slow", "vis", "site"}
    assert [dataset.name for dataset in portal("list_datasets").datasets] == ["layers"]


def test_a_refusal_is_a_value_with_its_code(portal, models):
    refused = portal("move", body=models.MoveRequest("archive:/private/x", "vis:/maps/"))
    planned = portal("plan", body=models.MoveRequest("archive:/species/1.csv", "vis:/maps/"))
    missing = portal("cancel_move", 999_999)

    assert [type(each) for each in (refused, planned, missing)] == [models.Problem] * 3
    assert [(each.status, each.code) for each in (refused, planned, missing)] == [
        (422, "unknown-source"),
        (422, "not-allowed"),
        (404, "no-such-job"),
    ]
