"""The float64 closed forms of the four binary losses are certified against Arb balls.

Held on every variant, regime and format, weights included: |B0 - exact| <= roundoffs 2^-53 N + floor for
the loss and every gradient entry, with N the oracle's own sensitivity.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.inputs import draw
from harness.oracle.certification import narrow_row, share_of_bound
from harness.oracle.chunks import one_thread
from harness.sample import Shape
from harness.standard import element_options
from harness.trial import Case
from suites import binary_cross_entropy, binary_cross_entropy_with_logits, multilabel_soft_margin, soft_margin

SUITES = [
    module.SUITE
    for module in (
        binary_cross_entropy_with_logits,
        binary_cross_entropy,
        soft_margin,
        multilabel_soft_margin,
    )
]
CELLS = [(suite, variant.name) for suite in SUITES for variant in suite.variants]


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread():
    with one_thread():
        yield


def drawn(suite, variant, regime, dtype, shape=(2, 3)):
    actual = suite.regime(regime).shape(Shape(*shape))
    case = Case(suite.name, variant, regime, dtype, "cpu", *actual, 1)
    sample, options = draw(case, suite, seed=0)
    return {**sample.in_rows(), **element_options(sample, options)}, options, sample.gradients


def refused(suite, inputs, options, truth):
    """Returns the entries outside of the stated bound, as (tensor, row)."""
    found = []
    for row in range(len(truth.losses)):
        loss, gradients = narrow_row(suite.oracle, inputs, options, row)
        entries = [("loss", truth.losses[row], truth.sensitivities[row], loss)]
        for name, values in truth.gradients.items():
            bounds = np.atleast_1d(truth.gradient_sensitivities[name][row])
            highs = np.atleast_1d(values[row])
            entries += [(name, *entry) for entry in zip(highs, bounds, gradients[name], strict=True)]
        found += [
            (name, row)
            for name, high, bound, ball in entries
            if not share_of_bound(float(high), 0.0, ball, truth.rounding * float(bound), truth.floor) <= 1
        ]
    return found


@pytest.mark.parametrize(("suite", "variant"), CELLS, ids=lambda item: getattr(item, "name", item))
def test_losses_and_gradients_lie_within_the_promised_roundoffs_of_their_balls(suite, variant):
    for regime in suite.regimes:
        for dtype in ("float64", "float32", "float16"):
            inputs, options, wanted = drawn(suite, variant, regime.name, dtype)
            truth = suite.oracle.evaluate(inputs, options, wanted)
            assert refused(suite, inputs, options, truth) == [], (regime.name, dtype)


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_a_relative_error_of_1e_9_a_zero_and_a_nan_are_refused(suite):
    inputs, options, wanted = drawn(suite, "mean", suite.regimes[0].name, "float32")
    truth = suite.oracle.evaluate(inputs, options, wanted)
    everywhere = [("loss", row) for row in range(len(truth.losses))]
    for wrong in (truth.losses * (1 + 1e-9), truth.losses * 0, truth.losses * math.nan):
        assert refused(suite, inputs, options, replace(truth, losses=wrong)) == everywhere
    for name in wanted:
        off = replace(truth, gradients={name: truth.gradients[name] * (1 - 1e-9)})
        assert {tensor for tensor, _ in refused(suite, inputs, options, off)} == {name}


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_gradients_are_those_of_autograd_where_autograd_is_right(suite):
    for variant in suite.variants:
        inputs, options, wanted = drawn(suite, variant.name, suite.regimes[0].name, "float64", (6, 5))
        case = Case(suite.name, variant.name, suite.regimes[0].name, "float64", "cpu", 6, 5, 1)
        sample, asked = draw(case, suite, seed=0)
        leaves = {name: t.clone().requires_grad_(name in wanted) for name, t in sample.named.items()}
        taken = {name: value for name, value in asked.items() if suite.baseline.accepts(name)}
        loss = suite.baseline.function(*leaves.values(), **{**taken, "reduction": "none"})
        slopes = torch.autograd.grad(loss.sum(), [leaves[name] for name in wanted])
        truth = suite.oracle.evaluate(inputs, {**options, "reduction": "none"}, wanted)
        assert np.allclose(truth.losses, loss.detach().reshape(truth.losses.shape).numpy(), rtol=1e-12)
        for name, slope in zip(wanted, slopes, strict=True):
            expected = slope.reshape(truth.gradients[name].shape).numpy()
            assert np.allclose(truth.gradients[name], expected, rtol=1e-11, atol=1e-14)


@pytest.mark.parametrize(("z", "target"), [(math.inf, 1.0), (-math.inf, 0.0)])
def test_an_infinite_logit_on_the_side_of_its_label_costs_nothing(z, target):
    suite = SUITES[0]
    inputs = {"logits": torch.tensor([z]), "target": torch.tensor([target])}
    truth = suite.oracle.evaluate(inputs, dict(suite.options), ("logits",))
    assert truth.losses[0] == truth.gradients["logits"][0] == truth.sensitivities[0] == 0


def test_an_infinite_pos_weight_counts_nothing_at_label_0_and_a_weight_of_0_nothing_at_all():
    # Catalogue row 29.
    suite = SUITES[0]
    inputs = {
        "logits": torch.tensor([1.0, math.inf]),
        "target": torch.tensor([0.0, 0.0]),
        "weight": torch.tensor([1.0, 0.0]),
        "pos_weight": torch.tensor([math.inf, 1.0]),
    }
    truth = suite.oracle.evaluate(inputs, dict(suite.options), ("logits",))
    assert truth.losses.tolist() == pytest.approx([math.log1p(math.e), 0.0], rel=1e-15)
    assert truth.gradients["logits"][1] == 0


def test_the_floor_of_torch_changes_the_value_alone():
    suite = SUITES[1]
    inputs = {"probabilities": torch.tensor([0.0, 0.25]), "target": torch.tensor([1.0, 1.0])}
    plain, floored = (
        suite.oracle.evaluate(inputs, {**suite.options, "log_floor": floor}, ("probabilities",))
        for floor in (-math.inf, -100.0)
    )
    assert (plain.losses[0], floored.losses[0]) == (math.inf, 100.0)
    assert plain.losses[1] == floored.losses[1]
    assert np.array_equal(plain.gradients["probabilities"], floored.gradients["probabilities"])
