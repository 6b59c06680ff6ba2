"""Small multiples on logarithmic axes: the axes, ticks and labels that every figure shares.

Data are drawn as log10 on linear axes with fixed ticks: matplotlib's own log locators cost ten times
as much. The trap: zero and non-finite values have no logarithm; they get strips of their own at the
ends of the axis and are never clipped or dropped.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.svg import GRID, INK, MUTED, SERIES

MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
_PANEL, _GAP, _LEFT, _TOP, _BOTTOM = (2.25, 1.75), 0.22, 0.72, 0.3, 0.48


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


def grid(rows: int, columns: int) -> tuple[Figure, list[list[Axes]]]:
    """Returns a figure with equal panels, row by row, in inches that do not depend on their number."""
    width = _LEFT + columns * _PANEL[0] + (columns - 1) * _GAP + 0.1
    height = _TOP + rows * _PANEL[1] + (rows - 1) * (_GAP + 0.12) + _BOTTOM
    figure = Figure(figsize=(width, height), dpi=72)
    panels = []
    for row in range(rows):
        bottom = _BOTTOM + (rows - 1 - row) * (_PANEL[1] + _GAP + 0.12)
        line = []
        for column in range(columns):
            left = _LEFT + column * (_PANEL[0] + _GAP)
            line.append(
                figure.add_axes((left / width, bottom / height, _PANEL[0] / width, _PANEL[1] / height))
            )
        panels.append(line)
    return figure, panels


def dressed(axes: Axes, title: str = "") -> Axes:
    """Takes away the frame and sets the title; returns the axes."""
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    for side in ("left", "bottom"):
        axes.spines[side].set_color(MUTED)
        axes.spines[side].set_linewidth(0.6)
    axes.tick_params(length=2.5, width=0.6, color=MUTED, labelcolor=MUTED, labelsize=7.5)
    axes.grid(True, color=GRID, linewidth=0.6)
    axes.set_axisbelow(True)
    if title:
        axes.set_title(title, loc="left", fontsize=9, color=INK, fontweight="bold", pad=6)
    return axes


def scaled(
    axes: Axes, which: str, limits: Range, words: Callable[[int], str], *, labelled: bool, most: int = 5
) -> None:
    """Sets the limits and decade ticks of one axis ("x" or "y"); labels only where asked."""
    exponents = range(math.ceil(limits.low), math.floor(limits.high) + 1)
    step = max(1, math.ceil(len(exponents) / most))
    ticks = [exponent for exponent in exponents if exponent % step == 0]
    (axes.set_xlim if which == "x" else axes.set_ylim)(limits.low, limits.high)
    labels = [words(tick) for tick in ticks] if labelled else [""] * len(ticks)
    (axes.set_xticks if which == "x" else axes.set_yticks)(ticks, labels)


def colour(place: int) -> str:
    """Returns the colour of an implementation by its number in the suite."""
    return SERIES[(place - 1) % len(SERIES)]


def marker(place: int) -> str:
    """Returns the marker shape of an implementation; with the colour, 45 pairs before one repeats."""
    return MARKERS[(place - 1) % len(MARKERS)]


def spread(points: Sequence[tuple[float, float]], width: float, height: float) -> list[tuple[float, float]]:
    """Returns offsets in points at which labels of `points` (panel shares 0-1) collide least.

    Greedy: each label takes the first of eight places around its marker that no marker and no
    earlier label occupies, else the last one.
    """
    places = ((8, 0), (-8, 0), (0, 8), (0, -8), (7, 7), (7, -7), (-7, 7), (-7, -7), (14, 5), (14, -5), (-14, 0))
    taken = [(x * width, y * height) for x, y in points]
    offsets = []
    for x, y in points:
        for dx, dy in places:
            at = (x * width + dx, y * height + dy)
            inside = 4 < at[0] < width - 2 and 4 < at[1] < height - 2
            if inside and all(abs(at[0] - a) > 7 or abs(at[1] - b) > 7 for a, b in taken):
                break
        taken.append(at)
        offsets.append((float(dx), float(dy)))
    return offsets


PANEL_POINTS = (_PANEL[0] * 72, _PANEL[1] * 72)
