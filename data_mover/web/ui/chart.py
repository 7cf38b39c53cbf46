"""The chart of what arrived by the hour, as numbers of an SVG picture."""

from collections.abc import Sequence
from dataclasses import dataclass

from data_mover.services.history import Hour
from data_mover.web.ui.display import size

WIDTH, HEIGHT = 720, 96
_GAP = 4


@dataclass(frozen=True)
class Bar:
    """The bar of an hour, in units of the picture."""

    x: float
    y: float
    width: float
    height: float
    title: str


@dataclass(frozen=True)
class Chart:
    bars: Sequence[Bar]
    #: the largest number of bytes of an hour
    most: int
    bytes: int
    moves: int


def chart_of(hours: Sequence[Hour]) -> Chart:
    """Return the chart of the hours, the last one at the right."""
    most = max(hour.bytes for hour in hours)
    step = WIDTH / len(hours)
    bars = []
    for number, hour in enumerate(hours):
        height = max(2.0, HEIGHT * hour.bytes / most) if hour.moves and most else 0.0
        title = f"{hour.begins_at:%H:%M} UTC: {size(hour.bytes)} in {hour.moves} moves"
        bars.append(
            Bar(round(number * step, 1), round(HEIGHT - height, 1), round(step - _GAP, 1), round(height, 1), title)
        )
    return Chart(bars, most, sum(hour.bytes for hour in hours), sum(hour.moves for hour in hours))
