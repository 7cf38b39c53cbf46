"""What was measured, as a table for a terminal, and as a table and a picture for `docs/explanation/performance.md`."""

import statistics
from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from pathlib import Path

from rich.table import Table

from benchmarks.peers import OURS


@dataclass(frozen=True)
class Figures:
    """The seconds of each round, by name, at one round trip."""

    milliseconds: int
    seconds: dict[str, list[float]]

    def median(self, name: str) -> float:
        return statistics.median(self.seconds[name])

    def ratio(self, name: str) -> float:
        """Return how many times as long as Data Mover it took."""
        return self.median(name) / self.median(OURS)


def table(title: str, every: list[Figures]) -> Table:
    columns = [f"{text} at {each.milliseconds} ms" for each in every for text in ("s", "this / ours")]
    shown = Table("", *columns, title=title)
    for name in every[0].seconds:
        shown.add_row(name, *(cell for each in every for cell in cells(each, name)))
    return shown


def markdown(title: str, every: list[Figures]) -> str:
    heads = [f"{each.milliseconds} ms, seconds (ratio to ours)" for each in every]
    rows = [f"| | {' | '.join(heads)} |", "|---|" + "---|" * len(every)]
    for name in every[0].seconds:
        cell = " | ".join("{} ({})".format(*cells(each, name)) for each in every)
        rows.append(f"| {name.replace('|', chr(92) + '|')} | {cell} |")
    return f"### {title}\n\n" + "\n".join(rows) + "\n"


def cells(figures: Figures, name: str) -> tuple[str, str]:
    return f"{figures.median(name):.2f}", f"{figures.ratio(name):.2f}"


def picture(title: str, every: list[Figures]) -> str:
    """Return bars as SVG: the medians, ours dark."""
    return "\n".join(_lines(title, every)) + "\n"


def write_part(document: Path, name: str, part: str) -> None:
    """Replace the part of the document between two comments with this name, or append it."""
    begin, end = f"<!-- {name} -->\n", f"<!-- end of {name} -->\n"
    before, _, rest = document.read_text("utf-8").partition(begin)
    after = rest.partition(end)[2]
    document.write_text(f"{before.rstrip()}\n\n{begin}{part}{end}{after}", "utf-8")


def _lines(title: str, every: list[Figures]) -> Iterator[str]:
    names = list(every[0].seconds)
    longest = max(each.median(name) for each in every for name in names)
    height = 50 + len(every) * (len(names) * 22 + 40)
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 800 {height}" font-family="sans-serif" font-size="13">'
    yield f'<rect width="800" height="{height}" fill="#fff"/><text x="20" y="28" font-size="17">{escape(title)}</text>'
    y = 60
    for each in every:
        yield f'<text x="20" y="{y}" font-weight="bold">{each.milliseconds} ms round trip</text>'
        for name in names:
            y += 22
            width = 460 * each.median(name) / longest
            colour = "#1b4f72" if name == OURS else "#9fb6c8"
            yield f'<text x="20" y="{y}">{escape(name)}</text>'
            yield f'<rect x="190" y="{y - 12}" width="{width:.1f}" height="15" fill="{colour}"/>'
            yield f'<text x="{196 + width:.1f}" y="{y}">{each.median(name):.2f} s</text>'
        y += 40
    yield "</svg>"
