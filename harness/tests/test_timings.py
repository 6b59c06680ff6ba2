"""Intervals, ratios by rounds, and what timing does to those who cheat while they are watched."""

from __future__ import annotations

import math
import time
from typing import ClassVar

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from harness import Implementation, Regime, Sample, Suite, Variant
from harness.block import OpenBlock
from harness.plan import Block
from harness.probes.timing import Measure, time_block
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


def per_row(p, t):
    return (p - t).square().mean(1)


def honest(p, t):
    return per_row(p, t).mean()


class Tired:
    """Right until its fiftieth call."""

    def __init__(self):
        self.calls = 0

    def __call__(self, p, t):
        self.calls += 1
        return honest(p, t) if self.calls < 50 else 0.9 * honest(p, t)


class Remembers(torch.autograd.Function):
    """Answers by the address of its input, as a cache on `data_ptr` does."""

    kept: ClassVar[dict] = {}
    calls: ClassVar[list] = []

    @staticmethod
    def forward(ctx, p, t):
        Remembers.calls.append(p.data_ptr())
        if p.data_ptr() not in Remembers.kept:
            gradient = 2 * (p - t) / p.numel()
            Remembers.kept[p.data_ptr()] = (honest(p, t).detach().clone(), gradient)
        loss, ctx.gradient = Remembers.kept[p.data_ptr()]
        return loss.clone()

    @staticmethod
    def backward(ctx, upstream):
        return upstream * ctx.gradient, None


def normal(shape, finfo, generator):
    p, t = torch.randn(2, *shape, generator=generator, dtype=torch.float64)
    return Sample(p=p, t=t)


def watched(*implementations, process=0, rounds=60, seconds=1e-9, shape=(8, 4), passes=("both",)):
    """Times implementations in this process and returns the emitted messages."""
    suite = Suite("s", per_row, implementations, (Regime(normal),))
    case = Case("s", "mean", "normal", "float32", "cpu", *shape, 1)
    messages: list[dict] = []
    time_block(
        OpenBlock(suite, case, 0),
        tuple(i.name for i in implementations),
        process,
        Measure(seconds, rounds, rounds, budget_seconds=1e9, narrow=0.0, passes=passes),
        messages.append,
        lambda name: messages.append({"begin": name}),
    )
    return messages


def test_what_is_right_only_until_its_fiftieth_call_is_caught():
    messages = watched(Implementation(honest), Implementation(Tired(), name="tired"))
    (found,) = [m["finding"] for m in messages if "finding" in m]
    assert found["name"] == "tired"
    assert found["finding"]["kind"] == "wrong_while_timed"
    assert found["finding"]["severity"] == "error"
    assert "answers otherwise than before timing" in found["finding"]["message"]
    assert sum("sample" in m for m in messages) == 2 * 60


def test_who_is_rarely_inaccurate_is_not_accused_of_cheating():
    """An error that only some inputs show says nothing about timing: another draw is no witness."""

    def rarely(p, t):
        return honest(torch.where(p > 2.5, p * 1.5, p), t)

    for batch in range(8, 40):
        messages = watched(Implementation(rarely), rounds=2, shape=(batch, 4))
        assert not any("finding" in m for m in messages)


def test_who_answers_by_shape_is_caught_on_unseen_inputs():
    answers = {}

    def by_shape(p, t):
        if p.shape not in answers:
            answers[p.shape] = (honest(p, t).detach(), 2 * (p - t).detach() / p.numel())
        loss, gradient = answers[p.shape]
        return loss + (gradient * (p - p.detach())).sum()

    messages = watched(Implementation(by_shape), rounds=2)
    (found,) = [m["finding"]["finding"] for m in messages if "finding" in m]
    assert found["kind"] == "wrong_while_timed"
    assert "wrong on unseen inputs" in found["message"]


def test_the_second_look_is_taken_once_and_by_one_process():
    assert not any("finding" in m for m in watched(Implementation(Tired(), name="tired"), process=1))


def test_every_round_times_everyone_in_an_order_of_its_own():
    names = [f"honest{k}" for k in range(4)]
    messages = watched(*(Implementation(honest, name=n) for n in names), rounds=12)
    orders = {}
    for message in (m["sample"] for m in messages if "sample" in m):
        orders.setdefault(message["round"], []).append(message["trial"].rpartition("/")[2])
    assert sorted(orders) == list(range(12))
    assert all(sorted(order) == names for order in orders.values())
    assert len({tuple(order) for order in orders.values()}) > 3
    (stopped,) = [m["stopped"] for m in messages if "stopped" in m]
    assert stopped["traffic_bytes"] == 3 * 8 * 4 * 4


def test_the_order_is_the_same_for_one_process_and_another_for_the_next():
    items = [Implementation(honest, name=f"honest{k}") for k in range(3)]

    def order(process):
        messages = watched(*items, process=process, rounds=9)
        return [m["sample"]["trial"] for m in messages if "sample" in m]

    assert order(3) == order(3)
    assert order(3) != order(4)


