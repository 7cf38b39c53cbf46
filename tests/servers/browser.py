"""A real browser: Debian's Chromium, without a screen."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from playwright.sync_api import Browser, Page, expect, sync_playwright

from tests.servers.processes import absent, program

#: connects to nothing but the pages that it is asked for
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

#: how long a page may take to show what a test expects
SHOWN_WITHIN_SECONDS = 30


@contextmanager
def chromium() -> Iterator[Browser]:
    """A browser; each context of it has cookies of its own."""
    expect.set_options(timeout=SHOWN_WITHIN_SECONDS * 1000)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program("chromium"), args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def new_page(browser: Browser, host_url: str) -> Iterator[Page]:
    """A page of a browser that has been nowhere yet. A script that fails, or that the page's policy forbids, fails the
    test."""
    with browser.new_context(base_url=host_url) as context:
        page, complaints = context.new_page(), list[str]()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda line: complaints.append(line.text) if "Content Security" in line.text else None)
        yield page
        assert complaints == []


def serious_faults(page: Page) -> list[str]:
    """What axe finds that keeps people from using the page, or makes it hard for them."""
    page.evaluate(_axe())
    found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")
    return [
        f"{each['id']}: {node['html']}"
        for each in found["violations"]
        if each["impact"] in ("serious", "critical")
        for node in each["nodes"]
    ]


def _axe() -> str:
    for directory in os.environ.get("NODE_PATH", "").split(os.pathsep):
        script = Path(directory) / "axe-core" / "axe.min.js"
        if directory and script.exists():
            return script.read_text(encoding="utf-8")
    absent("axe-core is not installed; npm install axe-core, and name its node_modules in NODE_PATH")
    return ""
