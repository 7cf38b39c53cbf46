"""`data_mover doctor` finds what is wrong with an installation, and says what to do."""

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from data_mover.checks.machine import look_at_file_system, look_at_python, look_at_room
from data_mover.checks.service import check_service
from data_mover.cli.initialize_db import main as initialize_db
from data_mover.cli.main import main
from data_mover.config.settings import Settings
from data_mover.domain.child_environment import environment
from data_mover.domain.findings import Lacking
from tests.conftest import copied
from tests.servers.clocks import Clock
from tests.servers.deployment import INI, host_table
from tests.servers.processes import free_port, running, started

#: as the kernel writes it: a disk, a directory of an NFS server with a space in its name, and what is mounted over it
MOUNTS = r"""
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:36 / /mnt/a\040b rw,relatime shared:2 - nfs4 server:/export rw,vers=4.2
41 40 0:37 / /mnt/a\040b/fast rw,relatime - tmpfs tmpfs rw
"""


@pytest.fixture
def ini(tmp_path, redis_url):
    """An installation of which nothing runs, not even Redis if a test takes that away."""
    directory = tmp_path / "installed"
    directory.mkdir(0o700)
    path = directory / "service.ini"
    text = INI.format(
        database_url="sqlite:///%(here)s/jobs.db", redis_url=redis_url, port=free_port(), extra="", pace=""
    )
    path.write_text(text)
    options = {"protocol": "local", "root": directory, "roles": ["source", "destination"]}
    (directory / "registry.toml").write_text(host_table("visualizer", options))
    ran = CliRunner().invoke(initialize_db, [str(path)])
    assert ran.exit_code == 0, ran.output
    return path


def doctor(ini):
    """The findings by step: whether it passed, and the sentence; and the status."""
    ran = CliRunner().invoke(main, ["-c", str(ini), "--json", "doctor"])
    findings = json.loads(ran.stdout)
    assert all(each.keys() == {"subject", "step", "passed", "sentence"} for each in findings)
    return {each["step"]: (each["passed"], each["sentence"]) for each in findings}, ran.exit_code


def failed(ini):
    findings, status = doctor(ini)
    wrong = {step: sentence for step, (passed, sentence) in findings.items() if not passed}
    assert status == (1 if wrong else 0)
    return wrong


def test_what_does_not_run_is_said_with_the_command_that_starts_it(ini):
    wrong = failed(ini)

    assert wrong.keys() == {"web", "workers", "sweeper"}
    assert f"pserve {ini}" in wrong["web"]
    assert "`data_mover worker`" in wrong["workers"]
    assert "`data_mover sweep`" in wrong["sweeper"]


def test_a_broken_ini_is_reported_with_the_software_alone(ini):
    ini.write_text(ini.read_text().replace("[server:main]", "data_mover.sweeps = 1\n[server:main]"))

    findings, status = doctor(ini)

    assert status == 1
    assert "data_mover.sweeps: unknown key" in findings["ini"][1]
    assert findings["python"][0]
    assert "web" not in findings


def test_another_program_at_the_port_is_no_service(ini, tmp_path):
    port = local_port(ini)
    command = [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(port)]
    with running(command, tmp_path / "web.log", cwd=tmp_path) as process:
        started(process, port, tmp_path / "web.log")
        wrong = failed(ini)

    assert "answers HTTP 404, as another program would" in wrong["web"]


def local_port(ini):
    return int(next(line for line in ini.read_text().splitlines() if line.startswith("listen")).rpartition(":")[2])


def test_modes_and_owners_that_let_others_in_are_found(ini):
    ini.chmod(0o666)
    (ini.parent / "state").chmod(0o755)
    modes = failed(ini)["files"]

    assert f"run: chmod go-w {ini}" in modes
    assert f"run: chmod 700 {ini.parent / 'state'}" in modes


def test_the_check_of_another_user_than_that_of_the_service_says_so(ini):
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory to somebody else")
    os.chown(ini.parent / "state", 65534, -1)

    assert f"run: sudo -u nobody data_mover -c {ini} doctor" in failed(ini)["user"]