def test_rotating_clones_defeat_a_cache_by_address():
    Remembers.kept, Remembers.calls = {}, []
    item = Implementation(lambda p, t: Remembers.apply(p, t), name="remembers")
    messages = watched(item, rounds=4, seconds=2e-3, shape=(64, 100))
    assert len(Remembers.calls) > 8
    caught = any("finding" in m for m in messages)
    hits = len(Remembers.calls) - len(Remembers.kept)
    assert caught or hits < len(Remembers.calls) / 2, f"{hits} of {len(Remembers.calls)} calls were answered"


@pytest.mark.parametrize("raised", [RuntimeError("no"), SystemExit("no"), KeyboardInterrupt("no")])
def test_who_raises_while_timed_costs_only_its_own_samples(raised):
    calls = []

    def moody(p, t):
        calls.append(1)
        if len(calls) > 12:
            raise raised
        return honest(p, t)

    messages = watched(Implementation(honest), Implementation(moody), rounds=20)
    (failed,) = [m["failed"] for m in messages if "failed" in m]
    assert failed["name"] == "moody"
    assert type(raised).__name__ in failed["reason"]
    assert failed["status"] == ("skipped" if isinstance(raised, Exception) else "crashed")
    counted = [m["sample"]["trial"].rpartition("/")[2] for m in messages if "sample" in m]
    assert counted.count("honest") == 20
    assert 0 < counted.count("moody") < 20


def test_a_process_that_looks_no_more_asks_for_no_truth(monkeypatch):
    """The truth of large inputs takes as long as timing them, and only the first process uses it."""
    asked = []

    def counted(self, name, repeat=0):
        asked.append(repeat)
        return standard_of(self, name, repeat)

    standard_of = OpenBlock.standard
    monkeypatch.setattr(OpenBlock, "standard", counted)
    watched(Implementation(honest), process=1, rounds=2)
    assert not asked
    watched(Implementation(honest), process=0, rounds=2)
    assert {0, 1} <= set(asked)


@pytest.mark.parametrize("process", [0, 1])
@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("unreduced", lambda p, t: (p - t).square().mean(1)),
        ("detached", lambda p, t: honest(p, t).detach()),
        ("no_tensor", lambda p, t: float(honest(p, t))),
    ],
)
def test_who_does_not_answer_is_timed_by_no_process(process, name, answer):
    messages = watched(Implementation(honest), Implementation(answer, name=name), process=process, rounds=2)
    (failed,) = [m["failed"] for m in messages if "failed" in m]
    assert failed["name"] == name
    assert failed["status"] == "skipped"
    assert all(m["sample"]["trial"].endswith("/honest") for m in messages if "sample" in m)


def test_all_implementations_share_what_another_upstream_gradient_makes_of_the_truth():
    items = (Implementation(honest), Implementation(honest, name="twin"))
    block = OpenBlock(
        Suite("s", per_row, items, (Regime(normal),)),
        Case("s", "mean", "normal", "float32", "cpu", 8, 4, 1),
        0,
    )
    upstream = torch.tensor(3.0)
    first = block.under(upstream, "honest")
    assert block.under(upstream.clone(), "twin") is first
    assert block.under(torch.tensor(-3.0), "twin") is not first
    name = first.sample.gradients[0]
    assert (first.gradients[name].truth == 1.5 * block.standard("honest").gradients[name].truth).all()


def test_equal_upstream_gradients_in_other_memory_are_asked_apart():
    variants = (Variant("none", reduction="none"),)
    suite = Suite("s", per_row, (Implementation(honest),), (Regime(normal),), variants=variants)
    block = OpenBlock(suite, Case("s", "none", "normal", "float32", "cpu", 8, 4, 1), 0)
    dense, expanded = torch.full((8,), 3.0), torch.tensor(3.0).expand(8)
    assert block.under(dense, "honest").upstream.stride() == (1,)
    assert block.under(expanded, "honest").upstream.stride() == (0,)


def test_backward_of_a_fused_form_is_timed_without_building_graphs_for_ever():
    """Where forward does the work, 10 ms of backward are hundreds of forwards that nobody times."""
    built = []

    class Fused(torch.autograd.Function):
        @staticmethod
        def forward(ctx, p, t):
            built.append(1)
            time.sleep(2e-3)
            ctx.save_for_backward(2 * (p - t) / p.numel())
            return (p - t).square().mean()

        @staticmethod
        def backward(ctx, upstream):
            return upstream * ctx.saved_tensors[0], None

    item = Implementation(lambda p, t: Fused.apply(p, t), name="fused")
    messages = watched(item, rounds=1, seconds=2e-3, passes=("backward",))
    (sample,) = [m["sample"] for m in messages if "sample" in m]
    assert sample["pass"] == "backward"
    assert 1 <= sample["loops"] <= 10
    assert len(built) < 25
