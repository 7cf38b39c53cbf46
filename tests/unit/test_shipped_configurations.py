"""The ini and registry files that come with Data Mover."""

from pathlib import Path

import plaster
import pytest

from data_mover.registry import load_registry
from data_mover.settings import Settings

PROJECT = Path(__file__).resolve().parents[2]


def test_development_ini_has_a_registry_in_which_its_example_can_be_moved():
    settings = Settings.from_ini(str(PROJECT / "development.ini"))
    registry = load_registry(settings.registry)

    location = registry.datasets["DATA_TYPE"].location("12")

    source, destination = registry.resolve_source(location), registry.resolve_destination(settings.default_destination)
    assert Path(registry.hosts[source.host].root + source.path).is_file()
    assert Path(registry.hosts[destination.host].root).is_dir()


def test_the_production_ini_and_the_example_of_a_registry_have_no_mistakes():
    settings = Settings.from_ini(str(PROJECT / "production.ini"))
    registry = load_registry(PROJECT / "registry.example.toml")

    assert settings.default_destination.host in registry.hosts


@pytest.mark.parametrize("name", ["development.ini", "production.ini"])
def test_only_this_machine_is_listened_to(name):
    server = plaster.get_settings(str(PROJECT / name), "server:main")

    assert server["listen"].startswith("127.0.0.1:")
