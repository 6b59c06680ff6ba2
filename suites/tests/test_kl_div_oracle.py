"""The float64 closed forms of the divergence are certified against Arb balls.

`ORACLE.exact` states loss and gradients by their plain definition on python-flint balls; the working
precision is raised until a ball is narrow. Held here on every variant, regime and format: what the
oracle promises of itself, |B0 - exact| <= roundoffs 2^-53 N plus a few of the smallest numbers, for
the loss and for every gradient entry, with N its own sensitivity. N is held from below by the sums of
|terms| that are written out again here, and from above by a multiple of them.
"""

from __future__ import annotations

import math
from dataclasses import replace

import flint
import numpy as np
import pytest
import torch
from flint import arb

from harness.inputs import draw
from harness.oracle import closed_form
from harness.oracle.truth import reduced
from harness.sample import Shape
from harness.trial import Case
from suites.kl_div import SUITE
from suites.oracles.kl_div import ORACLE

U = 2.0**-53
# At the bottom of float64 an error is a few of its smallest subnormals, not a share of the value.
BOTTOM = 64 * 2.0**-1074
SHAPES = (Shape(4, 7), Shape(4, 2), Shape(3, 1))
VARIANTS = [variant.name for variant in SUITE.variants]
REGIMES = [regime.name for regime in SUITE.regimes]
BOTH = ("log_probabilities", "target")


def drawn(variant, regime, dtype, shape, seed=0):
    """Returns the stored rows and the resolved options of a case, as the harness asks its oracle."""
    actual = SUITE.regime(regime).shape(shape)
    case = Case(SUITE.name, variant, regime, dtype, "cpu", actual.batch, actual.classes, 1)
    sample, options = draw(case, SUITE, seed=seed)
    return sample.in_rows(), options


def wanted_of(options):
    # From logits only x has a closed-form slope that is asked for.
    return BOTH[:1] if options["from_logits"] else BOTH


def evaluated(inputs, options):
    return ORACLE.evaluate(inputs, options, wanted_of(options))


def is_narrow(ball):
    return not ball.is_finite() or ball.rad() <= abs(ball.mid()) * arb(2) ** -80 + arb(2) ** -1100


def exact_row(x, target, options):
    """Returns the balls of loss and gradients, narrow enough to certify 53 bits."""
    for bits in (256, 1024, 4096):
        with flint.ctx.workprec(bits):
            loss, found = ORACLE.exact({"log_probabilities": x, "target": target}, options)
            if all(is_narrow(ball) for ball in (loss, *found["log_probabilities"], *found["target"])):
                return loss, found
    raise AssertionError(f"no narrow ball at 4096 bits for x={x}, target={target}")


def exceeds(value, ball, allowed):
    """Tells whether |value - exact| may be above what is allowed."""
    if ball.is_nan():
        return not math.isnan(value)
    if not ball.is_finite():
        return value != (math.inf if bool(ball > 0) else -math.inf)
    if not math.isfinite(value):
        return True
    with flint.ctx.workprec(4096):
        return not bool(abs(arb(value) - ball) <= arb(allowed) + arb(BOTTOM))


def violations(inputs, options, truth):
    """Returns what the certificate refuses, as (quantity, row, class)."""
    refused, promised = [], ORACLE.roundoffs * U
    for row in range(len(truth.losses)):
        x = inputs["log_probabilities"][row].double().tolist()
        target = inputs["target"][row].double().tolist()
        loss, gradients = exact_row(x, target, options)
        if exceeds(float(truth.losses[row]), loss, promised * float(truth.sensitivities[row])):
            refused.append(("loss", row, 0))
        for name in wanted_of(options):
            for c, ball in enumerate(gradients[name]):
                bound = promised * float(truth.gradient_sensitivities[name][row, c])
                if exceeds(float(truth.gradients[name][row, c]), ball, bound):
                    refused.append((name, row, c))
    return refused


