"""The command that callers use, run as a program against a service."""

import json
import os
import pty
import signal
import subprocess
import sys
import termios
from pathlib import Path

import httpx
import pytest

from tests.servers.processes import eventually, free_port

PROGRAM = str(Path(sys.executable).parent / "data_mover")


@pytest.fixture
def run(service):
    def run(*arguments, **variables):
        given = {"NO_COLOR": "1", "COLUMNS": "200", "DATA_MOVER_URL": service.url, **variables}
        environment = {**os.environ, **{name: value for name, value in given.items() if value is not None}}
        return subprocess.run([PROGRAM, *arguments], env=environment, capture_output=True, text=True, timeout=120)

    return run


def test_a_move_that_is_waited_for_ends_with_status_0_and_its_proof(run, roots):
    (roots.disk / "command.txt").write_text("by the command")

    ran = run("move", "disk:/command.txt", "archive:/command/", "--wait")

    assert ran.returncode == 0, ran.stderr
    assert "COMPLETED" in ran.stdout
    assert "sha256" in ran.stdout
    assert "is on record" in ran.stderr
    assert (roots.archive / "command" / "command.txt").read_text() == "by the command"


def test_a_move_that_fails_ends_with_status_1_and_the_reason(run):
    ran = run("--json", "move", "disk:/nothing.txt", "archive:/", "--wait")

    assert ran.returncode == 1
    assert json.loads(ran.stdout)[0]["code"] == "no-such-file"


def test_what_is_refused_ends_with_status_2_and_no_data(run):
    refused = run("move", "nowhere:/x", "archive:/")
    misused = run("move", "only-one")

    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("Unknown source 'nowhere'")
    assert misused.returncode == 2


def test_a_time_out_ends_with_status_3_and_the_move_continues(run):
    assert run("hosts", "pause", "archive").returncode == 0
    try:
        ran = run("move", "DATA_TYPE:12", "archive:/timeout.csv", "--timeout", "0.5", "--label", "slow")
        why = run("--json", "explain", str(json.loads(run("--json", "list", "--label", "slow").stdout)[0]["id"]))
    finally:
        assert run("hosts", "resume", "archive").returncode == 0

    assert (ran.returncode, ran.stdout) == (3, "")
    assert "the move continues" in ran.stderr
    assert json.loads(why.stdout)["cause"] == "host-paused"


def test_a_service_that_does_not_answer_ends_with_status_5(run):
    assert run("hosts", DATA_MOVER_URL=f"http://127.0.0.1:{free_port()}").returncode == 5


def test_a_move_is_shown_listed_cancelled_and_done_again(run):
    move_id = run("move", "DATA_TYPE:12", "archive:/shown.csv").stdout.strip()
    run("wait", move_id)

    shown = json.loads(run("--json", "show", move_id).stdout)
    files = json.loads(run("--json", "files", move_id).stdout)
    events = run("events", move_id)
    late = run("cancel", move_id)
    again = run("retry", move_id)

    assert (shown["status"], files[0]["state"]) == ("COMPLETED", "published")
    assert "submitted" in events.stdout
    assert (late.returncode, again.returncode) == (2, 2)
    assert "Too late to cancel" in late.stderr
    assert "Nothing to retry" in again.stderr
    assert "archive:/shown.csv" in run("list").stdout
    assert "\x1b" not in run("list").stdout


def test_a_plan_hosts_and_types_are_shown(run):
    plan = run("--json", "plan", "DATA_TYPE:12", "archive:/plan.csv")

    assert json.loads(plan.stdout)["path"] == "/plan.csv"
    assert "visualizer" in run("hosts").stdout
    assert "An example" in run("types").stdout


def test_ctrl_c_leaves_the_move_running_and_says_how_to_come_back(run, service):
    run("hosts", "pause", "archive")
    try:
        program = ["env", "--default-signal=INT", PROGRAM]  # a shell lets its background processes ignore it
        command = [*program, "--url", service.url, "move", "DATA_TYPE:12", "archive:/back.csv", "--wait"]
        with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
            first = process.stderr.readline()
            process.send_signal(signal.SIGINT)
            rest = process.communicate(timeout=30)[1]
    finally:
        run("hosts", "resume", "archive")

    move_id = first.split()[1]
    assert process.returncode == 130
    assert f"wait {move_id}" in rest
    assert run("wait", move_id).returncode == 0


