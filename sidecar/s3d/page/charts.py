"""The chart of a series: an area below a line, as coordinates of an SVG. The template says in words what it shows."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH, HEIGHT = 288, 60
"""Units of the drawing, which is stretched to its place on the page."""


@dataclass(frozen=True, slots=True)
class Chart:
    """A series of the last day, the oldest value first."""

    title: str
    newest: str
    """The newest value, as a person reads it."""
    most: str
    """The largest."""
    line: str
    """Points of an SVG polyline."""
    area: str
    """Points of the polygon below it."""


def points(values: Sequence[float], slots: int) -> tuple[str, str]:
    """The line of a series, and the area below it. The newest of so many slots is at the right; what is missing of the
    day is missing at the left. A single value is drawn as long as a slot."""
    most = max([*values, 1])
    step = WIDTH / max(1, slots - 1)
    first = slots - len(values)
    line = [
        (round((first + number) * step, 1), round(HEIGHT - value / most * (HEIGHT - 2), 1))
        for number, value in enumerate(values)
    ]
    if len(line) == 1:
        line.insert(0, (round(line[0][0] - step, 1), line[0][1]))
    area = [(line[0][0], HEIGHT), *line, (line[-1][0], HEIGHT)] if line else []
    return written(line), written(area)


def written(corners: Sequence[tuple[float, float]]) -> str:
    """Coordinates as SVG has them."""
    return " ".join(f"{x:g},{y:g}" for x, y in corners)
