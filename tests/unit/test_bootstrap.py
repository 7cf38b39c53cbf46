"""`bootstrap.py test`: which checks its arguments choose."""

import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "bootstrap.py"
LINT = {"ruff check", "ruff format", "mypy", "lint-imports"}


@pytest.fixture(scope="module")
def chosen_checks():
    spec = importlib.util.spec_from_file_location("bootstrap", SCRIPT)
    bootstrap = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(bootstrap)
    return bootstrap.chosen_checks


@pytest.mark.parametrize(
    ("arguments", "names", "pytest_command"),
    [
        ([], LINT | {"pytest"}, ["pytest"]),
        (["-m", "soak"], LINT | {"pytest"}, ["pytest", "-m", "soak"]),
        (["lint"], LINT, None),
        (["unit", "-x"], {"pytest"}, ["pytest", "tests/unit", "-x"]),
        (["tests/unit/domain", "-k", "url"], {"pytest"}, ["pytest", "tests/unit/domain", "-k", "url"]),
    ],
)
def test_the_arguments_choose_the_checks(chosen_checks, arguments, names, pytest_command):
    chosen = chosen_checks(arguments)

    assert set(chosen) == names
    assert chosen.get("pytest") == pytest_command
