"""The snippets of README and documents: what stands between fences, in the language that the fence names.

A second word says how a snippet is tried, unless it is simply to succeed: `fails`, it must not; `stays`, it is a
server; `root`, it needs root; `postgresql`, it is of that server; a path, that file tries it.
"""

from dataclasses import dataclass
from pathlib import Path

from markdown_it import MarkdownIt

from tests.project import PROJECT, documents


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
    return [found for page in documents() for found in _snippets(page)]


def _snippets(path: Path) -> list[Snippet]:
    page, tokens = str(path.relative_to(PROJECT)), MarkdownIt().parse(path.read_text(encoding="utf-8"))
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
