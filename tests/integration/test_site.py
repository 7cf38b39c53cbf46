"""The documentation as a site: whole, and complete without the network."""

import re
import subprocess
import sys
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

from tests.project import PROJECT, documents, script

#: what a browser loads by itself, by element; links that people follow may lead anywhere
LOADED = {"img": "src", "script": "src", "link": "href", "iframe": "src", "source": "src", "object": "data"}


class Page(HTMLParser):
    """The names within a page, what it links to, and what it loads."""

    def __init__(self, path):
        super().__init__()
        self.names, self.links, self.loads = set(), set(), set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.names |= {attributes.get("id"), attributes.get("name")}
        if tag == "a" and "href" in attributes:
            self.links.add(attributes["href"])
        if LOADED.get(tag) in attributes:
            self.loads.add(attributes[LOADED[tag]])


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The site, built by the command of `bootstrap.py docs`, which fails on a warning."""
    site = tmp_path_factory.mktemp("site")
    builder, *options = script("bootstrap.py").SITE_BUILDER
    command = [str(Path(sys.executable).parent / builder), *options, str(site)]
    built = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert built.returncode == 0, built.stderr
    return site


@pytest.fixture(scope="module")
def pages(site):
    return {path: Page(path) for path in site.rglob("*.html")}


def test_every_page_of_the_folder_is_in_the_site(site, pages):
    written = {path.relative_to(PROJECT / "docs").with_suffix(".html") for path in (PROJECT / "docs").rglob("*.md")}

    assert written <= {path.relative_to(site) for path in pages}


def test_every_link_within_the_site_leads_somewhere(pages):
    dead = [
        f"{path.name}: {link}"
        for path, page in pages.items()
        for link in page.links
        if not urlsplit(link).scheme and not _leads_somewhere(path, link, pages)
    ]

    assert dead == []


def test_nothing_is_loaded_from_elsewhere(site, pages):
    loaded = {address for page in pages.values() for address in page.loads}
    styles = "".join(path.read_text() for kind in ("*.css", "*.svg") for path in site.rglob(kind))
    loaded |= set(re.findall(r"url\([\"']?([^\"')]+)", styles)) | set(re.findall(r"@import [\"']([^\"']+)", styles))

    assert [address for address in loaded if urlsplit(address).netloc] == []


def _leads_somewhere(path, link, pages):
    parts = urlsplit(link)
    target = (path.parent / unquote(parts.path)).resolve() if parts.path else path
    if target not in pages:
        return target.is_file()
    return not parts.fragment or unquote(parts.fragment) in pages[target].names


#: links of the documents beside `docs/`, which people read in the repository
LINK = re.compile(r"\]\(([^)\s]+)\)")


@pytest.mark.parametrize(
    "path",
    [path for path in documents() if not path.is_relative_to(PROJECT / "docs")],
    ids=lambda path: str(path.relative_to(PROJECT)),
)
def test_every_link_of_a_document_beside_the_site_leads_to_a_file(path):
    links = [link for link in LINK.findall(path.read_text()) if not urlsplit(link).scheme]

    assert [link for link in links if not (path.parent / link.partition("#")[0]).exists()] == []
