"""Time, throughput and memory over the number of classes, one panel per dtype.

Lines are implementations by their number in the suite. The trap: shapes differ in batch too, so at
each number of classes only the largest batch is drawn, and the tables hold the rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes

from harness import units
from reports.figures import Drawing
from reports.panels import colour, dressed, grid, marker, scaled, span
from reports.records import Record
from reports.svg import INK, rendered, styled


@dataclass(frozen=True)
class Line:
    """A quantity over classes: what is drawn, its interval, and how its axis is labelled."""

    label: str
    value: Callable[[Mapping[str, float]], float | None]
    low: Callable[[Mapping[str, float]], float | None]
    high: Callable[[Mapping[str, float]], float | None]
    words: Callable[[int], str]


def _reader(name: str) -> Callable[[Mapping[str, float]], float | None]:
    return lambda numbers: numbers.get(name)


def _throughput(bound: str) -> Callable[[Mapping[str, float]], float | None]:
    def read(numbers: Mapping[str, float]) -> float | None:
        rate, value, other = (numbers.get(key) for key in ("elements_per_second", "seconds", bound))
        return rate * value / other if rate and value and other else None

    return read


TIME = Line(
    "forward + backward, log",
    _reader("seconds"),
    _reader("seconds_low"),
    _reader("seconds_high"),
    lambda exponent: units.seconds(10.0**exponent, 10.0**exponent),
)
THROUGHPUT = Line(
    "elements/s, log",
    _reader("elements_per_second"),
    _throughput("seconds_high"),
    _throughput("seconds_low"),
    units.decade,
)
MEMORY = Line(
    "peak, multiples of the logits", _reader("peak_multiple"), _reader("none"), _reader("none"), str
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
        figure, axes = grid(len(lines), len(curves))
        for row, line in enumerate(lines):
            everything = [
                value
                for by_maker in curves.values()
                for curve in by_maker.values()
                for numbers in curve.values()
                if (value := line.value(numbers)) is not None and math.isfinite(value)
            ]
            for column, (dtype, by_maker) in enumerate(curves.items()):
                panel = dressed(axes[row][column], dtype if row == 0 else "")
                _curve_panel(panel, by_maker, line, everything, column == 0)
                last = row == len(lines) - 1
                scaled(panel, "x", xs, units.decade, labelled=last)
                if last:
                    panel.set_xlabel("classes, log", fontsize=8)
        svg = rendered(
            figure,
            f"{name}-{suite}",
            f"{suite}: {' and '.join(line.label for line in lines)} over classes",
            "Lines are implementations by their number; the tables hold the values.",
        )
    return Drawing(svg, f"{suite}: {' and '.join(line.label for line in lines)}, over the number of classes.")


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


def _curve_panel(
    axes: Axes, by_maker: Mapping[int, Mapping[int, Mapping[str, float]]], line: Line, everything: list[float],
    first: bool,
) -> None:  # fmt: skip
    linear = line is MEMORY
    if linear:
        axes.set_ylim(0, max(everything, default=1.0) * 1.08)
        axes.tick_params(labelleft=first)
    else:
        scaled(axes, "y", span(everything), line.words, labelled=first)
    if first:
        axes.set_ylabel(line.label, fontsize=8)

    def height(value: float) -> float:
        return value if linear else math.log10(value)

    for place, curve in sorted(by_maker.items()):
        sizes = sorted(curve)
        points = [(math.log10(size), v) for size in sizes if (v := line.value(curve[size])) and v > 0]
        if not points:
            continue
        xs, ys = [x for x, _ in points], [height(y) for _, y in points]
        ends = [(line.low(curve[size]), line.high(curve[size])) for size in sizes]
        if len(ends) == len(points) and all(low and high and low > 0 for low, high in ends):
            axes.fill_between(xs, [height(low or 1) for low, _ in ends], [height(high or 1) for _, high in ends],
                              color=colour(place), alpha=0.18, linewidth=0)  # fmt: skip
        axes.plot(xs, ys, color=colour(place), linewidth=1.1, marker=marker(place), markersize=3.6)
        axes.annotate(str(place), (xs[-1], ys[-1]), (6, 0), textcoords="offset points", fontsize=7.5,
                      va="center", color=INK)  # fmt: skip
