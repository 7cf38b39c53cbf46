"""Processes run under supervisord, and end together."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from data_mover.demo import processes
from data_mover.demo.deployment import SUPERVISOR
from data_mover.demo.processes import ProcessDied, Processes
from data_mover.domain.child_environment import environment
from tests.servers.processes import eventually

#: says who it is, once it is ready to be ended
WAIT = "import os, signal; print(os.getpid(), flush=True); signal.pause()"
DEAF = f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN); {WAIT}"
FAIL = "raise SystemExit('the port is taken')"

PROGRAM = """
[program:{name}]
command = "%(ENV_PYTHON)s" -c "{code}"
startsecs = 3
startretries = 1000000
autorestart = true
stopwaitsecs = 60
redirect_stderr = true
stdout_logfile = %(here)s/logs/{name}.log
"""


@pytest.fixture
def supervised(tmp_path):
    """Programs with this code under supervisord, configured as in production except for what the programs are."""

    def start(**codes):
        head, _, rest = SUPERVISOR.read_text().partition("; The doorbell.")
        tail = rest[rest.index("[unix_http_server]") :]
        programs = "".join(PROGRAM.format(name=name, code=code) for name, code in codes.items())
        (tmp_path / "logs").mkdir(exist_ok=True)
        (tmp_path / "supervisord.conf").write_text(head + programs + tail)
        return Processes(tmp_path, tmp_path / "supervisord.conf", {"PYTHON": sys.executable})

    return start


def pid_in(log):
    return int(eventually(lambda: log.exists() and log.read_text(), f"a process that writes {log}").split()[-1])


def runs(pid):
    """Whether the process lives; a zombie does not."""
    try:
        return "\nState:\tZ" not in Path(f"/proc/{pid}/status").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_leaving_the_set_ends_every_process(supervised):
    with supervised(one=WAIT, two=WAIT) as running:
        pids = [pid_in(running.log("one")), pid_in(running.log("two"))]
        assert all(map(runs, pids))

    assert not any(map(runs, pids))


def test_another_interrupt_kills_what_ignores_being_asked(supervised):
    def interrupt(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    with supervised(deaf=DEAF) as running:
        pid = pid_in(running.log("deaf"))
        signal.setitimer(signal.ITIMER_REAL, 0.5)
    signal.signal(signal.SIGALRM, before)

    assert not runs(pid)


def test_a_process_that_dies_is_started_again(supervised):
    with supervised(web=WAIT) as running:
        pid = pid_in(running.log("web"))

        os.kill(pid, signal.SIGKILL)

        eventually(lambda: pid_in(running.log("web")) != pid, "another process")
        running.check()


def test_a_process_that_does_not_stay_up_is_reported_with_the_end_of_its_log(supervised, monkeypatch):
    monkeypatch.setattr(processes, "PATIENCE_SECONDS", 0.5)
    with supervised(web=WAIT, failing=FAIL) as running, pytest.raises(ProcessDied) as died:
        eventually(running.check, "a process that is given up")

    assert "failing does not stay up" in str(died.value)
    assert "the port is taken" in str(died.value)


def test_nothing_is_left_where_the_supervisor_is_killed(supervised):
    with supervised(web=WAIT) as running:
        pid = pid_in(running.log("web"))
        running.check()
        os.kill(os.getsid(pid), signal.SIGKILL)
        with pytest.raises(ProcessDied, match="supervisord does not stay up"):
            eventually(running.check, "the end of supervisord")

    eventually(lambda: not runs(pid), "the end of web")


def test_a_supervisor_that_cannot_start_is_reported(tmp_path):
    (tmp_path / "logs").mkdir()
    (tmp_path / "supervisord.conf").write_text("nonsense")

    with (
        Processes(tmp_path, tmp_path / "supervisord.conf", {}) as running,
        pytest.raises(ProcessDied, match="supervisord does not stay up"),
    ):
        eventually(running.check, "the end of supervisord")


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux ends children whose parent was killed")
def test_a_killed_parent_takes_its_children_along(supervised, tmp_path):
    supervised(child=WAIT)
    parent_code = f"""
import signal
from pathlib import Path
from data_mover.demo.processes import Processes
directory = Path({str(tmp_path)!r})
with Processes(directory, directory / "supervisord.conf", {{"PYTHON": {sys.executable!r}}}):
    signal.pause()
"""
    with subprocess.Popen([sys.executable, "-c", parent_code], env=environment()) as parent:
        child = pid_in(tmp_path / "logs" / "child.log")

        parent.kill()

    eventually(lambda: not runs(child), "the end of the child")
