"""Child processes run side by side and end together."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from data_mover.scripts.processes import ProcessDied, Processes, environment
from tests.servers.processes import eventually

#: says who it is, once it is ready to be ended
WAIT = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAIT}"


def python(code):
    return [sys.executable, "-c", code]


def pid_in(log):
    return int(eventually(lambda: log.exists() and log.read_text(), f"a process that writes {log}"))


def runs(pid):
    """Whether the process lives; a zombie does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_leaving_the_set_ends_every_process(tmp_path):
    with Processes(tmp_path) as processes:
        processes.start("one", python(WAIT))
        processes.start("two", python(WAIT))
        pids = [pid_in(processes.log("one")), pid_in(processes.log("two"))]
        assert all(map(runs, pids))

    assert not any(map(runs, pids))


def test_a_process_that_ignores_being_asked_is_killed(tmp_path):
    with Processes(tmp_path, stop_timeout_seconds=0.1) as processes:
        processes.start("deaf", python(DEAF))
        pid = pid_in(processes.log("deaf"))

    assert not runs(pid)


def test_a_process_that_dies_is_told_with_the_end_of_its_log(tmp_path):
    with Processes(tmp_path) as processes:
        processes.start("web", python(f"print('the port is taken', flush=True); {WAIT}"))
        eventually(lambda: processes.log("web").read_text().count("\n") == 2, "web running")
        pid = int(processes.log("web").read_text().split()[-1])

        os.kill(pid, signal.SIGKILL)
        os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)

        with pytest.raises(ProcessDied, match=r"(?s)web ended with status -9\..*the port is taken"):
            processes.check()


def test_a_process_that_is_run_to_its_end_may_end(tmp_path):
    with Processes(tmp_path) as processes:
        processes.run("initialize-db", python("print('done')"))

        processes.check()

    assert (tmp_path / "initialize-db.log").read_text() == "done\n"


def test_a_process_that_is_run_to_its_end_must_not_fail(tmp_path):
    with Processes(tmp_path) as processes, pytest.raises(ProcessDied, match="initialize-db ended with status 1"):
        processes.run("initialize-db", python("raise SystemExit('no')"))


def test_children_import_what_their_parent_does_and_nothing_that_lies_about(tmp_path, monkeypatch):
    (tmp_path / "data_mover.py").write_text("raise SystemExit('an impostor')")
    (tmp_path / "egg").mkdir()
    (tmp_path / "egg" / "only_in_the_egg.py").touch()
    monkeypatch.syspath_prepend(tmp_path / "egg")
    monkeypatch.chdir(tmp_path)

    command = python("import data_mover.errors, only_in_the_egg")
    child = subprocess.run(command, env=environment(), capture_output=True, check=False)

    assert child.returncode == 0, child.stderr


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children whose parent was killed")
def test_a_killed_parent_takes_its_children_along(tmp_path):
    parent_code = f"""
import signal
from pathlib import Path
from data_mover.scripts.processes import Processes
Processes(Path({str(tmp_path)!r})).start("child", {python(WAIT)!r})
signal.pause()
"""
    with subprocess.Popen(python(parent_code), env=environment()) as parent:
        child = pid_in(tmp_path / "child.log")

        parent.kill()

    eventually(lambda: not runs(child), "the end of the child")
