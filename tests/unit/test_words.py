"""One word for one thing: words that the project has given up stay out of it."""

import functools
import re
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]

#: where the words are looked for: these files, and all of these folders that are text
READ = ["README.md", "CHANGES.md", "CONTRIBUTING.md", "docs", "redis", "production.ini", "development.ini"]
READ += ["registry.toml", "registry.example.toml", "bootstrap.py", "data_mover"]
TEXT = {".md", ".py", ".ini", ".toml", ".conf", ".jinja2", ".mako"}

#: what was written once, and what is written now; only words that mean nothing else here
GIVEN_UP = {
    r"bells?": "doorbell",
    r"shifts?": "worker loop",
    r"diall?ers?": "connector",
    r"errands?": "maintenance",
    r"leftovers?": "temporary file",
    r"predecessors?": "earlier attempt",
    r"mistakes?": "problem",
    r"facts": "stat",
    r"(go|goes|going|gone|went) on with": "resume",
    r"(mend|mends|mended|mending)": "fix",
    r"(come|comes|came) to an end with": "end",
    r"drafts?": "PartialFile",
    r"befalls?|befell": "the exception's name",
    r"fares?": "succeed",
    r"finish_directory": "set_attributes",
}

#: words that the package has given up, and some documents not yet
GIVEN_UP_BY_THE_PACKAGE = {
    r"told|tells?": "report, return, show",
    r"held": "claimed, reserved, locked",
    r"rings?|rang|rung": "wake, doorbell job",
    r"things?": "its name",
    r"(go|goes|going|gone|went) on": "continue, resume",
    r"(is|are|was|be|been) at it": "run",
    r"questions?": "query, request",
    r"promise[sd]?": "guarantee, reserve",
    r"places?": "path, slot, position",
    r"dial(s|led|ling)?": "connect",
    r"wanted": "spec, expected, requested",
    r"real|real_paths?": "realpath",
    r"(?<!-)trees?(?!-)": "folder, staged folder",
    r"gates?": "guard",
}

#: where such a word is ordinary, or may no longer change
ORDINARY = re.compile(
    "|".join(
        (
            r"^data_mover/store/migrations/versions/",  # applied once, for good
            r"HTTP_X_REAL_IP",  # a header
            r"^data_mover/domain/errors.py:\d+: .*the host cannot tell it|does not tell the size",  # codes stay
        )
    )
)


@pytest.mark.parametrize(("given_up", "now"), GIVEN_UP.items())
def test_a_word_that_was_given_up_is_not_written_again(given_up, now):
    assert uses(given_up, texts()) == [], f"write {now!r} instead"


@pytest.mark.parametrize(("given_up", "now"), GIVEN_UP_BY_THE_PACKAGE.items())
def test_a_word_that_the_package_has_given_up_is_not_written_there_again(given_up, now):
    package = {path: lines for path, lines in texts().items() if path.is_relative_to(PROJECT / "data_mover")}

    assert [use for use in uses(given_up, package) if not ORDINARY.search(use)] == [], f"write {now!r} instead"


def test_a_word_is_found_within_an_identifier():
    assert uses("facts", {PROJECT / "a.py": ["facts_of(answer)", "artefacts"]}) == ["a.py:1: facts_of(answer)"]


def uses(word, lines_by_path):
    """Return where the word is, alone or as a part of an identifier."""
    found = re.compile(rf"(?<![A-Za-z])(?:{word})(?![A-Za-z])", re.IGNORECASE)
    return [
        f"{path.relative_to(PROJECT)}:{number}: {line.strip()}"
        for path, lines in lines_by_path.items()
        for number, line in enumerate(lines, 1)
        if found.search(line)
    ]


@functools.cache
def texts():
    files = [file for name in READ for file in ([PROJECT / name] if (PROJECT / name).is_file() else tree(name))]
    return {file: file.read_text("utf-8").splitlines() for file in files if file.suffix in TEXT}


def tree(name):
    return sorted(file for file in (PROJECT / name).rglob("*") if file.is_file() and file != Path(__file__))
