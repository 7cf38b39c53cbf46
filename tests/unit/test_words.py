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
    r"bells?\b": "doorbell",
    r"shifts?\b": "worker loop",
    r"diall?ers?\b": "connector",
    r"errands?\b": "maintenance",
    r"leftovers?\b": "temporary file",
    r"predecessors?\b": "earlier attempt",
    r"mistakes?\b": "problem",
    r"facts\b": "stat",
    r"(go|goes|going|gone|went) on with\b": "resume",
    r"(mend|mends|mended|mending)\b": "fix",
    r"(come|comes|came) to an end with\b": "end",
    r"drafts?\b": "PartialFile",
    r"befalls?\b|befell\b": "the exception's name",
    r"fares?\b": "succeed",
    r"finish_directory\b": "set_attributes",
}


@pytest.mark.parametrize(("given_up", "now"), GIVEN_UP.items())
def test_a_word_that_was_given_up_is_not_written_again(given_up, now):
    found = [
        f"{path.relative_to(PROJECT)}:{number}: {line.strip()}"
        for path, lines in texts().items()
        for number, line in enumerate(lines, 1)
        if re.search(rf"(?<![A-Za-z]){given_up}", line, re.IGNORECASE)
    ]

    assert found == [], f"write {now!r} instead"


@functools.cache
def texts():
    files = [file for name in READ for file in ([PROJECT / name] if (PROJECT / name).is_file() else tree(name))]
    return {file: file.read_text("utf-8").splitlines() for file in files if file.suffix in TEXT}


def tree(name):
    return sorted(file for file in (PROJECT / name).rglob("*") if file.is_file() and file != Path(__file__))