def test_several_moves_are_waited_for_at_once(run):
    ids = [run("move", "DATA_TYPE:12", f"archive:/several-{number}.csv").stdout.strip() for number in range(2)]

    waited = run("--json", "wait", *ids, ids[0])

    assert [str(each["id"]) for each in json.loads(waited.stdout)] == ids
    assert waited.returncode == 0


def test_where_no_terminal_is_each_row_is_one_line(run, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    label = "a label that is far longer than what is left of a line of eighty columns " * 2
    run("move", "DATA_TYPE:12", "archive:/wide.csv", "--label", label.strip())

    listed = run("list", "--limit", "1", COLUMNS=None).stdout.splitlines()

    assert len(listed) == 2
    assert label.strip() in listed[1]


def test_a_table_fits_the_terminal_and_words_of_states_stay_whole(run, service):
    move_id = run("move", "disk:/nothing-of-that-name.txt", "archive:/").stdout.strip()
    run("wait", move_id)
    mine, its = pty.openpty()
    termios.tcsetwinsize(its, (24, 80))
    environment = {**os.environ, "DATA_MOVER_URL": service.url, "NO_COLOR": "1", "TERM": "dumb"}
    environment.pop("COLUMNS", None)

    subprocess.run([PROGRAM, "events", move_id], env=environment, stdin=its, stdout=its, timeout=60, check=True)

    lines = os.read(mine, 65536).decode().splitlines()
    assert max(map(len, lines)) <= 80
    assert {"submitted", "queued", "FAILED"} <= {word for line in lines for word in line.split()}


def test_an_option_that_belongs_before_the_command_is_named(run):
    misplaced = run("list", "--json")

    assert misplaced.returncode == 2
    assert "--json goes before the command: data_mover --json" in misplaced.stderr


def test_watching_where_nothing_is_live_says_so(run):
    run("watch")  # what other tests have left running

    watched = run("--json", "watch")

    assert (watched.returncode, json.loads(watched.stdout)) == (0, [])
    assert "No move of yours is live" in watched.stderr


def test_the_ini_names_the_service_too(run, service):
    hosts = run("-c", str(service.ini), "--json", "hosts", DATA_MOVER_URL=None)
    paused = run("-c", str(service.ini), "--json", "hosts", "pause", "archive", DATA_MOVER_URL=None)
    resumed = run("-c", str(service.ini), "hosts", "resume", "archive", DATA_MOVER_URL=None)

    assert "visualizer" in {host["name"] for host in json.loads(hosts.stdout)}
    assert json.loads(paused.stdout) == {"name": "archive", "paused": True}
    assert "its moves run" in resumed.stderr


def test_a_database_that_does_not_answer_ends_with_status_5(run, service, tmp_path):
    text = service.ini.read_text().replace("sqlite:///%(here)s/jobs.db", "postgresql://nobody@127.0.0.1:1/none")
    ini = service.directory / "away.ini"
    ini.write_text(text)

    ran = run("-c", str(ini), "hosts", "pause", "archive")

    assert ran.returncode == 5
    assert "the database does not answer" in ran.stderr
    assert "Traceback" not in ran.stderr


def test_without_a_service_callers_are_asked_to_name_one(monkeypatch):
    monkeypatch.delenv("DATA_MOVER_URL", raising=False)

    ran = subprocess.run([PROGRAM, "list"], capture_output=True, text=True)

    assert ran.returncode == 2
    assert "--url" in ran.stderr


def test_the_doctor_finds_nothing_wrong_with_a_service_that_runs(run, service):
    ready = f"http://127.0.0.1:{service.port}/health/ready"
    eventually(lambda: httpx.get(ready).is_success, "workers and a sweeper", every_seconds=0.2)

    ran = run("-c", str(service.ini), "doctor")

    assert ran.returncode == 0, ran.stdout
    assert "FAIL" not in ran.stdout
    assert "2 alive" in ran.stdout
    assert "hpc: 1" in ran.stdout
