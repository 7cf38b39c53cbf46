"""The ini and registry files that come with Data Mover."""

import re
from configparser import RawConfigParser
from pathlib import Path

import plaster
import pytest
from packaging.requirements import Requirement

from data_mover.backends import PROTOCOLS
from data_mover.config.listening import who_may_call
from data_mover.config.registry_file import load_registry
from data_mover.config.settings import Settings
from data_mover.demo.deployment import SUPERVISOR

PROJECT = Path(__file__).resolve().parents[2]


def test_development_ini_has_a_registry_in_which_its_example_can_be_moved():
    settings = Settings.from_ini(str(PROJECT / "development.ini"))
    registry = load_registry(settings.registry, settings.open_web)

    locations = registry.datasets["DATA_TYPE"].locations("12")

    [source] = registry.resolve_sources(locations)
    destination = registry.resolve_destination(settings.default_destination)
    assert Path(registry.hosts[source.host].root + source.path).is_file()
    assert Path(registry.hosts[destination.host].root).is_dir()


def test_the_production_ini_and_the_example_of_a_registry_lack_only_the_keys_of_their_machine(tmp_path):
    settings = Settings.from_ini(str(PROJECT / "production.ini"))
    text = (PROJECT / "registry.example.toml").read_text()
    problems = load_registry(PROJECT / "registry.example.toml", open_web=False).problems
    assert all(problem.key.endswith("key_file") and "is not there" in problem.sentence for problem in problems)

    (tmp_path / "registry.toml").write_text(text.replace("/etc/data_mover/keys", str(tmp_path)))
    for problem in problems:
        name = Path(problem.sentence.split()[0]).name
        (tmp_path / name).touch(mode=0o600)
    registry = load_registry(tmp_path / "registry.toml", open_web=False)

    assert registry.problems == ()
    assert settings.default_destination.host in registry.hosts


def test_the_classic_way_installs_what_each_protocol_needs():
    buildout = RawConfigParser()
    buildout.read(PROJECT / "buildout.cfg")
    extras = Requirement(buildout["data_mover"]["eggs"]).extras

    assert {protocol.needs[1] for protocol in PROTOCOLS.values() if protocol.needs} <= extras


@pytest.mark.parametrize("name", ["development.ini", "production.ini"])
def test_only_this_machine_is_listened_to(name):
    server = plaster.get_settings(str(PROJECT / name), "server:main")

    assert who_may_call(server, name, None)


def test_in_production_only_programs_of_the_same_user_may_call():
    server = plaster.get_settings(str(PROJECT / "production.ini"), "server:main")

    assert "unix_socket" in server
    assert "listen" not in server


@pytest.mark.parametrize("name", ["development.ini", "production.ini"])
def test_every_log_line_has_the_time_and_the_process_whatever_supervisor_keeps_it(name):
    ini = RawConfigParser()
    ini.read(PROJECT / name)

    assert {"%(asctime)s", "%(process)d"} <= set(ini["formatter_line"]["format"].split())


@pytest.mark.parametrize("name", ["development.ini", "production.ini"])
def test_the_database_of_sqlite_keeps_its_file(name):
    """A new name would be an empty database after an upgrade."""
    text = (PROJECT / name).read_text()

    assert re.findall(r"sqlite:///\S*/([^/\s]+)", text) == ["data_mover.db"]


def test_no_supervised_process_is_ever_given_up():
    supervisor = RawConfigParser()
    supervisor.read_string(SUPERVISOR.read_text())
    programs = [supervisor[name] for name in supervisor.sections() if name.startswith("program:")]

    assert len(programs) == 4
    for program in programs:
        assert program["autorestart"] == "true"
        assert int(program["startretries"]) >= 10**6
