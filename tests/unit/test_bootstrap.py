"""`bootstrap.py`: what `test` chooses, what it shows while it installs, and what `audit` says of the pins."""

import json
import os
import pty
import subprocess
import sys
from types import SimpleNamespace

import pytest

from tests.project import PROJECT, script

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


#: what pip prints, of which a person sees how far it is
PIP = ["Collecting click (from data_mover)", "Collecting rich>=1", "Installing collected packages: a, b"]


def installing(lines, status=0):
    """The command that runs a program which prints the lines and ends with the status."""
    program = f"import sys; print(*{lines!r}, sep='\\n'); sys.exit({status})"
    return [
        sys.executable,
        "-c",
        f"import sys, bootstrap; bootstrap.run_quietly([sys.executable, '-c', {program!r}], 'no')",
    ]


def test_a_terminal_shows_how_far_pip_is():
    mine, its = pty.openpty()

    ran = subprocess.run(installing(PIP), cwd=PROJECT, stdout=its, timeout=60)

    shown = os.read(mine, 4096).decode()
    assert ran.returncode == 0
    assert "1 packages, now click" in shown
    assert "2 packages, now rich>=1" in shown
    assert "writing 2 packages" in shown
    assert shown.endswith("\r\x1b[K")


def test_a_file_gets_none_of_it_and_a_failure_gets_everything():
    quiet, failed = (
        subprocess.run(installing(PIP, status), cwd=PROJECT, capture_output=True, text=True) for status in (0, 3)
    )

    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (0, "", "")
    assert (failed.returncode, failed.stdout) == (1, "")
    assert failed.stderr.splitlines() == [*PIP, "", "no"]
