"""Tier B1 of cross-entropy: every variant and regime to 2^-64 of its sensitivity, and reduced as pairs.

Promised by `PAIR_ROUNDING` and held here against Arb: |high + low - exact| <= 2^-64 N + FLOOR. Labels without
smoothing hold 2^-64 of the value itself, since nothing in them cancels.
"""

from __future__ import annotations

from dataclasses import replace

import flint
import numpy as np
import pytest
import torch
from flint import arb

from harness.inputs import draw
from harness.oracle import in_pairs
from harness.oracle.ball import enclosure
from harness.oracle.certification import certificates, narrow_row
from harness.oracle.closed_form import FLOOR
from harness.oracle.truth import reduced
from harness.sample import Shape
from harness.trial import Case
from suites.cross_entropy import SUITE
from suites.oracles.cross_entropy import ORACLE

GRADIENTS = ("gradients", "gradient_tails")
# Of the variants of images one: unfolded into rows they ask the oracle what the others do.
VARIANTS = [v.name for v in SUITE.variants if v.name == "images" or not v.name.startswith("images_")]


def drawn(variant, regime, dtype, shape):
    actual = SUITE.regime(regime).shape(shape)
    case = Case(SUITE.name, variant, regime, dtype, "cpu", actual.batch, actual.classes, 1)
    sample, options = draw(case, SUITE, seed=0)
    return sample, sample.in_rows(), options


@pytest.mark.parametrize("variant", VARIANTS)
def test_pairs_keep_their_bound_in_every_regime(variant):
    alone = replace(SUITE, variants=(SUITE.variant(variant),), ladders=(), examples=(), identities=())
    shapes = (Shape(3, 7), Shape(3, 2), Shape(2, 1))
    found = certificates([alone], share=1.0, shapes=shapes, dtypes=("float64", "float32"), seed=1)
    (b1,) = (c for c in found if c.tier == "B1")
    assert b1.misses == ()
    assert 0 < b1.worst < 0.5
    assert b1.rounding == 2.0**-64


@pytest.mark.parametrize("variant", ["mean", "weighted"])
@pytest.mark.parametrize("regime", ["unit_normal", "confident", "wide", "offset", "tiny"])
def test_losses_and_gradients_of_labels_are_right_relative_to_themselves(variant, regime):
    _, inputs, options = drawn(variant, regime, "float64", Shape(8, 50))
    truth = ORACLE.evaluate(inputs, options, ("logits",), tier="B1")
    for row in range(8):
        loss, gradients = narrow_row(ORACLE, inputs, options, row)
        entries = [(truth.losses[row], truth.loss_tails[row], loss)]
        entries += zip(
            truth.gradients["logits"][row],
            truth.gradient_tails["logits"][row],
            gradients["logits"],
            strict=True,
        )
        with flint.ctx.workprec(512):
            for high, low, ball in entries:
                off = abs(arb(float(high)) + arb(float(low)) - ball)
                assert off <= abs(ball) * arb(2) ** -64 + arb(FLOOR)


@pytest.mark.parametrize("reduction", ["none", "sum", "mean"])
@pytest.mark.parametrize("variant", ["weighted", "smoothed", "probability"])
def test_reduced_pairs_lie_in_the_balls_of_the_reduced_numbers(variant, reduction):
    sample, inputs, options = drawn(variant, "confident", "float64", Shape(6, 5))
    options = {**options, "reduction": reduction}
    upstream = np.array([0.5, 1.0, 0.1, 1.0, 3.0, 2.0] if reduction == "none" else [0.7])
    rows = ORACLE.evaluate(inputs, options, sample.gradients, tier="B1")
    truth = reduced(rows, options, upstream)
    assert truth.tier == "B1"
    assert truth.rounding < 2.0**-63.9
    places = [("loss", (3,) if reduction == "none" else ())]
    places += [(name, (row, c)) for name in sample.gradients for row in (2, 4) for c in range(5)]
    for tensor, place in places:
        ball = enclosure(ORACLE, inputs, options, upstream, tensor, place)
        parts = (
            (truth.value, truth.value_tail, truth.value_sensitivity)
            if tensor == "loss"
            else (
                truth.gradients[tensor],
                truth.gradient_tails[tensor],
                truth.gradient_sensitivities[tensor],
            )
        )
        high, low, sensitivity = (float(part[place]) for part in parts)
        off = abs((high - ball.middle) + (low - ball.tail))
        assert off <= truth.rounding * sensitivity + truth.floor + ball.radius
        assert abs(low) <= np.spacing(abs(high))


