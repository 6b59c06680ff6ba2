"""Small multiples on logarithmic axes: a sheet of panels with frames, ticks and numbered marks.

Panels are drawn straight onto the figure in points: matplotlib's Axes and log locators cost 25 ms a
panel, and a report has up to a hundred. The trap: zero and non-finite values have no logarithm; they
get strips of their own at the ends of the axis and are never clipped or dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, NamedTuple

from matplotlib.artist import Artist
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.patches import Polygon, Rectangle
from matplotlib.text import Text
from matplotlib.transforms import IdentityTransform

from reports.svg import GRID, INK, MUTED, SERIES

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
_GLYPHS = "●■▲◆▼✚✖◀▶"
_SHEET, _WIDEST, _NARROWEST = 864.0, 300.0, 150.0
_LEFT, _GAP, _TOP, _BOTTOM, _HEIGHT = 58.0, 20.0, 24.0, 36.0, 150.0
_STEPS = (1.0, 2.0, 5.0)


class Range(NamedTuple):
    """The decades that an axis spans, as exponents of ten."""

    low: float
    high: float


def span(values: Iterable[float], least: float = 1.0, margin: float = 0.12) -> Range:
    """Returns the range of positive finite values with a margin, at least `least` decades wide."""
    logs = [math.log10(value) for value in values if value > 0 and math.isfinite(value)]
    if not logs:
        return Range(0.0, least)
    low, high = min(logs), max(logs)
    missing = max(0.0, least - (high - low)) / 2
    return Range(low - missing - margin, high + missing + margin)


def ticks(limits: Range, most: int = 5) -> list[float]:
    """Returns the values to label on a logarithmic axis: decades, or 1-2-5 where those are too few."""
    exponents = range(math.floor(limits.low), math.ceil(limits.high) + 1)
    mantissas = _STEPS if limits.high - limits.low < 1.9 else _STEPS[:1]
    found = [m * 10.0**e for e in exponents for m in mantissas]
    inside = [value for value in found if limits.low <= math.log10(value) <= limits.high]
    step = math.ceil(len(inside) / most) if len(mantissas) == 1 else 1
    return [value for value in inside if len(mantissas) > 1 or round(math.log10(value)) % max(1, step) == 0]


class Sheet:
    """A figure of equal panels, `height` points high; `panel(row, column)` places one."""

    def __init__(self, rows: int, columns: int, height: float = _HEIGHT) -> None:
        self._height = max(_HEIGHT, height)
        free = _SHEET - _LEFT - 12 - (columns - 1) * _GAP
        self.panel_width = max(_NARROWEST, min(_WIDEST, free / columns))
        self._rows = rows
        width = _LEFT + 12 + columns * self.panel_width + (columns - 1) * _GAP
        height = _TOP + _BOTTOM + rows * self._height + (rows - 1) * (_GAP + 4)
        self.figure = Figure(figsize=(width / 72, height / 72), dpi=72)

    def panel(self, row: int, column: int, x: Range, y: Range, *, linear: bool = False) -> Panel:
        """Returns the panel at a place; `x` and a logarithmic `y` are exponents, a linear one values."""
        left = _LEFT + column * (self.panel_width + _GAP)
        bottom = _BOTTOM + (self._rows - 1 - row) * (self._height + _GAP + 4)
        return Panel(self.figure, left, bottom, self.panel_width, self._height, x, y, linear)


@dataclass(frozen=True)
class Panel:
    """One panel in points of the sheet: maps values to places and draws there."""

    figure: Figure
    left: float
    bottom: float
    width: float
    height: float
    x: Range
    y: Range
    linear: bool

    def across(self, value: float) -> float:
        """Returns the place of a value on the horizontal axis."""
        return self.left + (math.log10(value) - self.x.low) / (self.x.high - self.x.low) * self.width

    def up(self, value: float) -> float:
        """Returns the place of a value on the vertical axis."""
        height = value if self.linear else math.log10(value)
        return self.bottom + (height - self.y.low) / (self.y.high - self.y.low) * self.height

    def add(self, artist: Artist) -> None:
        """Puts an artist on the sheet, in points."""
        artist.set_transform(IdentityTransform())
        self.figure.add_artist(artist)

    def write(self, x: float, y: float, text: str, colour: str = INK, size: float = 7.5, **how: Any) -> None:
        """Writes text at a place in points."""
        self.add(Text(x, y, text, color=colour, fontsize=size, **how))

    def frame(
        self,
        title: str,
        across: Sequence[tuple[float, str]],
        up: Sequence[tuple[float, str]],
        labels: tuple[str, str],
    ) -> None:
        """Draws grid, axes, title and tick labels; a tick is a place in points and its label."""
        right, top = self.left + self.width, self.bottom + self.height
        lines = [((x, self.bottom), (x, top)) for x, _ in across] + [
            ((self.left, y), (right, y)) for y, _ in up
        ]
        self.add(LineCollection(lines, colors=GRID, linewidths=0.6))
        self.add(
            Line2D((self.left, self.left, right), (top, self.bottom, self.bottom), color=MUTED, linewidth=0.7)
        )
        for x, text in across:
            if text:
                self.write(x, self.bottom - 5, text, MUTED, ha="center", va="top")
        for y, text in up:
            if text:
                self.write(self.left - 5, y, text, MUTED, ha="right", va="center")
        if title:
            self.write(self.left, top + 8, title, size=9, fontweight="bold")
        if labels[0]:
            self.write(
                self.left + self.width / 2, self.bottom - 17, labels[0], MUTED, 8, ha="center", va="top"
            )
        if labels[1]:
            self.write(
                12, self.bottom + self.height / 2, labels[1], MUTED, 8, rotation=90, ha="center", va="center"
            )

    def hatched(self, low: float, high: float) -> None:
        """Hatches a strip between two places on the vertical axis."""
        self.add(
            Rectangle(
                (self.left, low),
                self.width,
                high - low,
                facecolor="none",
                edgecolor=GRID,
                hatch="////",
                linewidth=0,
            )
        )

    def line(self, xs: Sequence[float], ys: Sequence[float], place: int, size: float = 0.0) -> None:
        """Draws the line of an implementation; with a size, its markers too."""
        self.add(
            Line2D(xs, ys, color=colour(place), linewidth=1.2, marker=marker(place) if size else "None",
                   markersize=size, markeredgewidth=0)
        )  # fmt: skip

    def dashed(self, xs: Sequence[float], ys: Sequence[float]) -> None:
        """Draws the grey dashed line that joins what nothing else beats."""
        self.add(Line2D(xs, ys, color=MUTED, linewidth=0.9, linestyle=(0, (3, 2))))

    def shade(self, xs: Sequence[float], lows: Sequence[float], highs: Sequence[float], place: int) -> None:
        """Fills the band between two lines."""
        corners = [*zip(xs, lows, strict=True), *reversed([*zip(xs, highs, strict=True)])]
        self.add(Polygon(corners, facecolor=colour(place), edgecolor="none", alpha=0.18))

    def numbered(self, points: Sequence[tuple[float, float, int]]) -> None:
        """Writes the number of each implementation beside its mark where it collides least.

        Greedy: each takes the first place around its mark that no mark and no earlier number holds.
        """
        taken = [(x, y) for x, y, _ in points]
        for x, y, place in points:
            for dx, dy in _AROUND:
                at = (x + dx, y + dy)
                inside = self.left + 4 < at[0] < self.left + self.width and at[1] > self.bottom + 3
                if inside and all(abs(at[0] - a) > 7 or abs(at[1] - b) > 7 for a, b in taken):
                    break
            taken.append(at)
            self.write(*at, str(place), ha="center", va="center")

    def ends(self, points: Sequence[tuple[float, float, int]]) -> None:
        """Writes numbers at the right ends of lines, pushed apart where they would overlap."""
        heights = [y for _, y, _ in points]
        order = sorted(range(len(points)), key=lambda at: points[at][:2])
        for _ in range(40):
            for below, above in pairwise(order):
                missing = 7.5 - (heights[above] - heights[below])
                if points[below][0] == points[above][0] and missing > 0:
                    heights[below] -= missing / 2
                    heights[above] += missing / 2
        floors: dict[float, float] = {}
        for at in order:  # and none below the panel, where the next one's ticks are
            x = points[at][0]
            heights[at] = max(heights[at], floors.get(x, self.bottom + 3))
            floors[x] = heights[at] + 7.5
        for (x, _, place), y in zip(points, heights, strict=True):
            self.write(x + 6, y, str(place), ha="left", va="center")


# Above and below first: a whisker runs through what stands beside its mark.
_AROUND = ((0, 8), (0, -8), (8, 6), (8, -6), (-8, 6), (-8, -6), (9, 0), (-9, 0), (15, 5), (15, -5), (-15, 0))


def labelled(
    values: Iterable[float], place: Callable[[float], float], words: Callable[[float], str], shown: bool
) -> list[tuple[float, str]]:
    """Returns ticks as places and labels; labels are empty where the neighbour shows them."""
    return [(place(value), words(value) if shown else "") for value in values]


def colour(place: int) -> str:
    """Returns the colour of an implementation by its number in the suite."""
    return SERIES[(place - 1) % len(SERIES)]


def marker(place: int) -> str:
    """Returns the marker shape of an implementation; with the colour, 45 pairs before one repeats."""
    return MARKERS[(place - 1) % len(MARKERS)]


def colour_name(place: int) -> str:
    """Returns the CSS variable of an implementation's colour, for the key beside a figure."""
    found = colour(place)
    return "ink" if found == INK else f"series-{SERIES.index(found)}"


def glyph(place: int) -> str:
    """Returns the marker of an implementation as a character, for the key beside a figure."""
    return _GLYPHS[(place - 1) % len(MARKERS)]
