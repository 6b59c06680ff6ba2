"""The picture: speed against worst gradient error, and what nothing else beats on both.

One panel per dtype and device; implementations are numbered markers, keyed to the list below the
figure. The trap: an implementation that returns NaN or inf anywhere has no place on an error axis
and must not vanish from it either: it stands in the hatched strip above.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

from harness import units
from reports.conditioning import told_in_inputs
from reports.panels import Range, Sheet, labelled, span, ticks
from reports.ranking import Standing
from reports.speed import Choice, shape_words
from reports.svg import MUTED, rendered, styled

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
    eligible: bool  # neither a clean control nor known to be bad


def picture(suite: str, choices: Sequence[Choice]) -> Drawing | None:
    """Returns speed against worst gradient error for one suite; None when nothing was timed."""
    panels = {(c.device, c.dtype): _points(c) for c in choices}
    if not any(panels.values()):
        return None
    drawn = [key for key, points in panels.items() if points]
    devices, dtypes = (list(dict.fromkeys(key[i] for key in drawn)) for i in (0, 1))
    everything = [point for points in panels.values() for point in points]
    xs = span((v for p in everything for v in (p.low, p.high)), least=1.0)
    ys = span((p.error for p in everything), least=2.0, margin=0.35)
    with styled():
        sheet = Sheet(len(devices), len(dtypes))
        for row, device in enumerate(devices):
            for column, dtype in enumerate(dtypes):
                points = panels.get((device, dtype), [])
                edges = (row == len(devices) - 1, column == 0)
                title = dtype if len(devices) == 1 else f"{dtype}, {device}"
                _draw(sheet, (row, column), points, (xs, ys), title, edges)
        description = (
            f"{suite}: each marker is one implementation; left is faster, lower is more accurate. "
            + " ".join(_listed(c, panels[c.device, c.dtype]) for c in choices if panels[c.device, c.dtype])
        )
        svg = rendered(
            sheet.figure, f"picture-{suite}", f"{suite}: speed against worst gradient error", description
        )
    inputs = _in_inputs(choices)
    shapes = dict.fromkeys(shape_words(c.race.case) for c in choices if c.race.case)
    return Drawing(
        svg,
        f"{suite}: seconds at {', '.join(shapes)} (rows × classes) against the worst gradient error over all "
        "regimes; whiskers are 95 % intervals of the median, the grey step joins what nothing else beats on "
        "both, controls aside. In the hatched strip: NaN or inf came back somewhere."
        + (f" Told in u N instead of ulp, since the exact value is near 0: {inputs}." if inputs else ""),
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
                standing.maker.recommendable,
            )
        )
    return points


def _error(standing: Standing) -> float:
    """Returns the worst gradient error in ulp; in u N where that is how it is told, NaN for the strip."""
    worst, other = standing.worst_gradient, standing.conditioned_gradient
    if worst is None:
        worst, other = standing.worst_loss, standing.conditioned_loss
    if standing.nonfinite or worst is None:
        return math.nan
    return other if other is not None and standing.within_inputs and told_in_inputs(worst, other) else worst


def _in_inputs(choices: Sequence[Choice]) -> str:
    """Names those whose error is drawn in u N, e.g. "stable (float32)"."""
    return ", ".join(
        f"{s.group.implementation} ({choice.dtype})"
        for choice in choices
        for s in choice.standings
        if choice.race.seconds(s.group.implementation)
        and _error(s) not in (s.worst_gradient, s.worst_loss)
        and not math.isnan(_error(s))
    )


def _listed(choice: Choice, points: Sequence[_Point]) -> str:
    names = {s.maker.place: s.group.implementation for s in choice.standings}
    words = (
        f"{names[p.place]} {units.seconds(p.seconds)}, "
        f"{'NaN or inf' if math.isnan(p.error) else units.ulps(p.error)}"
        for p in points
    )
    return f"{choice.dtype} {choice.device}: {'; '.join(words)}."


def _draw(
    sheet: Sheet,
    at: tuple[int, int],
    points: Sequence[_Point],
    limits: tuple[Range, Range],
    title: str,
    edges: tuple[bool, bool],
) -> None:
    """Draws one panel: strips at the ends of the error axis, the front, whiskers, numbered markers."""
    xs, ys = limits
    strip = (ys.high - ys.low) * _STRIP
    zeros = strip if any(point.error == 0 for point in points) else 0.0
    panel = sheet.panel(*at, xs, Range(ys.low - zeros, ys.high + strip))
    last, first = edges
    top, middle = panel.up(10.0**ys.high), panel.up(10.0 ** (ys.high + strip / 2))
    exact = panel.up(10.0 ** (ys.low - strip / 2))
    up = labelled(ticks(ys), panel.up, units.tick, first)
    panel.hatched(top, panel.bottom + panel.height)
    panel.frame(
        title,
        labelled(ticks(xs), panel.across, lambda value: units.seconds(value, value), last),
        up,
        ("forward + backward, log" if last else "", "worst gradient error, ulp, log" if first else ""),
    )
    if first:
        panel.write(panel.left - 5, middle, "NaN, inf", MUTED, ha="right", va="center")
    if zeros:
        panel.write(panel.left + 4, exact, "exact", MUTED, va="center")

    def height(point: _Point) -> float:
        if math.isnan(point.error):
            return middle
        return panel.up(point.error) if point.error > 0 else exact

    front = [(panel.across(p.seconds), height(p)) for p in _front(points)]
    if len(front) > 1:
        steps = [front[0], *(corner for (_, y), (x, z) in pairwise(front) for corner in ((x, y), (x, z)))]
        panel.dashed([x for x, _ in steps], [y for _, y in steps])
    for point in points:
        panel.line([panel.across(point.low), panel.across(point.high)], [height(point)] * 2, point.place)
        panel.line([panel.across(point.seconds)], [height(point)], point.place, 6.0)
    panel.numbered([(panel.across(point.seconds), height(point), point.place) for point in points])


def _front(points: Sequence[_Point]) -> list[_Point]:
    """Returns the eligible points that no other beats on both speed and error, fastest first."""
    kept: list[_Point] = []
    finite = [point for point in points if point.eligible and not math.isnan(point.error)]
    for point in sorted(finite, key=lambda p: (p.seconds, p.error)):
        if not kept or point.error < kept[-1].error:
            kept.append(point)
    return kept