@pytest.mark.parametrize("variant", ["mean", "smoothed", "probability"])
def test_permuted_classes_give_the_same_bits(variant):
    _, inputs, options = drawn(variant, "wide", "float64", Shape(5, 300))
    order = torch.randperm(300, generator=torch.Generator().manual_seed(0))
    moved = {"logits": inputs["logits"][:, order]}
    if inputs["target"].is_floating_point():
        moved["target"] = inputs["target"][:, order]
    else:
        moved["target"] = order.argsort()[inputs["target"]]
    one = ORACLE.evaluate(inputs, options, ("logits",), tier="B1")
    other = ORACLE.evaluate(moved, options, ("logits",), tier="B1")
    assert np.array_equal(one.losses, other.losses)
    assert np.array_equal(one.loss_tails, other.loss_tails)
    assert np.array_equal(one.gradients["logits"][:, order], other.gradients["logits"])
    assert np.array_equal(one.gradient_tails["logits"][:, order], other.gradient_tails["logits"])


@pytest.mark.parametrize("variant", ["mean", "probability", "weighted_smoothed_ignored", "images"])
def test_the_size_of_a_chunk_changes_no_bit_of_a_pair(variant, monkeypatch):
    _, inputs, options = drawn(variant, "masked", "float64", Shape(32, 7))
    whole = ORACLE.evaluate(inputs, options, ("logits",), tier="B1")
    monkeypatch.setattr(in_pairs, "CHUNK_ELEMENTS", 5 * 7)
    parts = ORACLE.evaluate(inputs, options, ("logits",), tier="B1")
    for one, other in (
        (whole.losses, parts.losses),
        (whole.loss_tails, parts.loss_tails),
        (whole.gradients["logits"], parts.gradients["logits"]),
        (whole.gradient_tails["logits"], parts.gradient_tails["logits"]),
    ):
        assert np.array_equal(one, other)


def test_highs_are_what_b0_says_to_its_own_bound():
    _, inputs, options = drawn("mean", "unit_normal", "float64", Shape(16, 10))
    b0 = ORACLE.evaluate(inputs, options, ("logits",))
    b1 = ORACLE.evaluate(inputs, options, ("logits",), tier="B1")
    assert (np.abs(b0.losses - b1.losses) <= b0.rounding * b0.sensitivities).all()
    assert np.array_equal(b0.sensitivities, b1.sensitivities)
    assert b0.loss_tails is None
    assert b0.tier == "B0"
    assert np.array_equal(b0.denominator, b1.denominator)


def test_a_family_that_has_no_pairs_answers_with_b0():
    bare = replace(ORACLE, pairs=None, in_pairs=False)
    _, inputs, options = drawn("mean", "unit_normal", "float64", Shape(4, 5))
    assert bare.evaluate(inputs, options, ("logits",), tier="B1").tier == "B0"


@pytest.mark.parametrize(
    "variant", ["mean", "weighted", "smoothed", "weighted_smoothed_ignored", "probability"]
)
@pytest.mark.parametrize("regime", ["unit_normal", "wide", "masked", "confident"])
def test_stated_pairs_are_what_the_formulas_say_on_tensors_of_pairs(variant, regime):
    _, inputs, options = drawn(variant, regime, "float64", Shape(16, 10))
    wanted = ("logits",)
    one = ORACLE.evaluate(inputs, options, wanted, tier="B1")
    other = replace(ORACLE, pairs=None).evaluate(inputs, options, wanted, tier="B1")
    assert other.tier == "B1"
    defined = np.isfinite(one.losses)
    assert np.array_equal(one.losses[~defined], other.losses[~defined], equal_nan=True)
    apart = np.subtract(one.losses, other.losses, where=defined, out=np.zeros_like(one.losses))
    apart += one.loss_tails - other.loss_tails
    assert (np.abs(apart) <= 2 * one.rounding * one.sensitivities)[defined].all()
    high, tail = (getattr(one, part)["logits"] - getattr(other, part)["logits"] for part in GRADIENTS)
    bound = 2 * one.rounding * one.gradient_sensitivities["logits"] + FLOOR
    assert (np.abs(high + tail) <= bound)[np.isfinite(high)].all()
