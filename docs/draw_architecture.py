"""Draws `docs/architecture.svg`: the rooms of the package on their floors, and which room stands on which.

Rooms and arrows come from the code's own imports, floors from the import rule in `pyproject.toml`. Run it after either
has changed: `.venv/bin/python docs/draw_architecture.py`.
"""

import tomllib
from collections import defaultdict
from pathlib import Path
from xml.sax.saxutils import escape

import grimp

PACKAGE = "data_mover"
PROJECT = Path(__file__).resolve().parents[1]
PICTURE = Path(__file__).with_name("architecture.svg")

WIDTH, FLOOR_HEIGHT, ROOM_HEIGHT, MARGIN = 980, 104, 54, 24
#: an arrow between floors that are neighbours is darker than one that passes by others
NEAR, FAR = "#4a5a6a", "#c3ccd5"


def main() -> None:
    PICTURE.write_text(picture(), encoding="utf-8")


def picture() -> str:
    """The SVG, the same for the same code."""
    floors = read_floors()
    level = {room: number for number, floor in enumerate(floors) for room in floor}
    boxes = place(floors)
    height = len(floors) * FLOOR_HEIGHT
    parts = [arrow(boxes[low], boxes[high], level[high] - level[low]) for low, high in sorted(shortest(imports(level)))]
    parts += [room(name, box) for name, box in boxes.items()]
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height}" font-family="sans-serif">\n'
        '<defs><marker id="tip" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto">'
        '<path d="M0,0 L8,4 L0,8 z" fill="#4a5a6a"/></marker></defs>\n'
        f'<rect width="{WIDTH}" height="{height}" fill="#ffffff"/>\n' + "\n".join(parts) + "\n</svg>\n"
    )


def read_floors() -> list[list[str]]:
    """The rooms of each floor, the highest floor first."""
    rules = tomllib.loads((PROJECT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]["importlinter"]["contracts"]
    layers = next(rule["layers"] for rule in rules if rule.get("containers") == [PACKAGE])
    return [[room.strip() for room in layer.split("|")] for layer in layers]


def imports(rooms: dict[str, int]) -> set[tuple[str, str]]:
    """The pairs of rooms of which the first imports from the second."""
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    found = {
        (room_of(importer), room_of(imported))
        for importer in graph.modules
        for imported in graph.find_modules_directly_imported_by(importer)
    }
    return {(low, high) for low, high in found if low in rooms and high in rooms and low != high}


def shortest(pairs: set[tuple[str, str]]) -> set[tuple[str, str]]:
    """The pairs without those that a way over other rooms implies: the picture shows what stands on what."""
    below: dict[str, set[str]] = defaultdict(set)
    for low, high in pairs:
        below[low].add(high)

    def reaches(start: str, end: str) -> bool:
        return end in below[start] or any(reaches(step, end) for step in below[start])

    return {(a, b) for a, b in pairs if not any(reaches(step, b) for step in below[a] if step != b)}


def room_of(module: str) -> str:
    return [*module.split("."), ""][1]


Box = tuple[float, float, float]


def place(floors: list[list[str]]) -> dict[str, Box]:
    """The left edge, the top and the width of each room."""
    boxes = {}
    for number, floor in enumerate(floors):
        width = (WIDTH - 2 * MARGIN - 20 * (len(floor) - 1)) / len(floor)
        for column, name in enumerate(floor):
            boxes[name] = (MARGIN + column * (width + 20), MARGIN + number * FLOOR_HEIGHT, width)
    return boxes


def arrow(low: Box, high: Box, floors_between: int) -> str:
    colour = NEAR if floors_between == 1 else FAR
    start, end = low[0] + low[2] / 2, high[0] + high[2] / 2
    return (
        f'<line x1="{start:.0f}" y1="{low[1] + ROOM_HEIGHT:.0f}" x2="{end:.0f}" y2="{high[1] - 2:.0f}" '
        f'stroke="{colour}" marker-end="url(#tip)"/>'
    )


def room(name: str, box: Box) -> str:
    left, top, width = box
    purpose = first_line(name)
    longest = int(width / 6.2)
    shown = purpose if len(purpose) <= longest else purpose[: longest - 1].rsplit(" ", 1)[0] + " …"
    return (
        f'<rect x="{left:.0f}" y="{top:.0f}" width="{width:.0f}" height="{ROOM_HEIGHT}" rx="4" fill="#eaf1f8" '
        f'stroke="#4a5a6a"/><text x="{left + 10:.0f}" y="{top + 22:.0f}" font-size="15" font-weight="bold">'
        f'{escape(name)}</text><text x="{left + 10:.0f}" y="{top + 41:.0f}" font-size="11.5" fill="#444">'
        f"{escape(shown)}</text>"
    )


def first_line(name: str) -> str:
    """What the room's own docstring says first."""
    path = PROJECT / PACKAGE / name
    source = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    lines = source.read_text(encoding="utf-8").strip('"').split('"""')[0].splitlines()
    return lines[0].strip() if lines else ""


if __name__ == "__main__":
    main()
