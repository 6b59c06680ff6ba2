"""Counts over every finite 16-bit value are exact: the published ones, none, and a single planted one."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import cache

import pytest
import torch

from harness import Contract, Implementation, above
from harness.block import OpenBlock
from harness.inputs import draw_exhaustive
from harness.probes.exhaustive import every_value
from harness.probes.overflow import overflow
from harness.tests.questioned import Above, right
from harness.trial import Case
from suites.cross_entropy import SUITE
from suites.implementations.cross_entropy import exact_gradient

(GAP,) = SUITE.exhaustive
INPUTS = {"float16": 63_488, "bfloat16": 65_280}
# A value whose exact loss and gradients are normal numbers in both formats.
PLACE = 3.5


def opened(dtype, *planted):
    family = replace(SUITE.extended(*planted), ladders=())
    return OpenBlock(family, Case(family.name, "mean", "unit_normal", dtype, "cpu", 64, 10, 1), 0)


def planted(function, **declared):
    return Implementation(function, name="planted", **declared)


@cache
def counted(name, dtype):
    return every_value(opened(dtype), name, GAP)[:2]


def with_one_gradient(change):
    """Returns the closed form whose gradient is changed in the row [PLACE, 0] alone."""

    def function(logits, target, reduction="mean"):
        row = logits[:, 0] == PLACE

        def below(gradient):
            changed = gradient.clone()
            changed[row, 0] = change(gradient[row, 0])
            return changed

        return exact_gradient(Above.apply(logits, below), target, reduction)

    return function


def with_one_loss(change):
    """Returns the closed form whose loss is changed in the row [PLACE, 0] alone."""

    def function(logits, target, reduction="mean"):
        loss = exact_gradient(logits, target, reduction)
        value = loss.detach()
        # The gradient stays what it is.
        return loss + torch.where(logits[:, 0] == PLACE, change(value) - value, 0)

    return function


@pytest.mark.parametrize(("dtype", "dead"), [("float16", 315), ("bfloat16", 509)])
def test_the_dead_gradients_of_native_are_counted(dtype, dead):
    numbers, findings = counted("native", dtype)
    assert numbers["exhaustive_gap_inputs"] == INPUTS[dtype]
    assert numbers["exhaustive_gap_dead_gradient"] == dead
    # Where the loss is lost, so is its gradient.
    assert numbers["exhaustive_gap_dead_loss"] == dead
    (found,) = [f for f in findings if f.kind == "dead_gradient"]
    assert found.group == "exhaustive gap"
    assert found.message.startswith(f"{dead} entries over all {INPUTS[dtype]:,} finite {dtype} values")


@pytest.mark.parametrize("dtype", INPUTS)
def test_the_counts_agree_with_a_count_by_hand(dtype):
    form = getattr(torch, dtype)
    values = torch.arange(-(1 << 15), 1 << 15, dtype=torch.int32).to(torch.int16).view(form)
    values = values[values.isfinite()]
    logits = torch.stack([values, torch.zeros_like(values)], 1).requires_grad_()
    right(logits, torch.zeros(len(values), dtype=torch.long), "sum").backward()
    exact = 1 / (1 + values.double().exp())
    dead = (logits.grad[:, 0] == 0) & (exact >= torch.finfo(form).tiny)
    assert counted("native", dtype)[0]["exhaustive_gap_dead_gradient"] == int(dead.sum())


@pytest.mark.parametrize(
    ("name", "dtype"), [("upcast", "float16"), ("exact_gradient", "float16"), ("exact_gradient", "bfloat16")]
)
def test_who_is_right_everywhere_has_no_count_but_that_of_the_inputs(name, dtype):
    numbers, findings = counted(name, dtype)
    # log_softmax of a sure class is +0, and minus that is -0: a note.
    numbers.pop("exhaustive_gap_negative_zero", None)
    assert (numbers, findings) == ({"exhaustive_gap_inputs": float(INPUTS[dtype])}, [])


@pytest.mark.parametrize("dtype", INPUTS)
@pytest.mark.parametrize(
    ("function", "kind", "severity"),
    [
        (with_one_gradient(torch.zeros_like), "dead_gradient", "error"),
        (with_one_gradient(lambda gradient: gradient * math.nan), "spurious_nan", "error"),
        # 1/32 is 4 ulp of bfloat16, twice what is granted.
        (with_one_gradient(lambda gradient: gradient * 1.03125), "inaccurate", "warning"),
        (with_one_loss(lambda loss: loss + math.inf), "spurious_overflow", "error"),
        (with_one_loss(lambda loss: -loss), "negative", "error"),
    ],
)
def test_a_single_planted_value_is_counted_as_one(function, kind, severity, dtype):
    numbers, findings, _ = every_value(opened(dtype, planted(function)), "planted", GAP)
    assert numbers == {"exhaustive_gap_inputs": float(INPUTS[dtype]), f"exhaustive_gap_{kind}": 1.0}
    (found,) = findings
    assert (found.kind, found.probe, found.group) == (kind, "overflow", "exhaustive gap")
    assert found.message.startswith("1 entry over all")
    assert found.witness["inputs"]["logits"] == [PLACE.hex(), (0.0).hex()]
    assert found.witness["question"] == "exhaustive gap"
    assert found.severity == severity


def test_every_finite_value_is_asked_once_and_unchanged():
    for dtype, count in INPUTS.items():
        case = Case(SUITE.name, "mean", "unit_normal", dtype, "cpu", 64, 10, 1)
        sample, options = draw_exhaustive(GAP, case, SUITE)
        bits = sample["logits"][:, 0].contiguous().view(torch.int16)
        assert len(bits.unique()) == len(bits) == count
        assert bool(sample["logits"].isfinite().all())
        assert options["reduction"] == "none"


def test_the_overflow_probe_carries_the_counts():
    answer = overflow(opened("float16", planted(with_one_gradient(torch.zeros_like))), "planted")
    assert answer.status == "ok"
    assert answer.numbers["exhaustive_gap_dead_gradient"] == 1
    assert [f.kind for f in answer.findings] == ["dead_gradient"]


@pytest.mark.parametrize(
    "item",
    [
        planted(lambda logits, target: right(logits, target)),
        planted(right, contract=Contract(except_regimes=("exhaustive gap",))),
        planted(right, skip=above(batch=1000)),
    ],
)
def test_who_takes_no_reduction_or_is_not_to_be_asked_is_not_asked(item):
    assert every_value(opened("float16", item), "planted", GAP) == ({}, [], None)


def test_wide_formats_are_not_asked():
    assert every_value(opened("float32"), "native", GAP) == ({}, [], None)
