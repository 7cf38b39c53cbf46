"""`bootstrap.py`: which checks the arguments of `test` choose, and what `audit` says of the pins."""

import json
from types import SimpleNamespace

import pytest

from tests.scripts import script

LINT = {"ruff check", "ruff format", "mypy", "lint-imports"}


@pytest.fixture(scope="module")
def bootstrap():
    return script("bootstrap.py")


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
def test_the_arguments_choose_the_checks(bootstrap, arguments, names, pytest_command):
    chosen = bootstrap.chosen_checks(arguments)

    assert set(chosen) == names
    assert chosen.get("pytest") == pytest_command


PACKAGE = {"name": "urllib3", "version": "1.26.0"}


@pytest.mark.parametrize(
    ("report", "verdict"),
    [
        ({"dependencies": [{**PACKAGE, "vulns": []}]}, "passed, 1 packages"),
        ({"dependencies": [{**PACKAGE, "vulns": [{"id": "PYSEC-2023-1", "fix_versions": ["1.26.17"]}]}]}, "FAILED"),
        ({"dependencies": [{"name": "urllib3", "skip_reason": "not found"}]}, "left out"),
        (None, "left out"),
    ],
    ids=["nothing is known", "one is known", "it knows no package", "it does not answer"],
)
def test_only_a_known_vulnerability_fails_the_audit(bootstrap, tmp_path, capsys, report, verdict):
    answer = f"cat >\"${{@: -1}}\" <<'REPORT'\n{json.dumps(report)}\nREPORT" if report else "exit 1"
    auditor = tmp_path / "pip-audit"
    auditor.write_text(f"#!/bin/bash\n{answer}\n")
    auditor.chmod(0o755)

    found = bootstrap.check_vulnerabilities(SimpleNamespace(script=lambda name: str(tmp_path / name)))

    assert found.startswith(verdict)
    assert ("urllib3 1.26.0: PYSEC-2023-1, fixed in 1.26.17" in capsys.readouterr().out) is (verdict == "FAILED")