def test_hosts_that_fail_are_named_with_the_step(ini):
    text = (ini.parent / "registry.toml").read_text().replace(f'"{ini.parent}"', f'"{ini.parent}/lost"')
    (ini.parent / "registry.toml").write_text(text)

    assert "visualizer: There is no" in failed(ini)["host"]


def test_callers_whose_tokens_end_soon_are_named(ini):
    callers = ini.parent / "callers.toml"
    ini.write_text(ini.read_text().replace("callers = none", f"callers = {callers}"))
    for name, days in ("portal", "90"), ("nightly", "3"):
        arguments = ["-c", str(ini), "callers", "add", name, "--source", "*", "--days", days]
        assert CliRunner().invoke(main, arguments).exit_code == 0
    settings = Settings.from_ini(str(ini))

    def tokens(days):
        findings = check_service(str(ini), settings, datetime.now(UTC) + timedelta(days=days))
        return {each.sentence.partition(":")[0]: each for each in findings if each.step == "token"}

    assert tokens(0)["portal"].passed
    assert "callers rotate nightly" in tokens(0)["nightly"].sentence
    assert not tokens(0)["nightly"].passed
    assert not tokens(80)["portal"].passed


def test_a_clock_that_differs_from_that_of_the_database_is_found(ini, postgresql_template, tmp_path):
    url = copied(postgresql_template, tmp_path).render_as_string(hide_password=False)
    ini.write_text(ini.read_text().replace("sqlite:///%(here)s/jobs.db", url))
    assert "clock" not in failed(ini)
    clock = Clock(tmp_path / "clock")
    clock.set_forth(3600)

    command = [sys.executable, "-m", "data_mover.cli.main", "-c", str(ini), "doctor"]
    ran = subprocess.run(command, env={**environment(), **clock.environment}, capture_output=True, text=True)

    assert ran.returncode == 1
    assert re.search(r"FAIL  clock +The database's clock is 3,[56]\d\d\.\d s behind that of this machine", ran.stdout)


def test_a_disk_without_room_is_found(tmp_path):
    assert "GB are left" in look_at_room(tmp_path / "not" / "there", 1)
    with pytest.raises(Lacking, match="state-dir-full"):
        look_at_room(tmp_path, 10**18)


@pytest.mark.parametrize(
    ("database", "file_system"),
    [("/srv/jobs.db", "ext4"), ("/mnt/a b/fast/jobs.db", "tmpfs"), ("/mnt/a/jobs.db", "ext4")],
)
def test_a_database_of_sqlite_on_a_disk_of_this_machine(database, file_system, tmp_path):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.lstrip())

    assert f"({file_system})" in look_at_file_system(Path(database), mounts)


def test_a_database_of_sqlite_on_a_file_system_over_a_network(tmp_path):
    mounts = tmp_path / "mountinfo"
    mounts.write_text(MOUNTS.lstrip())

    with pytest.raises(Lacking, match=r"/mnt/a b, a file system over a network \(nfs4\)"):
        look_at_file_system(Path("/mnt/a b/data/jobs.db"), mounts)


def test_an_old_sqlite_is_found():
    with pytest.raises(Lacking, match=r"SQLite 3\.26\.0, and 3\.35\.0 is needed"):
        look_at_python((3, 26, 0))


def test_a_package_of_another_version_is_found(ini, tmp_path):
    """As pip leaves it where somebody has installed an old one."""
    for name, metadata in ("waitress", "2.0"), ("asyncssh", "2.0"):
        folder = tmp_path / "packages" / f"{name}-{metadata}.dist-info"
        folder.mkdir(parents=True)
        (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {metadata}\n")
    importable = f"{tmp_path / 'packages'}{os.pathsep}{environment()['PYTHONPATH']}"
    command = [sys.executable, "-m", "data_mover.cli.main", "-c", str(ini), "doctor"]
    ran = subprocess.run(command, env={**environment(), "PYTHONPATH": importable}, capture_output=True, text=True)

    assert ran.returncode == 1
    assert "waitress is 2.0, and Data Mover needs >=3.0.2." in ran.stdout
    assert "asyncssh" not in ran.stdout  # whose version does not matter
