"""versions.cfg pins whatever pyproject.toml asks for, directly or not."""

import configparser
import re
import tomllib
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

PROJECT = Path(__file__).resolve().parents[2]


def canonical(name):
    return re.sub(r"[-_.]+", "-", name).lower()


def pins():
    versions = configparser.RawConfigParser()
    versions.read(PROJECT / "versions.cfg", encoding="utf-8")
    return {canonical(name): version for name, version in versions["versions"].items()}


def declared():
    project = tomllib.loads((PROJECT / "pyproject.toml").read_text())["project"]
    lists = [project["dependencies"], *project["optional-dependencies"].values()]
    return [Requirement(text) for requirements in lists for text in requirements]


def needed(requirements, known=frozenset()):
    """The requirements and what the installed ones among them require in turn on this Python."""
    for requirement in requirements:
        yield requirement
        visit = canonical(requirement.name), *sorted(requirement.extras)
        if visit not in known:
            known |= {visit}
            yield from needed(required_by(requirement), known)


def required_by(requirement):
    try:
        texts = metadata.requires(requirement.name) or []
    except metadata.PackageNotFoundError:
        return []
    extras = [{"extra": extra} for extra in ("", *requirement.extras)]
    found = map(Requirement, texts)
    return [each for each in found if each.marker is None or any(each.marker.evaluate(extra) for extra in extras)]


@pytest.mark.parametrize("requirement", declared(), ids=str)
def test_a_pin_is_a_version_that_the_project_allows(requirement):
    assert requirement.specifier.contains(pins()[canonical(requirement.name)])


def test_every_package_that_is_needed_has_a_pin():
    names = {canonical(requirement.name) for requirement in needed(declared())}

    assert names - pins().keys() == set()
