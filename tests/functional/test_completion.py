"""Shell completion, in the shells themselves."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.servers.processes import program

SCRIPTS = Path(sys.executable).parent
#: what a shell does that has just started, and is to complete `data_mover hosts pa`
ASKS = {
    "bash": """. ~/.bashrc
        COMP_WORDS=(data_mover hosts pa) COMP_CWORD=2
        _data_mover_completion data_mover
        echo "$COMPREPLY" """,
    "zsh": """. ~/.zshrc
        _describe() { print -l "${(P@)3}" }
        words=(data_mover hosts pa) CURRENT=3
        $_comps[data_mover]""",
    "fish": 'complete -C "data_mover hosts pa"',
}


@pytest.fixture
def run(tmp_path):
    def run(*command):
        environment = {"PATH": f"{SCRIPTS}{os.pathsep}{os.environ['PATH']}", "HOME": str(tmp_path)}
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)

    return run


@pytest.mark.parametrize("shell", ASKS)
def test_one_command_lets_a_shell_complete(run, shell):
    path = program(shell)
    for _ in range(2):
        assert run("data_mover", "completion", "install", shell).returncode == 0

    offered = run(path, "-c", ASKS[shell])

    assert "pause" in offered.stdout, offered
    assert "resume" not in offered.stdout


def test_a_start_file_keeps_what_it_has_and_gets_one_line(run, tmp_path):
    (tmp_path / ".bashrc").write_text("alias ll='ls -l'")
    for _ in range(2):
        run("data_mover", "completion", "install", "bash")

    mine, ours = (tmp_path / ".bashrc").read_text().splitlines()

    assert mine == "alias ll='ls -l'"
    assert "completion.bash" in ours


def test_the_script_can_be_printed_and_the_shell_must_be_known(run):
    assert "_data_mover_completion" in run("data_mover", "completion", "show", "bash").stdout
    assert run("data_mover", "completion", "install").returncode == 2
