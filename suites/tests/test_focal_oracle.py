"""The float64 closed forms of the focal losses are certified against Arb balls.

Held on every variant, regime and format: |B0 - exact| <= roundoffs 2^-53 N + floor for the loss and every
gradient entry, with N the oracle's own sensitivity.
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
from harness.trial import Case
from suites import binary_cross_entropy_with_logits, cross_entropy, sigmoid_focal, softmax_focal

BINARY, CLASSES = sigmoid_focal.SUITE, softmax_focal.SUITE
SUITES = [BINARY, CLASSES]
CELLS = [(suite, variant.name) for suite in SUITES for variant in suite.variants]


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread():
    with one_thread():
        yield


def drawn(suite, variant, regime, dtype, shape=(2, 3)):
    actual = suite.regime(regime).shape(Shape(*shape))
    sample, options = draw(Case(suite.name, variant, regime, dtype, "cpu", *actual, 1), suite, seed=0)
    return sample.in_rows(), options


def refused(suite, inputs, options, truth):
    """Returns the entries outside of the stated bound, as (tensor, row)."""
    found = []
    for row in range(len(truth.losses)):
        loss, gradients = narrow_row(suite.oracle, inputs, options, row)
        entries = [("loss", truth.losses[row], truth.sensitivities[row], loss)]
        highs = np.atleast_1d(truth.gradients["logits"][row])
        bounds = np.atleast_1d(truth.gradient_sensitivities["logits"][row])
        entries += [("logits", *entry) for entry in zip(highs, bounds, gradients["logits"], strict=True)]
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
            inputs, options = drawn(suite, variant, regime.name, dtype)
            truth = suite.oracle.evaluate(inputs, options, ("logits",))
            assert refused(suite, inputs, options, truth) == [], (regime.name, dtype)


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_a_relative_error_of_1e_9_a_zero_and_a_nan_are_refused(suite):
    inputs, options = drawn(suite, "mean", suite.regimes[0].name, "float32")
    truth = suite.oracle.evaluate(inputs, options, ("logits",))
    everywhere = [("loss", row) for row in range(len(truth.losses))]
    for wrong in (truth.losses * (1 + 1e-9), truth.losses * 0, truth.losses * math.nan):
        assert refused(suite, inputs, options, replace(truth, losses=wrong)) == everywhere
    off = replace(truth, gradients={"logits": truth.gradients["logits"] * (1 - 1e-9)})
    assert {tensor for tensor, _ in refused(suite, inputs, options, off)} == {"logits"}


@pytest.mark.parametrize(("suite", "variant"), CELLS, ids=lambda item: getattr(item, "name", item))
def test_gradients_are_those_of_autograd_where_autograd_is_right(suite, variant):
    case = Case(suite.name, variant, "unit_normal", "float64", "cpu", 6, 5, 1)
    sample, options = draw(case, suite, seed=0)
    z = sample["logits"].clone().requires_grad_()
    taken = {name: value for name, value in options.items() if suite.baseline.accepts(name)}
    loss = suite.baseline.function(z, sample["target"], **{**taken, "reduction": "none"})
    (slope,) = torch.autograd.grad(loss.sum(), z)
    truth = suite.oracle.evaluate(sample.in_rows(), {**options, "reduction": "none"}, ("logits",))
    found = truth.gradients["logits"]
    assert np.allclose(truth.losses, loss.detach().reshape(truth.losses.shape).numpy(), rtol=1e-11)
    assert np.allclose(found, slope.reshape(found.shape).numpy(), rtol=1e-10, atol=1e-14)


def test_at_gamma_zero_the_truths_are_those_of_the_cross_entropies_bit_for_bit_or_nearly():
    for suite, family, regime in (
        (BINARY, binary_cross_entropy_with_logits.SUITE, "confident"),
        (CLASSES, cross_entropy.SUITE, "confident"),
    ):
        inputs, _ = drawn(suite, "gamma_zero", regime, "float32", (64, 10))
        plain = {**suite.options, **suite.variant("gamma_zero").options, "reduction": "none"}
        focal = suite.oracle.evaluate(inputs, plain, ("logits",))
        usual = family.oracle.evaluate(inputs, {**family.options, "reduction": "none"}, ("logits",))
        assert np.allclose(focal.losses, usual.losses, rtol=1e-14, atol=0)
        assert np.allclose(focal.gradients["logits"], usual.gradients["logits"], rtol=1e-13, atol=0)


@pytest.mark.parametrize("gamma", [0.0, 0.25, 0.5, 1.0, 2.0])
@pytest.mark.parametrize("lead", [20.0, 40.0, 300.0])
def test_the_slope_of_a_sure_row_is_that_of_its_limit(lead, gamma):
    # As p_t goes to 1, L goes to q^(gamma + 1) and dL/dm to -(gamma + 1) q^(gamma + 1), with q = e^-m.
    expected = math.exp(-lead * (gamma + 1))
    binary = BINARY.oracle.evaluate(
        {"logits": torch.tensor([lead, -lead]), "target": torch.tensor([1.0, 0.0])},
        {"reduction": "none", "alpha": -1.0, "gamma": gamma},
        ("logits",),
    )
    classes = CLASSES.oracle.evaluate(
        {"logits": torch.tensor([[lead, 0.0]]), "target": torch.tensor([0])},
        {**CLASSES.options, "reduction": "none", "gamma": gamma},
        ("logits",),
    )
    slope = (gamma + 1) * expected
    assert binary.losses == pytest.approx([expected] * 2, rel=1e-7)
    assert binary.gradients["logits"] == pytest.approx([-slope, slope], rel=1e-7)
    assert classes.losses == pytest.approx([expected], rel=1e-7)
    assert classes.gradients["logits"][0] == pytest.approx([-slope, slope], rel=1e-7)


def test_one_class_an_ignored_row_and_an_alpha_of_zero_cost_nothing():
    alone = CLASSES.oracle.evaluate(
        {"logits": torch.tensor([[3.0]]), "target": torch.tensor([0])},
        {**CLASSES.options, "gamma": 0.5},
        ("logits",),
    )
    dropped = CLASSES.oracle.evaluate(
        {"logits": torch.tensor([[math.nan, 1.0], [math.inf, 1.0]]), "target": torch.tensor([-100, 1])},
        {**CLASSES.options, "alpha": torch.tensor([1.0, 0.0])},
        ("logits",),
    )
    nothing = BINARY.oracle.evaluate(
        {"logits": torch.tensor([math.nan, -math.inf]), "target": torch.tensor([1.0, 1.0])},
        {"reduction": "none", "alpha": 0.0, "gamma": 2.0},
        ("logits",),
    )
    for truth in (alone, dropped, nothing):
        assert not truth.losses.any()
        assert not truth.gradients["logits"].any()
    assert list(dropped.denominator) == [0, 1]
