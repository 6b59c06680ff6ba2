"""The picture: speed against worst gradient error, and what nothing else beats on both.

One panel per dtype and device; implementations are numbered markers, keyed to the table beside the figure. The
trap: an implementation that returns NaN or inf anywhere has no place on an error axis and must not
vanish from it either: it stands in the hatched strip above.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from harness import units
from reports.panels import PANEL_POINTS, Range, colour, dressed, grid, marker, scaled, span, spread
from reports.ranking import Standing
from reports.speed import Choice, shape_words
from reports.svg import GRID, INK, MUTED, PAPER, rendered, styled

_STRIP = 0.16  # share of a panel's height that a strip for NaN/inf or for exact zeros takes


@dataclass(frozen=True)
class Drawing:
    """A figure as markup, with the sentence that stands below it."""

    svg: str
    caption: str


@dataclass(frozen=True)
class _Point:
    place: int
    seconds: float
    low: float
    high: float
    error: float  # NaN: belongs into the strip


def picture(suite: str, choices: Sequence[Choice]) -> Drawing | None:
    """Returns speed against worst gradient error for one suite; None when nothing was timed."""
    panels = {(c.device, c.dtype): _points(c) for c in choices}
    if not any(panels.values()):
        return None
    devices, dtypes = (list(dict.fromkeys(key[i] for key in panels)) for i in (0, 1))
    everything = [point for points in panels.values() for point in points]
    xs = span((v for p in everything for v in (p.low, p.high)), least=1.0)
    ys = span((p.error for p in everything), least=2.0)
    with styled():
        figure, axes = grid(len(devices), len(dtypes))
        for row, device in enumerate(devices):
            for column, dtype in enumerate(dtypes):
                title = dtype if len(devices) == 1 else f"{dtype}, {device}"
                panel = dressed(axes[row][column], title)
                _draw(panel, panels.get((device, dtype), []), xs, ys, column == 0)
                last = row == len(devices) - 1
                scaled(panel, "x", xs, lambda e: units.seconds(10.0**e, 10.0**e), labelled=last, most=4)
                if last:
                    panel.set_xlabel("forward + backward, log", fontsize=8)
                if column == 0:
                    panel.set_ylabel("worst gradient error, ulp, log", fontsize=8)
        shapes = dict.fromkeys(shape_words(c.race.case) for c in choices if c.race.case)
        description = (
            f"{suite}: each marker is one implementation; left is faster, lower is more accurate. "
            + " ".join(_listed(c, panels[c.device, c.dtype]) for c in choices)
        )
        svg = rendered(figure, f"picture-{suite}", f"{suite}: speed against worst gradient error", description)
    return Drawing(
        svg,
        f"{suite}: seconds at {', '.join(shapes)} (rows × classes) against the worst gradient error over all "
        "regimes; whiskers are 95 % intervals of the median, the grey step joins what nothing else beats on "
        "both. In the hatched strip: NaN or inf came back somewhere.",
    )


def _points(choice: Choice) -> list[_Point]:
    points = []
    for standing in choice.standings:
        name = standing.group.implementation
        value = choice.race.seconds(name)
        if value is None or value <= 0:
            continue
        numbers = choice.race.records[name].numbers
        low, high = (numbers.get(key, math.nan) for key in ("seconds_low", "seconds_high"))
        points.append(
            _Point(
                standing.maker.place,
                value,
                low if 0 < low < math.inf else value,
                high if 0 < high < math.inf else value,
                _error(standing),
            )
        )
    return points


def _error(standing: Standing) -> float:
    worst = standing.worst_gradient if standing.worst_gradient is not None else standing.worst_loss
    return math.nan if standing.nonfinite or worst is None else worst


def _listed(choice: Choice, points: Sequence[_Point]) -> str:
    names = {s.maker.place: s.group.implementation for s in choice.standings}
    words = (
        f"{names[p.place]} {units.seconds(p.seconds)}, "
        f"{'NaN or inf' if math.isnan(p.error) else units.ulps(p.error)}"
        for p in points
    )
    return f"{choice.dtype} {choice.device}: {'; '.join(words)}."


def _draw(axes: Axes, points: Sequence[_Point], xs: Range, ys: Range, first: bool) -> None:
    """Draws one panel: strips at the ends of the error axis, the front, whiskers, numbered markers."""
    strip = (ys.high - ys.low) * _STRIP
    zeros = any(point.error == 0 for point in points)
    limits = Range(ys.low - (strip if zeros else 0), ys.high + strip)
    axes.axhspan(ys.high, limits.high, facecolor="none", edgecolor=GRID, hatch="////", linewidth=0)
    axes.text(0.985, 1 - 0.02, "NaN / inf", transform=axes.transAxes, ha="right", va="top", fontsize=7,
              color=MUTED)  # fmt: skip
    scaled(axes, "y", ys, units.decade, labelled=first)
    axes.set_ylim(limits.low, limits.high)
    if zeros:
        axes.axhline(ys.low, color=MUTED, linewidth=0.6)
        axes.text(0.015, 0.02, "exact", transform=axes.transAxes, fontsize=7, color=MUTED)

    def height(point: _Point) -> float:
        if math.isnan(point.error):
            return ys.high + strip / 2
        return math.log10(point.error) if point.error > 0 else ys.low - strip / 2

    front = _front([point for point in points if not math.isnan(point.error)])
    if len(front) > 1:
        axes.step([math.log10(p.seconds) for p in front], [height(p) for p in front], where="post",
                  color=MUTED, linewidth=0.9, linestyle=(0, (3, 2)), zorder=1)  # fmt: skip
    for point in points:
        axes.plot([math.log10(point.low), math.log10(point.high)], [height(point)] * 2, color=colour(point.place),
                  linewidth=1.2, zorder=2)  # fmt: skip
        axes.plot([math.log10(point.seconds)], [height(point)], marker(point.place), color=colour(point.place),
                  markersize=5.5, markeredgecolor=PAPER, markeredgewidth=0.6, zorder=3)  # fmt: skip
    shares = [
        ((math.log10(p.seconds) - xs.low) / (xs.high - xs.low), (height(p) - limits.low) / (limits.high - limits.low))
        for p in points
    ]
    for point, offset in zip(points, spread(shares, *PANEL_POINTS), strict=True):
        axes.annotate(str(point.place), (math.log10(point.seconds), height(point)), offset, fontsize=7.5,
                      textcoords="offset points", ha="center", va="center", color=INK, zorder=4)  # fmt: skip


def _front(points: Sequence[_Point]) -> list[_Point]:
    """Returns the points that no other beats on both speed and error, fastest first."""
    kept: list[_Point] = []
    for point in sorted(points, key=lambda p: (p.seconds, p.error)):
        if not kept or point.error < kept[-1].error:
            kept.append(point)
    return kept
