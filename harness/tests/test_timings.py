"""Intervals, ratios by rounds, and which timed blocks count."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from harness.plan import Block
from harness.results import Finding
from harness.stats import estimate, half_width, median_interval
from harness.timings import Stopwatch, TimedBlock, timing_results
from harness.trial import Case

POSITIVE = st.floats(1e-9, 1e9)
GROUP = st.lists(POSITIVE, min_size=1, max_size=12)
GROUPS = st.lists(GROUP, min_size=1, max_size=5)
CLOSE = {"rel": 1e-9}


@pytest.mark.parametrize(
    ("count", "low", "high"), [(1, 1, 1), (2, 1, 2), (5, 1, 5), (6, 1, 6), (16, 4, 13), (100, 40, 61)]
)
def test_median_intervals_are_the_tabulated_order_statistics(count, low, high):
    values = [float(k) for k in range(count, 0, -1)]
    assert median_interval(values) == (low, high)


def test_the_estimate_of_one_process_is_its_median_with_order_statistics():
    found = estimate([[float(k) for k in range(1, 17)]])
    assert found.value == pytest.approx(math.sqrt(8 * 9))
    assert (found.low, found.high) == pytest.approx((4, 13))
    assert (found.samples, found.processes) == (16, 1)


def test_the_estimate_of_several_processes_is_students_t_of_their_medians():
    found = estimate([[1.0, 1.0, 50.0], [math.e], []])
    assert found.value == pytest.approx(math.exp(0.5))
    reach = 12.706204736 * 0.5  # t(0.975, 1 degree) x s / sqrt(2), s = sqrt(1/2)
    assert found.low == pytest.approx(math.exp(0.5 - reach))
    assert found.high == pytest.approx(math.exp(0.5 + reach))
    assert (found.samples, found.processes) == (4, 2)


@pytest.mark.parametrize("groups", [[], [[]], [[], []]])
def test_no_value_is_no_estimate(groups):
    with pytest.raises(ValueError, match="holds no value"):
        estimate(groups)


@given(GROUPS)
def test_an_interval_contains_its_value(groups):
    found = estimate(groups)
    assert found.low <= found.value * (1 + 1e-9)
    assert found.value <= found.high * (1 + 1e-9)


@given(GROUPS, st.floats(1e-3, 1e3))
def test_an_estimate_scales_with_its_values(groups, factor):
    one, other = estimate(groups), estimate([[factor * v for v in group] for group in groups])
    assert other.value == pytest.approx(factor * one.value, **CLOSE)
    # The logarithms of extreme limits lose digits to the size of their exponent.
    assert math.log(other.high) == pytest.approx(math.log(factor) + math.log(one.high), rel=1e-6, abs=1e-6)


@pytest.mark.parametrize(("values", "width"), [([], math.inf), ([1.0], math.inf), ([2.0] * 9, 0.0)])
def test_half_widths_of_few_and_of_equal_values(values, width):
    assert half_width(values) == width


@given(st.lists(st.floats(1e-6, 1e6), min_size=2, max_size=9), st.floats(1e-3, 1e3))
def test_the_half_width_does_not_depend_on_the_unit(values, factor):
    assert half_width([factor * v for v in values]) == pytest.approx(half_width(values), rel=1e-6, abs=1e-9)


CASE = Case("s", "mean", "r", "float32", "cpu", 10, 100, 1)
BLOCK = Block(CASE, {"mine": ("timing",), "base": ("timing",)})


def samples(name, seconds, kind="both", loops=2):
    """Timed blocks by round; None is a round that is missing."""
    return [
        {
            "trial": f"{CASE.id}/{name}",
            "round": number,
            "pass": kind,
            "loops": loops,
            "wall_seconds": loops * value,
        }
        for number, value in enumerate(seconds)
        if value is not None
    ]


def timed(mine, base, **more):
    stopped = {"reason": "rounds spent", "traffic_bytes": 8000, "rounds": len(mine)}
    return TimedBlock(samples("mine", mine) + samples("base", base), stopped=stopped, **more)


def results(*by_process, bandwidth=0.0):
    return {r.trial.implementation: r for r in timing_results(BLOCK, by_process, "base", bandwidth)}


def test_a_ratio_is_formed_round_by_round_so_that_drift_cancels():
    drift = [1.0, 2.0, 8.0]
    found = results(timed([3 * d for d in drift], drift), timed([3.0], [1.0]))
    assert found["mine"].numbers["ratio"] == pytest.approx(3.0)
    assert found["mine"].numbers["ratio_low"] == pytest.approx(3.0)
    assert found["mine"].numbers["ratio_high"] == pytest.approx(3.0)
    assert found["base"].numbers["ratio"] == 1.0
    assert found["mine"].numbers["samples"] == 4
    assert found["mine"].numbers["processes"] == 2


def test_rounds_that_one_arm_misses_are_left_out_of_the_ratio_only():
    found = results(timed([2.0, 100.0, 2.0, None], [1.0, None, 1.0, 7.0]))
    assert found["mine"].numbers["ratio"] == pytest.approx(2.0)
    assert found["mine"].numbers["seconds"] == pytest.approx(2.0)
    assert found["mine"].numbers["samples"] == 3
    alone = results(timed([2.0, 2.0], []))
    assert "ratio" not in alone["mine"].numbers
    assert (alone["base"].status, alone["base"].reason) == ("not_run", "no process timed it")


def test_one_process_reports_seconds_rates_and_shares():
    found = results(timed([2.0] * 5, [1.0] * 5), bandwidth=8000.0)["mine"]
    assert found.status == "ok"
    assert found.numbers["processes"] == 1
    assert found.numbers["elements_per_second"] == pytest.approx(500)
    assert found.numbers["bytes_per_second"] == pytest.approx(4000)
    assert found.numbers["copy_bandwidth_share"] == pytest.approx(0.5)
    assert found.notes == {"stopped": "rounds spent"}
    assert "copy_bandwidth_share" not in results(timed([2.0], [1.0]))["mine"].numbers


def test_a_failure_in_any_process_is_the_result_and_no_numbers():
    failing = timed([1.0], [1.0], failed={"mine": ("out_of_memory", "MemoryError: 8 GiB")})
    found = results(timed([1.0], [1.0]), failing)
    assert (found["mine"].status, found["mine"].reason) == ("out_of_memory", "MemoryError: 8 GiB")
    assert found["mine"].numbers == {}
    assert found["base"].status == "ok"


def test_single_passes_have_their_own_numbers_and_a_fused_forward_is_noted():
    block = timed([5.0], [5.0])
    block.samples += samples("mine", [4.0], "forward") + samples("mine", [0.1], "backward")
    found = results(block)["mine"]
    assert found.numbers["forward_seconds"] == pytest.approx(4.0)
    assert found.numbers["backward_seconds"] == pytest.approx(0.1)
    assert found.numbers["seconds"] == pytest.approx(5.0)
    assert found.notes["fused"] == "forward computes the gradients"
    assert "fused" not in results(timed([5.0], [5.0]))["mine"].notes


ARMS = st.lists(
    st.lists(st.tuples(st.floats(1e-6, 1e3), st.floats(1e-6, 1e3)), min_size=1, max_size=8),
    min_size=1,
    max_size=4,
)


def ratio(by_process, factor=1.0):
    blocks = [timed([factor * a for a, _ in pairs], [factor * b for _, b in pairs]) for pairs in by_process]
    numbers = results(*blocks)["mine"].numbers
    return [math.log(numbers[name]) for name in ("ratio_low", "ratio", "ratio_high")]


@given(ARMS, st.floats(1e-3, 1e3))
def test_scaling_both_arms_changes_nothing(by_process, factor):
    assert ratio(by_process, factor) == pytest.approx(ratio(by_process), rel=1e-6, abs=1e-6)


@given(ARMS)
def test_swapping_the_arms_inverts_the_ratio_and_its_interval(by_process):
    swapped = ratio([[(b, a) for a, b in pairs] for pairs in by_process])
    assert [-value for value in reversed(swapped)] == pytest.approx(ratio(by_process), rel=1e-6, abs=1e-6)


def test_a_stopwatch_keeps_only_blocks_that_are_complete():
    watch, case = Stopwatch(), CASE.id
    finding = Finding("wrong_while_timed", "error", "timing", "loss", "caught")
    for bandwidth in (3.0, 9.0, 5.0):
        assert watch.hear({"machine": {"copy_bandwidth": bandwidth, "timer_seconds": 1e-7}}) is None
    assert watch.copy_bandwidth == 5.0
    assert watch.hear({"case": case, "sample": {"trial": "before it was opened"}, "process": 1}) is None
    assert watch.hear({"opening": case, "process": 1}) is None
    assert watch.hear({"case": case, "process": 1, "sample": {"trial": "of a dead worker"}}) is None
    assert watch.hear({"opening": case, "process": 1}) is None
    assert watch.hear({"case": case, "process": 1, "sample": {"trial": "mine", "round": 0}}) is None
    assert watch.hear({"case": case, "process": 2, "sample": {"trial": "of another process"}}) is None
    failed = {"name": "base", "status": "skipped", "reason": "no"}
    assert watch.hear({"case": case, "process": 1, "failed": failed}) is None
    told = {"name": "mine", "finding": finding.to_json()}
    assert watch.hear({"case": case, "process": 1, "finding": told}) is None
    assert watch.hear({"case": case, "process": 1, "stopped": {"rounds": 1}}) is None
    assert dict(watch.complete) == {}
    assert watch.hear({"timed": case, "process": 1}) == (case, 1)
    assert watch.hear({"case": case, "process": 1, "sample": {"trial": "after it was closed"}}) is None
    kept = watch.complete[case][1]
    assert kept.samples == [{"trial": "mine", "round": 0, "process": 1}]
    assert kept.failed == {"base": ("skipped", "no")}
    assert kept.findings == {"mine": [finding]}
    assert kept.stopped == {"rounds": 1}