@pytest.mark.parametrize("dtype", ["float64", "float32", "float16"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_losses_and_gradients_lie_within_the_promised_roundoffs_of_their_balls(variant, dtype):
    before, refused = flint.ctx.prec, {}
    for regime in REGIMES:
        for shape in SHAPES if dtype != "float16" else SHAPES[:1]:
            inputs, options = drawn(variant, regime, dtype, shape)
            found = violations(inputs, options, evaluated(inputs, options))
            if found:
                refused[regime, shape] = found
    assert refused == {}
    assert flint.ctx.prec == before


@pytest.mark.parametrize("variant", ["batchmean", "log_target", "from_logits"])
@pytest.mark.parametrize("regime", ["independent", "wide", "nearer", "masked"])
def test_long_rows_keep_the_promise(variant, regime):
    inputs, options = drawn(variant, regime, "float64", Shape(1, 3001))
    assert violations(inputs, options, evaluated(inputs, options)) == []


def test_the_form_with_an_epsilon_keeps_the_promise():
    for regime in REGIMES:
        inputs, options = drawn("both_gradients", regime, "float32", SHAPES[0])
        options = {**options, "epsilon": 1e-5}
        assert violations(inputs, options, evaluated(inputs, options)) == [], regime


@pytest.mark.parametrize("variant", ["both_gradients", "log_target", "from_logits"])
def test_a_relative_error_of_1e_9_a_zero_and_a_nan_are_refused_in_every_row(variant):
    inputs, options = drawn(variant, "independent", "float32", SHAPES[0])
    truth = evaluated(inputs, options)
    rows, classes = inputs["target"].shape
    assert violations(inputs, options, truth) == []
    for wrong in (
        truth.losses * (1 + 1e-9),
        truth.losses * 0,
        truth.losses + math.inf,
        truth.losses * math.nan,
    ):
        off = replace(truth, losses=wrong)
        assert violations(inputs, options, off) == [("loss", row, 0) for row in range(rows)]
    for name in wanted_of(options):
        off = replace(truth, gradients={**truth.gradients, name: truth.gradients[name] * (1 - 1e-9)})
        everywhere = [(name, row, c) for row in range(rows) for c in range(classes)]
        assert violations(inputs, options, off) == everywhere


@pytest.mark.parametrize("variant", ["both_gradients", "log_target"])
def test_gradients_are_those_of_autograd_where_autograd_is_right(variant):
    inputs, options = drawn(variant, "independent", "float64", Shape(16, 7))
    x, t = (inputs[name].clone().requires_grad_(True) for name in BOTH)
    weight, logarithm = (t.exp(), t) if options["log_target"] else (t, t.log())
    slopes = torch.autograd.grad((weight * (logarithm - x)).sum(), (x, t))
    truth = evaluated(inputs, options)
    for name, slope in zip(BOTH, slopes, strict=True):
        assert np.allclose(truth.gradients[name], slope.numpy(), rtol=1e-13, atol=1e-15)


def test_a_target_of_zero_counts_nothing_whatever_x_is():
    x = torch.tensor([[-1.0, -2.0, -math.inf], [-1.0, -2.0, 3e300]], dtype=torch.float64)
    t = torch.tensor([[0.5, 0.5, 0.0]] * 2, dtype=torch.float64)
    options = {**SUITE.options}
    truth = evaluated({"log_probabilities": x, "target": t}, options)
    without = evaluated({"log_probabilities": x[:, :2], "target": t[:, :2]}, options)
    assert (truth.losses == without.losses).all()
    assert (truth.sensitivities == without.sensitivities).all()
    assert (truth.gradients["log_probabilities"][:, 2] == 0).all()
    # The limit of log t + 1 - x is -inf; against x = -inf it is undefined.
    assert math.isnan(truth.gradients["target"][0, 2])
    assert truth.gradients["target"][1, 2] == -math.inf


@pytest.mark.parametrize("x", [-1.0, -math.inf, 3e300])
def test_a_log_target_of_minus_infinity_counts_nothing_and_has_slope_zero(x):
    options = {**SUITE.options, "log_target": True}
    inputs = {
        "log_probabilities": torch.tensor([[-1.0, x]], dtype=torch.float64),
        "target": torch.tensor([[-0.5, -math.inf]], dtype=torch.float64),
    }
    truth = evaluated(inputs, options)
    assert truth.losses[0] == pytest.approx(math.exp(-0.5) * 0.5, rel=1e-15)
    assert truth.gradients["target"][0, 1] == truth.gradients["log_probabilities"][0, 1] == 0
    assert np.isfinite(truth.sensitivities).all()


def test_a_forbidden_class_that_the_target_wants_costs_infinity_even_if_its_weight_underflows():
    options = {**SUITE.options, "log_target": True}
    inputs = {
        "log_probabilities": torch.tensor([[-1.0, -math.inf]], dtype=torch.float64),
        "target": torch.tensor([[0.0, -2000.0]], dtype=torch.float64),
    }
    assert evaluated(inputs, options).losses[0] == math.inf
    assert bool(exact_row([-1.0, -math.inf], [0.0, -2000.0], options)[0] > 0)


@pytest.mark.parametrize("variant", VARIANTS)
def test_sensitivities_are_the_sums_of_the_magnitudes_of_the_terms(variant):
    for regime in ("independent", "nearer", "unnormalised", "confident", "tiny_targets", "near_overflow"):
        inputs, options = drawn(variant, regime, "float32", Shape(16, 7))
        x, t = (inputs[name].double() for name in BOTH)
        p, log_p = (t.exp(), t) if options["log_target"] else (t, t.log())
        distance = 0.0
        if options["from_logits"]:
            shares = x.softmax(1)
            distance = (shares.unsqueeze(1) * (x.unsqueeze(1) - x.unsqueeze(2)).abs()).sum(2)
            x = x.log_softmax(1)
        by_target = (log_p + 1 - x).abs() * (t.abs() if options["log_target"] else 1.0)
        terms = p * (log_p.abs() + x.abs() + by_target)
        least, most = ((terms + p * factor * distance).sum(1).numpy() for factor in (1, 2))
        bound = evaluated(inputs, options).sensitivities
        assert (bound >= least * (1 - 1e-12)).all(), regime
        assert (bound <= most * (1 + 1e-12)).all(), regime


@pytest.mark.parametrize("noise", ["near", "nearer"])
def test_the_bound_does_not_shrink_where_the_terms_cancel(noise):
    inputs, options = drawn("batchmean", noise, "float64", Shape(64, 10))
    truth = evaluated(inputs, options)
    assert np.abs(truth.losses).max() < 1e-3
    assert truth.sensitivities.min() > 1


@pytest.mark.parametrize(("variant", "divisor"), [("batchmean", 16), ("mean", 16 * 7), ("sum", 1)])
def test_the_reductions_divide_by_rows_by_elements_or_not_at_all(variant, divisor):
    inputs, options = drawn(variant, "independent", "float64", Shape(16, 7))
    found = reduced(evaluated(inputs, options), options, None)
    terms = torch.nn.functional.kl_div(inputs["log_probabilities"], inputs["target"], reduction="sum")
    assert float(found.value) == pytest.approx(float(terms) / divisor, rel=1e-13)
    assert found.gradients["log_probabilities"] == pytest.approx(
        -inputs["target"].numpy() / divisor, rel=1e-13
    )


@pytest.mark.parametrize("variant", ["both_gradients", "log_target", "from_logits"])
def test_the_size_of_a_chunk_changes_no_bit_and_inputs_stay_as_they_were(variant, monkeypatch):
    inputs, options = drawn(variant, "masked", "float32", Shape(37, 7))
    before = {name: tensor.clone() for name, tensor in inputs.items()}
    whole = evaluated(inputs, options)
    monkeypatch.setattr(closed_form, "CHUNK_ELEMENTS", 5 * 7)
    parts = evaluated(inputs, options)
    for one, other in (
        (whole.losses, parts.losses),
        (whole.sensitivities, parts.sensitivities),
        *((whole.gradients[n], parts.gradients[n]) for n in whole.gradients),
        *((whole.gradient_sensitivities[n], parts.gradient_sensitivities[n]) for n in whole.gradients),
    ):
        assert np.array_equal(one, other, equal_nan=True)
    assert all(torch.equal(inputs[name], before[name]) for name in inputs)
