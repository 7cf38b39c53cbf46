"""Takes the pictures of the documents: `.venv/bin/python docs/take_pictures.py URL docs/pictures`.

URL is that of the demo (`python3 bootstrap.py demo`), of which it moves a file a few times. It needs Chromium.
"""

import io
import os
import pty
import shlex
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from playwright.sync_api import Browser, sync_playwright
from rich._export_format import CONSOLE_SVG_FORMAT
from rich.console import Console
from rich.text import Text

from data_mover.client import Client, MoveFailed

COMMAND = Path(sys.executable).with_name("data_mover")
FILE = "disk:/maps/12.bin"
COLUMNS = 100
#: how long the move that fails may take
SECONDS = 60
#: the moves that the page has to show: label, source, destination
MOVES = [
    ("tiles of run 6", FILE, "visualizer:/run-6/"),
    ("a map that is not there", "disk:/maps/13.bin", "visualizer:/run-7/"),
    ("tiles of run 7", FILE, "visualizer:/run-7/"),
]
#: the windows in which a page is shown: its width and height in pixels, and whether it is light or dark
WINDOWS = {
    "": {"viewport": {"width": 1200, "height": 760}, "color_scheme": "light"},
    "-dark": {"viewport": {"width": 1200, "height": 760}, "color_scheme": "dark"},
    "-narrow": {"viewport": {"width": 420, "height": 800}, "color_scheme": "light"},
}


def main(url: str, directory: Path) -> None:
    directory.mkdir(exist_ok=True)
    chromium = shutil.which("chromium") or sys.exit("Chromium is not installed: on Debian, apt-get install chromium.")
    with Client(url) as client, sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        moves = [client.move(source, destination, label=label) for label, source, destination in MOVES]
        with suppress(MoveFailed):
            moves[1].wait(timeout=SECONDS)
        shoot(browser, f"{url}/", directory / "page")
        shoot(browser, f"{url}/moves/{moves[-1].id}", directory / "move")
        browser.close()
    commands = [f"move {FILE} visualizer:/run-8/ --wait --label 'tiles of run 8'", "list", f"explain {moves[1].id}"]
    (directory / "command.svg").write_text(terminal(commands, url), encoding="utf-8")


def shoot(browser: Browser, address: str, path: Path) -> None:
    """Take pictures of a page, in each window."""
    for suffix, window in WINDOWS.items():
        with browser.new_context(**window) as context:
            page = context.new_page()
            page.goto(address, wait_until="load")
            page.screenshot(path=f"{path}{suffix}.png")


def terminal(commands: list[str], url: str) -> str:
    """Return an SVG of a terminal in which the commands of `data_mover` have run."""
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    for command in commands:
        console.print(f"$ data_mover {command}", style="bold", highlight=False)
        console.print(Text.from_ansi(output([str(COMMAND), "--url", url, *shlex.split(command)])))
    # the format names fonts of other sites, which a page of ours does not load
    plain = "\n".join(part.partition("}}\n")[2] or part for part in CONSOLE_SVG_FORMAT.split("@font-face {{"))
    return console.export_svg(title="data_mover", code_format=plain, unique_id="terminal")


def output(command: list[str]) -> str:
    """What a command leaves on a terminal of so many columns: of a line that it has drawn anew, the last."""
    printed = bytearray()

    def read(terminal: int) -> bytes:
        printed.extend(found := os.read(terminal, 65536))
        return found if not found else b" "

    os.environ |= {"COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    pty.spawn(command, read)
    lines = printed.decode().replace("\r\n", "\n").split("\n")
    return "\n".join(line.rpartition("\r")[2] for line in lines).rstrip()


if __name__ == "__main__":
    main(sys.argv[1].rstrip("/"), Path(sys.argv[2]))
