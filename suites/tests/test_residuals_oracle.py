"""The closed forms of the losses of a residual are certified against Arb balls, weights included.

Held on every variant, regime and format: |B0 - exact| <= roundoffs 2^-53 N plus a few of the smallest
numbers, with N its own sensitivity, for the loss and both gradients.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.inputs import draw, element_options
from harness.oracle.certification import narrow_row, share_of_bound
from harness.sample import Shape
from harness.trial import Case
from suites.huber import SUITE as HUBER
from suites.l1 import SUITE as L1
from suites.mse import SUITE as MSE
from suites.smooth_l1 import SUITE as SMOOTH_L1

SUITES = (L1, MSE, SMOOTH_L1, HUBER)
BOTH = ("prediction", "target")


def drawn(suite, variant, regime, dtype, shape):
    case = Case(suite.name, variant, regime, dtype, "cpu", shape.batch, shape.classes, 1)
    sample, options = draw(case, suite, seed=0)
    return {**sample.in_rows(), **element_options(sample, options)}, options


def misses(suite, inputs, options, truth):
    found = []
    for row in range(len(truth.losses)):
        loss, gradients = narrow_row(suite.oracle, inputs, options, row)
        entries = [("loss", truth.losses[row], truth.sensitivities[row], loss)]
        entries += [
            (n, truth.gradients[n][row], truth.gradient_sensitivities[n][row], gradients[n][0]) for n in BOTH
        ]
        for name, value, size, ball in entries:
            if not share_of_bound(float(value), 0.0, ball, truth.rounding * float(size), truth.floor) <= 1:
                found.append((name, row))
    return found


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
def test_losses_and_gradients_lie_within_the_promised_roundoffs_of_their_balls(suite, dtype):
    refused = {}
    for variant in suite.variants:
        for regime in suite.regimes:
            inputs, options = drawn(suite, variant.name, regime.name, dtype, Shape(2, 4))
            found = misses(suite, inputs, options, suite.oracle.evaluate(inputs, options, BOTH))
            if found:
                refused[variant.name, regime.name] = found
    assert refused == {}


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_a_relative_error_of_1e_9_is_refused_in_every_entry(suite):
    inputs, options = drawn(suite, "mean", "unit_normal", "float32", Shape(2, 4))
    truth = suite.oracle.evaluate(inputs, options, BOTH)
    off = replace(truth, losses=truth.losses * (1 + 1e-9))
    assert misses(suite, inputs, options, off) == [("loss", row) for row in range(8)]
    slopes = {**truth.gradients, "target": truth.gradients["target"] * (1 - 1e-9)}
    assert misses(suite, inputs, options, replace(truth, gradients=slopes)) == [
        ("target", row) for row in range(8)
    ]


def entry(suite, residual, **options):
    inputs = {"prediction": torch.tensor([residual], dtype=torch.float64), "target": torch.zeros(1).double()}
    return suite.oracle.evaluate(inputs, {**suite.options, **options}, BOTH)


def test_thresholds_far_from_one_neither_overflow_nor_underflow():
    # Catalogue row 33.
    assert entry(SMOOTH_L1, 1e200, beta=2e200).losses[0] == pytest.approx(2.5e199, rel=1e-15)
    assert entry(SMOOTH_L1, 1e-201, beta=1e-200).losses[0] == pytest.approx(5e-203, rel=1e-15)


def test_every_slope_is_right_at_the_kink_and_one_alone_elsewhere():
    for suite, options in ((L1, {}), (SMOOTH_L1, {"beta": 0.0})):
        low, high = entry(suite, 0.0, **options).gradient_ranges["prediction"]
        assert (low[0], high[0]) == (-1.0, 1.0)
        low, high = entry(suite, -2.0, **options).gradient_ranges["prediction"]
        assert low[0] == high[0] == -1.0
    for suite in (MSE, SMOOTH_L1, HUBER):
        low, high = entry(suite, 0.0).gradient_ranges["prediction"]
        assert low[0] == high[0] == 0.0


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_a_missing_entry_counts_neither_in_the_sum_nor_in_the_denominator(suite):
    inputs, options = drawn(suite, "missing", "unit_normal", "float64", Shape(8, 7))
    truth, absent = suite.oracle.evaluate(inputs, options, BOTH), inputs["target"].isnan().numpy()
    assert 0 < absent.sum() < absent.size
    for counted in (truth.losses, truth.denominator, truth.gradients["prediction"]):
        assert (counted[absent] == 0).all()
        assert np.isfinite(counted).all()
