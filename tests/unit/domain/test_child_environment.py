"""What child processes find."""

import subprocess
import sys

from data_mover.domain.child_environment import environment


def test_children_import_what_their_parent_does_and_nothing_that_lies_about(tmp_path, monkeypatch):
    (tmp_path / "data_mover.py").write_text("raise SystemExit('an impostor')")
    (tmp_path / "egg").mkdir()
    (tmp_path / "egg" / "only_in_the_egg.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "egg")
    monkeypatch.chdir(tmp_path)

    command = [sys.executable, "-c", "import data_mover.domain.errors, only_in_the_egg"]
    child = subprocess.run(command, env=environment(), capture_output=True, check=False)

    assert child.returncode == 0, child.stderr
