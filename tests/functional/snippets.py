"""The snippets of README and documents: what stands between fences, in the language that the fence names.

A second word says how a snippet is tried, unless it is simply to succeed: `fails`, it must not; `stays`, it is a
server; `root`, it needs root; `postgresql`, it is of that server; `network`, it needs the network, so nobody tries it;
a path, that file tries it.
"""

import subprocess
from dataclasses import dataclass

from markdown_it import MarkdownIt

from tests.scripts import PROJECT


@dataclass(frozen=True)
class Snippet:
    """One snippet of a page."""

    page: str
    line: int
    language: str
    how: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def snippets() -> list[Snippet]:
    """Every snippet of every page, in order; output and directives of the site apart."""
    listed = subprocess.run(["git", "ls-files", "*.md"], cwd=PROJECT, capture_output=True, text=True, check=True)
    return [found for page in listed.stdout.split() for found in _snippets(page)]


def _snippets(page: str) -> list[Snippet]:
    tokens = MarkdownIt().parse((PROJECT / page).read_text(encoding="utf-8"))
    found = []
    for token in tokens:
        if token.type in ("fence", "code_block") and token.map:
            language, _, how = (token.info or language_of(token.content)).partition(" ")
            found.append(Snippet(page, token.map[0] + 1, language, how, token.content))
    return [each for each in found if each.language != "text" and not each.language.startswith("{")]


def language_of(text: str) -> str:
    """Python or the shell: the language of a snippet that only stands apart."""
    try:
        compile(text, "snippet", "exec")
    except SyntaxError:
        return "sh"
    return "python"
