"""The closed forms of both likelihoods are certified against Arb balls, and their corners are stated.

Held on every variant, regime and format: |B0 - exact| <= roundoffs 2^-53 N plus a few of the smallest
numbers, with N its own sensitivity, for the loss and every gradient.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from harness.inputs import draw, element_options
from harness.oracle.certification import narrow_row, share_of_bound
from harness.sample import Shape
from harness.trial import Case
from suites.gaussian_nll import SUITE as GAUSSIAN
from suites.poisson_nll import SUITE as POISSON

SUITES = (POISSON, GAUSSIAN)
NAMES = {"poisson_nll": ("prediction", "target"), "gaussian_nll": ("prediction", "target", "variance")}


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
            (n, truth.gradients[n][row], truth.gradient_sensitivities[n][row], gradients[n][0])
            for n in truth.gradients
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
            found = misses(suite, inputs, options, suite.oracle.evaluate(inputs, options, NAMES[suite.name]))
            if found:
                refused[variant.name, regime.name] = found
    assert refused == {}


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_a_relative_error_of_1e_9_is_refused_in_every_entry(suite):
    home = suite.regimes[0].name
    inputs, options = drawn(suite, "mean", home, "float32", Shape(2, 4))
    truth = suite.oracle.evaluate(inputs, options, NAMES[suite.name])
    off = replace(truth, losses=truth.losses * (1 + 1e-9))
    assert misses(suite, inputs, options, off) == [("loss", row) for row in range(8)]
    for name, entries in truth.gradients.items():
        off = replace(truth, gradients={**truth.gradients, name: entries * (1 - 1e-9)})
        assert misses(suite, inputs, options, off) == [(name, row) for row in range(8)]


def test_the_printed_terms_of_a_large_count_are_refused_in_float64():
    inputs, options = drawn(POISSON, "full", "fitted", "float64", Shape(4, 4))
    truth = POISSON.oracle.evaluate(inputs, options, ())
    assert misses(POISSON, inputs, options, truth) == []
    x, t = inputs["prediction"], inputs["target"]
    printed = x.exp() - t * x + t * t.log() - t + 0.5 * torch.log(2 * math.pi * t)
    off = misses(POISSON, inputs, options, replace(truth, losses=printed.numpy()))
    assert len(off) > 3


def one(number):
    return torch.tensor([number], dtype=torch.float64)


def counted(x, t, **options):
    inputs = {"prediction": one(x), "target": one(t)}
    truth = POISSON.oracle.evaluate(inputs, {**POISSON.options, **options}, NAMES["poisson_nll"])
    return truth.losses[0], truth.gradients["prediction"][0], truth.gradients["target"][0]


def test_a_rate_of_zero_costs_nothing_where_nothing_was_counted():
    assert counted(-math.inf, 0.0)[:2] == (0.0, 0.0)
    assert counted(-math.inf, 2.0)[:2] == (math.inf, -2.0)
    assert counted(0.0, 0.0, log_input=False)[:2] == (0.0, 1.0)
    loss, slope, _ = counted(0.0, 1.0, log_input=False)
    assert loss == pytest.approx(8 * math.log(10), rel=1e-15)
    assert slope == pytest.approx(1 - 1e8, rel=1e-15)


def test_stirlings_term_begins_above_one_and_has_its_own_slope():
    plain, _, by_target = counted(0.5, 1.0)
    assert counted(0.5, 1.0, full=True) == counted(0.5, 1.0)
    assert by_target == -0.5
    step = 1 + 2.0**-52
    above, _, slope = counted(0.5, step, full=True)
    assert above - plain == pytest.approx(0.5 * math.log(2 * math.pi) - 1, rel=1e-12)
    assert slope == pytest.approx(0.0, abs=1e-15)
    # Nothing is asked of the logarithm of a count of 0.
    assert counted(0.5, 0.0, full=True) == counted(0.5, 0.0)


def spread(residual, variance, **options):
    inputs = {
        "prediction": one(residual),
        "target": one(0.0),
        "variance": one(variance),
    }
    return GAUSSIAN.oracle.evaluate(inputs, {**GAUSSIAN.options, **options}, NAMES["gaussian_nll"])


@pytest.mark.parametrize("variance", [0.0, 1e-7, 1e-6, 2e-6, 0.5])
def test_below_eps_the_slope_is_the_one_that_autograd_gives_torch(variance):
    x, v = one(1e-3).requires_grad_(), one(variance).requires_grad_()
    F.gaussian_nll_loss(x, one(0.0), v).backward()
    truth = spread(1e-3, variance)
    # r^2 / v is 1 at eps, so that the slope there is the rounding of a difference.
    assert truth.gradients["variance"][0] == pytest.approx(float(v.grad), rel=1e-12, abs=1e-9)
    assert truth.gradients["prediction"][0] == pytest.approx(float(x.grad), rel=1e-14)


def test_a_clamp_that_is_seen_has_no_slope_below_eps_and_any_up_to_it_at_eps():
    assert spread(1.0, 0.1, eps=0.125, clamp="seen").gradients["variance"][0] == 0.0
    assert spread(1.0, 0.1, eps=0.125).gradients["variance"][0] == -28.0
    low, high = spread(1.0, 0.125, eps=0.125, clamp="seen").gradient_ranges["variance"]
    assert (low[0], high[0]) == (-28.0, 0.0)
    low, high = spread(1.0, 0.125, eps=0.125).gradient_ranges["variance"]
    assert low[0] == high[0] == -28.0


def test_residuals_whose_square_overflows_are_right():
    truth = spread(1e200, 1e300)
    assert truth.losses[0] == pytest.approx(0.5 * (300 * math.log(10) + 1e100), rel=1e-15)
    assert truth.gradients["variance"][0] == pytest.approx(-0.5e-200, rel=1e-14)
    assert np.isfinite(truth.sensitivities[0])
