"""What timing does to those who cheat while they are watched, and what a block holds."""

from __future__ import annotations

import time
from typing import ClassVar

import pytest
import torch

from harness import Implementation, Regime, Sample, Suite
from harness.block import OpenBlock
from harness.probes import timing
from harness.probes.timed_calls import calibrated
from harness.probes.timing import WATCHED_CALLS, Measure, time_block
from harness.trial import Case


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


class TiredLater(Tired):
    """Right for its first calls, more than a few short blocks hold."""

    def __call__(self, p, t):
        self.calls += 1
        return honest(p, t) if self.calls < WATCHED_CALLS / 2 else 0.9 * honest(p, t)


def test_how_many_calls_are_watched_does_not_depend_on_how_busy_the_machine_is(monkeypatch):
    """A call that was interrupted while its blocks were calibrated makes every block one call long."""
    monkeypatch.setattr(timing, "calibrated", lambda *_: dict.fromkeys(("forward", "backward", "both"), 1))
    messages = watched(Implementation(honest), Implementation(TiredLater(), name="tired"), rounds=16)
    (found,) = [m["finding"] for m in messages if "finding" in m]
    assert found["name"] == "tired"
    assert found["finding"]["kind"] == "wrong_while_timed"
    monkeypatch.setattr(timing, "WATCHED_SECONDS", 0.0)
    messages = watched(Implementation(TiredLater(), name="tired"), rounds=16)
    assert not any("finding" in m for m in messages)


def test_who_raises_between_the_clock_and_the_second_look_is_told():
    calls = []

    def raises_later(p, t):
        calls.append(1)
        if len(calls) > WATCHED_CALLS / 2:
            raise RuntimeError("tired")
        return honest(p, t)

    messages = watched(Implementation(honest), Implementation(raises_later), rounds=4)
    (failed,) = [m["failed"] for m in messages if "failed" in m]
    assert failed["name"] == "raises_later"
    assert "tired" in failed["reason"]


def test_a_call_that_was_interrupted_does_not_calibrate_its_blocks():
    calls = []

    def interrupted(p, t):
        calls.append(1)
        if len(calls) <= 2:
            time.sleep(0.05)
        return honest(p, t)

    suite = Suite("s", per_row, (Implementation(interrupted),), (Regime(normal),))
    block = OpenBlock(suite, Case("s", "mean", "normal", "float32", "cpu", 8, 4, 1), 0)
    loops = calibrated(block, block.bound("interrupted"), 1.0)
    assert loops["both"] > 40
    assert len(calls) > 2


def test_blocks_of_the_passes_shown_beside_the_ranking_pass_are_shorter():
    def slow_forward(p, t):
        time.sleep(0.002)
        return honest(p, t)

    suite = Suite("s", per_row, (Implementation(slow_forward),), (Regime(normal),))
    block = OpenBlock(suite, Case("s", "mean", "normal", "float32", "cpu", 8, 4, 1), 0)
    loops = calibrated(block, block.bound("slow_forward"), 0.1)
    assert 1 < loops["forward"] < 0.75 * loops["both"]


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
