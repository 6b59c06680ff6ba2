"""What a figure must not do: drop the implementation that returns NaN, or call a slow one unbeaten."""

from __future__ import annotations

import math
import re
from itertools import pairwise

import pytest

from reports.curves import MEMORY, THROUGHPUT, TIME, over_classes
from reports.figures import _error, _front, _Point, picture
from reports.panels import MARKERS, Range, colour, marker, span, ticks
from reports.ranking import Group, standings
from reports.records import records
from reports.speed import choices
from reports.tests import synthetic


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    return records(synthetic.small(tmp_path_factory.mktemp("small")))


def test_nonfinite_somewhere_belongs_into_the_strip(rows):
    ranks = standings(rows)
    assert math.isnan(_error(ranks[Group("cross_entropy", "cpu", "float32", "naive")]))
    assert math.isnan(_error(ranks[Group("cross_entropy", "cpu", "float32", "softmax_log")]))
    assert _error(ranks[Group("cross_entropy", "cpu", "float32", "native")]) == 3.1e7


def test_every_timed_implementation_is_drawn_and_numbered(rows):
    drawing = picture("cross_entropy", choices(rows, standings(rows)))
    numbers = re.findall(r">([1-7])</text>", drawing.svg)
    # float32 and bfloat16 time six; float16 has neither the compiled one nor the one that crashed.
    tick = "1"
    assert sorted(numbers) == sorted([tick, *"123456", *"123456", *"2346"])
    assert drawing.svg.count("NaN, inf") == 1


def point(place, seconds, error, eligible=True):
    return _Point(place, seconds, seconds, seconds, error, eligible)


def test_front_is_what_nothing_else_beats_on_both():
    points = [point(1, 1.0, 8.0), point(2, 2.0, 9.0), point(3, 3.0, 2.0), point(4, 0.1, math.nan),
              point(5, 4.0, 0.5, eligible=False)]  # fmt: skip
    assert [p.place for p in _front(points)] == [1, 3]


def test_nothing_timed_is_no_figure(tmp_path):
    bare = records(synthetic.without(synthetic.small(tmp_path), "timing", "memory"))
    assert picture("cross_entropy", choices(bare, standings(bare))) is None
    assert over_classes("cross_entropy", bare, (TIME, THROUGHPUT), "time") is None
    assert over_classes("cross_entropy", bare, (MEMORY,), "memory") is None


def test_memory_stands_on_zero(rows):
    svg = over_classes("cross_entropy", rows, (MEMORY,), "memory").svg
    assert ">0</text>" in svg


def test_zero_error_is_drawn_apart(tmp_path):
    run = synthetic.small(tmp_path)
    for result in run.results:
        if result.probe == "accuracy" and result.trial.implementation == "upcast":
            result.numbers["gradient_ulps"] = 0.0
    rows = records(run)
    assert ">exact</text>" in picture("cross_entropy", choices(rows, standings(rows))).svg


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (Range(-0.1, 5.1), [1, 100, 10_000]),
        (Range(-3.05, -1.95), [1e-3, 2e-3, 5e-3, 1e-2]),
        (Range(0.0, 3.0), [1, 10, 100, 1000]),
    ],
)
def test_ticks_are_decades_or_one_two_five(limits, expected):
    assert ticks(limits) == pytest.approx(expected)


def test_span_ignores_what_has_no_logarithm():
    assert span([1.0, 100.0, 0.0, math.nan, math.inf], margin=0.0) == Range(0.0, 2.0)
    assert span([]) == Range(0.0, 1.0)


def test_no_two_of_45_look_alike():
    assert len({(colour(place), marker(place)) for place in range(1, 46)}) == 45
    assert all(marker(a) != marker(b) for a, b in pairwise(range(1, len(MARKERS) + 1)))
