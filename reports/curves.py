"""Time, throughput and memory over the number of classes, one panel per dtype.

Lines are implementations by their number in the suite. The trap: shapes differ in batch too, so at
each number of classes only the largest batch is drawn, and the tables hold the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from harness import units
from reports.figures import Drawing
from reports.panels import Panel, Range, Sheet, labelled, span, ticks
from reports.records import Record
from reports.svg import rendered, styled


@dataclass(frozen=True)
class Line:
    """A quantity over classes: what is drawn, its interval, and how its axis is labelled."""

    label: str
    about: str
    value: Callable[[Mapping[str, float]], float | None]
    low: Callable[[Mapping[str, float]], float | None]
    high: Callable[[Mapping[str, float]], float | None]
    words: Callable[[float], str]
    linear: bool = False
    note: str = ""


def _reader(name: str) -> Callable[[Mapping[str, float]], float | None]:
    return lambda numbers: numbers.get(name)


def _throughput(bound: str) -> Callable[[Mapping[str, float]], float | None]:
    def read(numbers: Mapping[str, float]) -> float | None:
        rate, value, other = (numbers.get(key) for key in ("elements_per_second", "seconds", bound))
        return rate * value / other if rate and value and other else None

    return read


TIME = Line(
    "forward + backward, log",
    "time of forward and backward",
    _reader("seconds"),
    _reader("seconds_low"),
    _reader("seconds_high"),
    lambda value: units.seconds(value, value),
    note="; bands are 95 % intervals of the median",
)
THROUGHPUT = Line(
    "elements/s, log",
    "throughput",
    _reader("elements_per_second"),
    _throughput("seconds_high"),
    _throughput("seconds_low"),
    units.tick,
)
MEMORY = Line(
    "peak, multiples of the logits",
    "peak memory in multiples of the logits",
    _reader("peak_multiple"),
    _reader("peak_multiple"),
    _reader("peak_multiple"),
    units.number,
    linear=True,
)
Curves = dict[str, dict[int, dict[int, Mapping[str, float]]]]


def over_classes(suite: str, rows: Sequence[Record], lines: Sequence[Line], name: str) -> Drawing | None:
    """Returns quantities over the number of classes, columns dtype; None with fewer than two sizes.

    At each number of classes the largest batch counts. Memory multiples stand on a linear axis from
    zero, everything else on logarithmic ones.
    """
    curves = _curves(rows, lines[0])
    sizes = {classes for by_maker in curves.values() for curve in by_maker.values() for classes in curve}
    if len(sizes) < 2:
        return None
    xs = span([float(size) for size in sizes])
    with styled():
        most = max(len(by_maker) for by_maker in curves.values())
        sheet = Sheet(len(lines), len(curves), 14.0 * most)  # room for the numbers at the ends of lines
        for row, line in enumerate(lines):
            limits = _limits(curves, line)
            for column, (dtype, by_maker) in enumerate(curves.items()):
                panel = sheet.panel(row, column, xs, limits, linear=line.linear)
                first, last = column == 0, row == len(lines) - 1
                panel.frame(
                    dtype if row == 0 else "",
                    labelled(ticks(xs), panel.across, units.tick, last),
                    labelled(_values(limits, line), panel.up, line.words, first),
                    ("classes, log" if last else "", line.label if first else ""),
                )
                _draw(panel, by_maker, line)
        what = " and ".join(line.about for line in lines)
        svg = rendered(
            sheet.figure,
            f"{name}-{suite}",
            f"{suite}: {what} over the number of classes",
            "Lines are implementations by their number; the table behind holds the values.",
        )
    return Drawing(svg, f"{suite}: {what} over the number of classes{lines[0].note}.")


def _curves(rows: Sequence[Record], line: Line) -> Curves:
    curves: Curves = {}
    batches: dict[tuple[str, int, int], int] = {}
    for row in rows:
        value = line.value(row.numbers)
        if value is None or not math.isfinite(value) or value <= 0:
            continue
        case, place = row.trial.case, row.maker.place
        key = (case.dtype, place, case.classes)
        if case.batch > batches.get(key, 0):
            batches[key] = case.batch
            curves.setdefault(case.dtype, {}).setdefault(place, {})[case.classes] = row.numbers
    return curves


def _limits(curves: Curves, line: Line) -> Range:
    values = [
        value
        for by_maker in curves.values()
        for curve in by_maker.values()
        for numbers in curve.values()
        if (value := line.value(numbers)) is not None and math.isfinite(value)
    ]
    return Range(0.0, max(values, default=1.0) * 1.1 or 1.0) if line.linear else span(values)


def _values(limits: Range, line: Line) -> list[float]:
    """Returns the values to label: at most six whole multiples on a linear axis, else decades."""
    if not line.linear:
        return ticks(limits)
    step = max(1, math.ceil(limits.high / 6))
    return [float(value) for value in range(0, math.floor(limits.high) + 1, step)]


def _draw(panel: Panel, by_maker: Mapping[int, Mapping[int, Mapping[str, float]]], line: Line) -> None:
    ends = []
    for place, curve in sorted(by_maker.items()):
        points = [
            (panel.across(size), panel.up(value), line.low(curve[size]), line.high(curve[size]))
            for size in sorted(curve)
            if (value := line.value(curve[size])) and math.isfinite(value) and value > 0
        ]
        if not points:
            continue
        xs, ys = [x for x, *_ in points], [y for _, y, *_ in points]
        bands = [(low, high) for *_, low, high in points if low and high and 0 < low <= high < math.inf]
        if len(bands) == len(points):
            panel.shade(xs, [panel.up(low) for low, _ in bands], [panel.up(high) for _, high in bands], place)
        panel.line(xs, ys, place, 4.5)
        ends.append((xs[-1], ys[-1], place))
    panel.ends(ends)
