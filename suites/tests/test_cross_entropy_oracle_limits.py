"""Infinite and undefined logits by rule (`softmax.limits`), alike in B0, B1 and on Arb balls."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from flint import arb

from harness.oracle.ball import enclosure, row_ball
from harness.oracle.truth import reduced
from suites.cross_entropy import SUITE
from suites.oracles.cross_entropy import ORACLE

INF, NAN = math.inf, math.nan
TIERS = ("B0", "B1")
PLAIN = {**SUITE.options, "reduction": "none"}
SMOOTHED = {**PLAIN, "label_smoothing": 0.25}


def evaluated(rows, targets, options, tier):
    """Returns losses and logit gradients; gradients and their bounds are finite together."""
    logits = torch.tensor(rows, dtype=torch.float64)
    target = torch.tensor(targets)
    inputs = {"logits": logits, "target": target}
    wanted = ("logits", "target") if target.is_floating_point() else ("logits",)
    return inputs, ORACLE.evaluate(inputs, options, wanted, tier=tier)


def agree(got, ball):
    if not ball.is_finite():
        return math.isnan(got) if ball.is_nan() else got == (INF if ball > 0 else -INF)
    return abs(float(ball.mid()) - got) <= 1e-12 * abs(got)


CASES = [
    # row, label, options, loss, gradient
    ([-INF, 0.0, 0.0], 1, PLAIN, math.log(2), [0.0, -0.5, 0.5]),
    ([-INF, 0.0, 0.0], 0, PLAIN, INF, [-1.0, 0.5, 0.5]),
    ([-INF, -INF, -INF], 0, PLAIN, NAN, [NAN] * 3),
    ([INF, 5.0, 0.0], 0, PLAIN, 0.0, [0.0, 0.0, 0.0]),
    ([INF, 5.0, 0.0], 1, PLAIN, INF, [1.0, -1.0, 0.0]),
    ([INF, -INF, 0.0], 0, PLAIN, 0.0, [0.0, 0.0, 0.0]),
    ([INF, -INF, 0.0], 1, PLAIN, INF, [1.0, -1.0, 0.0]),
    ([INF, INF, 0.0], 0, PLAIN, NAN, [NAN] * 3),
    ([NAN, INF, 0.0], 1, PLAIN, NAN, [NAN] * 3),
    ([NAN, 1.0, 0.0], 1, PLAIN, NAN, [NAN] * 3),
    ([1.0, NAN, -INF], 0, PLAIN, NAN, [NAN] * 3),
    ([NAN, INF, -INF], -100, PLAIN, 0.0, [0.0] * 3),
    ([INF, 5.0, 0.0, 0.0], 0, SMOOTHED, INF, [3 / 16, -1 / 16, -1 / 16, -1 / 16]),
    ([-INF, 0.0, 0.0, -INF], 1, SMOOTHED, INF, [-1 / 16, 0.5 - 13 / 16, 0.5 - 1 / 16, -1 / 16]),
    ([INF, INF, 0.0, 0.0], 0, SMOOTHED, NAN, [NAN] * 4),
    ([INF, 5.0, 0.0], [1.0, 0.0, 0.0], PLAIN, 0.0, [0.0] * 3),
    ([INF, 5.0, 0.0], [0.75, 0.25, 0.0], PLAIN, INF, [0.25, -0.25, 0.0]),
    ([-INF, 0.0, 0.0], [0.0, 0.5, 0.5], PLAIN, math.log(2), [0.0] * 3),
    ([NAN, 0.0, INF], [0.0, 0.0, 0.0], PLAIN, 0.0, [0.0] * 3),
    ([1.0, 0.0, 2.0], [NAN, 0.5, 0.5], PLAIN, NAN, [NAN] * 3),
]


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(("row", "label", "options", "loss", "gradient"), CASES)
def test_each_rule_holds_in_every_tier(row, label, options, loss, gradient, tier):
    inputs, truth = evaluated([row, [0.0] * len(row)], [label, label], options, tier)
    np.testing.assert_allclose(truth.losses[0], loss, rtol=1e-15)
    np.testing.assert_allclose(truth.gradients["logits"][0], gradient, rtol=1e-15, atol=0)
    ball, found = row_ball(ORACLE, inputs, options, 0)
    assert agree(truth.losses[0], ball)
    for name, entries in truth.gradients.items():
        assert all(agree(float(got), b) for got, b in zip(entries[0], found[name], strict=True)), name
    # The finite row beside it is as if it stood alone, and so are its bounds.
    _, alone = evaluated([[0.0] * len(row)], [label], options, tier)
    for one, other in (
        (truth.losses[1], alone.losses[0]),
        (truth.gradients["logits"][1], alone.gradients["logits"][0]),
        (truth.sensitivities[1], alone.sensitivities[0]),
        (truth.gradient_sensitivities["logits"][1], alone.gradient_sensitivities["logits"][0]),
    ):
        assert np.array_equal(one, other, equal_nan=True)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(("row", "label", "options", "loss", "gradient"), CASES)
def test_bounds_are_finite_where_the_truth_is(row, label, options, loss, gradient, tier):
    _, truth = evaluated([row], [label], options, tier)
    assert np.isfinite(truth.sensitivities[0]) or not math.isfinite(loss)
    bounds = truth.gradient_sensitivities["logits"][0]
    assert (np.isfinite(bounds) == np.isfinite(gradient)).all()


@pytest.mark.parametrize("tier", TIERS)
def test_the_slope_of_a_probability_does_not_depend_on_it(tier):
    _, truth = evaluated([[0.0, 0.0, -INF]], [[NAN, 0.5, 0.5]], PLAIN, tier)
    np.testing.assert_allclose(truth.gradients["target"][0], [math.log(2), math.log(2), INF])


@pytest.mark.parametrize("tier", TIERS)
def test_a_masked_row_keeps_its_bounds_beside_a_poisoned_one(tier):
    rows = [[NAN, 0.0, 1.0], [-INF, 0.0, 1.0]]
    _, beside = evaluated(rows, [0, 1], PLAIN, tier)
    _, alone = evaluated(rows[1:], [1], PLAIN, tier)
    assert np.array_equal(
        beside.gradient_sensitivities["logits"][1], alone.gradient_sensitivities["logits"][0]
    )
    assert beside.sensitivities[1] == alone.sensitivities[0]


@pytest.mark.parametrize("tier", TIERS)
def test_a_row_of_class_weight_zero_does_not_count(tier):
    options = {**PLAIN, "weight": torch.tensor([0.0, 1.0, 1.0])}
    inputs, truth = evaluated([[NAN, INF, INF], [0.0, 0.0, 0.0]], [0, 1], options, tier)
    assert truth.losses[0] == 0
    assert (truth.gradients["logits"][0] == 0).all()
    assert (truth.gradient_sensitivities["logits"][0] == 0).all()
    assert row_ball(ORACLE, inputs, options, 0)[0].is_zero()


@pytest.mark.parametrize("tier", TIERS)
def test_negative_class_weights_have_positive_sensitivities(tier):
    options = {**PLAIN, "weight": torch.tensor([-1.0, 2.0, 1.0])}
    _, truth = evaluated([[0.3, 0.2, 0.1]], [0], options, tier)
    assert truth.losses[0] < 0
    assert truth.sensitivities[0] >= -truth.losses[0]
    assert (truth.gradient_sensitivities["logits"] > 0).all()


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(
    ("rows", "kind"), [([[INF, 0.0], [0.0, 0.0]], "infinite"), ([[INF, INF], [0.0, 0.0]], "undefined")]
)
def test_a_reduced_loss_is_of_the_kind_that_its_ball_says(rows, kind, tier):
    options = {**PLAIN, "reduction": "mean"}
    inputs, truth = evaluated(rows, [1, 0], options, tier)
    ball = enclosure(ORACLE, inputs, options, None, "loss")
    whole = reduced(truth, options, None)
    assert ball.kind == kind
    assert math.isinf(float(whole.value)) == (kind == "infinite")
    assert math.isnan(float(whole.value)) == (kind == "undefined")
    assert whole.value_tail is None or float(whole.value_tail) == 0


def test_the_exact_row_is_the_plain_definition():
    import flint

    from harness.oracle.softmax_exact import exact_row

    for row in ([0.5, -3.0, 1.25], [30.0, 0.0, 1.0], [1e30, 1e30, -1e30], [200.0, -700.0, 199.0]):
        with flint.ctx.workprec(4096):
            powers = [arb(x).exp() if abs(x) < 1e4 else (arb(x) - arb(row[0])).exp() for x in row]
            shift = arb(0) if abs(row[0]) < 1e4 else arb(row[0])
            total = sum(powers, arb(0))
            for c, x in enumerate(row):
                found = exact_row(row)
                assert found.loss(c).overlaps(total.log() + shift - arb(x))
                assert found.probability(c).overlaps(powers[c] / total)
                assert found.complement(c).overlaps(1 - powers[c] / total)
                assert found.loss(c).rel_accuracy_bits() > 1000 or found.loss(c).is_zero()
