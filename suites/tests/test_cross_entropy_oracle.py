"""The float64 closed forms are certified against Arb balls, on every variant, regime and format.

`ORACLE.exact` states the loss by its plain definition on python-flint balls; the working precision is
raised until a ball is narrower than what it certifies. Promised and held here, with u = 2^-53:
losses     |B0 - exact| <= (C + 749) u |L|, whatever the order of summation;
gradients  |B0 - exact| <= 64 u (p_c sum_{k!=c} q_k + q_c sum_{k!=c} p_k), which is 64 u |g| for index
targets; dense coefficients (smoothing, probabilities) cancel where p ~ q, the one stated exception.
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
from harness.sample import Shape
from harness.trial import Case
from suites.cross_entropy import SUITE
from suites.oracles.cross_entropy import ORACLE

U = 2.0**-53
# At the bottom of float64 an error is a few of its smallest subnormals, not a share of the value.
BOTTOM = 64 * 2.0**-1074
SHAPES = (Shape(4, 7), Shape(4, 2), Shape(3, 1))
# Of the variants of images one: unfolded into rows they ask the oracle what the others do.
VARIANTS = [v.name for v in SUITE.variants if v.name == "images" or not v.name.startswith("images_")]
REGIMES = [regime.name for regime in SUITE.regimes]
SMOOTHED = [v.name for v in SUITE.variants if v.options.get("label_smoothing")]


def drawn(variant, regime, dtype, shape, seed=0):
    """Returns the stored rows and the resolved options of a case, as the harness asks its oracle."""
    actual = SUITE.regime(regime).shape(shape)
    case = Case(SUITE.name, variant, regime, dtype, "cpu", actual.batch, actual.classes, 1)
    sample, options = draw(case, SUITE, seed=seed)
    return sample.in_rows(), options


def evaluated(inputs, options):
    wanted = ("logits", "target") if inputs["target"].is_floating_point() else ("logits",)
    return ORACLE.evaluate(inputs, options, wanted)


def arrays(truth):
    """Returns every array of a row truth that is made chunk by chunk."""
    gradients, bounds = truth.gradients.values(), truth.gradient_sensitivities.values()
    return [truth.losses, truth.sensitivities, *gradients, *bounds]


def as_lists(options):
    weight = options["weight"]
    return {**options, "weight": None if weight is None else weight.double().tolist()}


def is_dense(inputs, options):
    return inputs["target"].is_floating_point() or options["label_smoothing"] != 0


def coefficients(target, options, classes):
    """Returns q of one row by its definition, in plain floats."""
    if target == options["ignore_index"]:
        return np.zeros(classes)
    shares = np.eye(classes)[target] if isinstance(target, int) else np.array(target)
    smoothing = options["label_smoothing"]
    if options["smoothing_over"] == "others":
        mixed = (1 - smoothing) * shares + smoothing / max(classes - 1, 1) * (1 - shares)
    else:
        mixed = (1 - smoothing) * shares + smoothing / classes
    return mixed * np.array(as_lists(options)["weight"] or 1.0)


def is_narrow(ball):
    return not ball.is_finite() or ball.rad() <= abs(ball.mid()) * arb(2) ** -80 + arb(2) ** -1100


def exact_row(logits, target, options):
    """Returns the balls of loss and logit gradient, narrow enough to certify 53 bits."""
    for bits in (256, 1024, 4096):
        with flint.ctx.workprec(bits):
            loss, found = ORACLE.exact({"logits": logits, "target": target}, as_lists(options))
            if all(is_narrow(ball) for ball in (loss, *found["logits"])):
                return loss, found["logits"]
    raise AssertionError(f"no narrow ball at 4096 bits for logits={logits}, target={target}")


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


def violations(inputs, options, truth, *, loss_roundings=None):
    """Returns what the certificate refuses, as (quantity, row, class)."""
    refused, classes = [], inputs["logits"].shape[1]
    promised = classes + 749 if loss_roundings is None else loss_roundings
    for row in range(len(truth.losses)):
        logits = inputs["logits"][row].double().tolist()
        target = inputs["target"][row].tolist()
        loss, gradient = exact_row(logits, target, options)
        if exceeds(float(truth.losses[row]), loss, promised * U * abs(float(loss))):
            refused.append(("loss", row, 0))
        q = coefficients(target, options, classes)
        # One infinite logit has all the probability. Without any, a row that is not finite has no terms to
        # be right by: it is right to its last bit or refused.
        x = torch.tensor(logits, dtype=torch.float64)
        p = (x.isposinf().double() if x.isposinf().sum() == 1 else x.softmax(0).nan_to_num(0.0)).numpy()
        for c, ball in enumerate(gradient):
            terms = p[c] * np.delete(q, c).sum() + q[c] * np.delete(p, c).sum()
            if exceeds(float(truth.gradients["logits"][row, c]), ball, 64 * U * float(terms)):
                refused.append(("gradient", row, c))
    return refused


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_losses_and_gradients_lie_in_their_certified_balls(variant, dtype):
    before, refused = flint.ctx.prec, {}
    for regime in REGIMES:
        for shape in SHAPES:
            inputs, options = drawn(variant, regime, dtype, shape)
            found = violations(inputs, options, evaluated(inputs, options))
            if found:
                refused[regime, shape] = found
    assert refused == {}
    assert flint.ctx.prec == before


@pytest.mark.parametrize("variant", VARIANTS)
def test_losses_of_float32_rows_are_right_to_sixteen_roundings(variant):
    # float32 differences are exact in float64, so the typical error holds and not only the worst case.
    for regime in REGIMES:
        inputs, options = drawn(variant, regime, "float32", SHAPES[0], seed=1)
        assert violations(inputs, options, evaluated(inputs, options), loss_roundings=16) == [], regime


@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_gradient_of_a_probability_target_is_the_weighted_loss_of_its_class(dtype):
    for regime in REGIMES:
        inputs, options = drawn("probability", regime, dtype, SHAPES[0])
        slopes = evaluated(inputs, options).gradients["target"]
        for row, logits in enumerate(inputs["logits"].double().tolist()):
            for c in range(min(len(logits), 10)):
                ball, _ = exact_row(logits, c, {**options, "label_smoothing": 0.0})
                assert not exceeds(float(slopes[row, c]), ball, (len(logits) + 749) * U * abs(float(ball))), (
                    regime,
                    row,
                    c,
                )


@pytest.mark.parametrize("variant", ["mean", "weighted", "images", "probability", "smoothed"])
def test_a_relative_error_of_1e_9_a_zero_and_a_nan_are_refused_in_every_row(variant):
    inputs, options = drawn(variant, "unit_normal", "float32", SHAPES[0])
    truth = evaluated(inputs, options)
    assert violations(inputs, options, truth) == []
    rows, classes = inputs["logits"].shape
    for wrong in (
        truth.losses * (1 + 1e-9),
        truth.losses * 0,
        truth.losses + math.inf,
        truth.losses * math.nan,
    ):
        off = replace(truth, losses=wrong)
        assert violations(inputs, options, off) == [("loss", row, 0) for row in range(rows)]
    off = replace(truth, gradients={"logits": truth.gradients["logits"] * (1 - 1e-9)})
    everywhere = [("gradient", row, c) for row in range(rows) for c in range(classes)]
    assert violations(inputs, options, off) == everywhere


def test_p_minus_one_as_target_gradient_is_refused_on_confident_rows():
    inputs, options = drawn("mean", "confident", "float64", Shape(16, 7))
    truth = evaluated(inputs, options)
    subtracted = truth.gradients["logits"].copy()
    rows, label = np.arange(16), inputs["target"].numpy()
    subtracted[rows, label] = inputs["logits"].softmax(1).numpy()[rows, label] - 1
    refused = violations(inputs, options, replace(truth, gradients={"logits": subtracted}))
    assert {(what, c == label[row]) for what, row, c in refused} == {("gradient", True)}


@pytest.mark.parametrize("rest", [0.0, 1e-18])
def test_probabilities_that_are_almost_one_hot_keep_their_gradients_on_confident_rows(rest):
    inputs, options = drawn("mean", "confident", "float64", Shape(16, 7))
    label = inputs["target"].unsqueeze(1)
    inputs["target"] = torch.full_like(inputs["logits"], rest).scatter_(1, label, 1.0)
    assert violations(inputs, options, evaluated(inputs, options)) == []


@pytest.mark.parametrize("variant", ["ignore_index", "weighted_smoothed_ignored"])
@pytest.mark.parametrize("poison", [math.nan, math.inf, -math.inf])
def test_an_ignored_row_is_exactly_zero_whatever_its_logits(variant, poison):
    inputs, options = drawn(variant, "unit_normal", "float32", Shape(16, 7))
    ignored = (inputs["target"] == options["ignore_index"]).numpy()
    assert 0 < ignored.sum() < 16
    clean = evaluated(inputs, options)
    poisoned = {**inputs, "logits": inputs["logits"].clone()}
    poisoned["logits"][torch.from_numpy(ignored)] = poison
    truth = evaluated(poisoned, options)
    for quantity, before in zip(arrays(truth), arrays(clean), strict=True):
        assert (quantity[ignored] == 0).all()
        assert (quantity == before).all()


def test_a_row_of_class_weight_zero_is_exactly_zero_whatever_its_logits():
    inputs, options = drawn("weighted", "unit_normal", "float32", Shape(16, 7))
    options["weight"][2] = 0
    dropped = inputs["target"] == 2
    assert 0 < dropped.sum() < 16
    inputs["logits"][dropped] = math.nan
    for quantity in arrays(evaluated(inputs, options)):
        assert (quantity[dropped.numpy()] == 0).all()
        assert np.isfinite(quantity).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_masked_classes_leave_losses_finite_unless_they_carry_a_share(variant):
    inputs, options = drawn(variant, "masked", "float32", Shape(16, 7))
    masked = inputs["logits"].isinf().numpy()
    assert masked.any()
    truth = evaluated(inputs, options)
    kept = truth.denominator > 0
    assert np.isfinite(truth.gradients["logits"]).all()
    assert np.isfinite(truth.gradient_sensitivities["logits"]).all()
    if variant in SMOOTHED:
        assert (np.isposinf(truth.losses) == (masked.any(axis=1) & kept)).all()
        assert (truth.gradients["logits"][masked & kept[:, None]] < 0).all()
    else:
        assert np.isfinite(truth.losses).all()
        assert (truth.gradients["logits"][masked] == 0).all()


def distances(logits):
    """Returns p and F(x_i) = sum_k p_k |x_k - x_i| by the definition, in O(C^2)."""
    x = logits.double().numpy()
    p = logits.double().softmax(1).numpy()
    far = np.zeros_like(p)
    with np.errstate(invalid="ignore"):
        for k in range(p.shape[1]):
            far += np.where(p[:, k : k + 1] == 0, 0.0, p[:, k : k + 1] * np.abs(x[:, k : k + 1] - x))
    return p, far


def coefficients_of(inputs, options):
    classes = inputs["logits"].shape[1]
    return np.array([coefficients(target, options, classes) for target in inputs["target"].tolist()])


@pytest.mark.parametrize("dtype", ["float64", "float32"])
@pytest.mark.parametrize("variant", VARIANTS)
def test_sensitivities_are_never_below_their_definition(variant, dtype):
    for regime in REGIMES:
        for shape in (Shape(16, 7), Shape(4, 2), Shape(3, 1)):
            inputs, options = drawn(variant, regime, dtype, shape)
            truth, (p, far) = evaluated(inputs, options), distances(inputs["logits"])
            dense = is_dense(inputs, options)
            q = coefficients_of(inputs, options)
            by_class = np.where(q == 0, 0.0, q * np.where(q == 0, 0.0, far))
            of_loss = (1 + dense) * truth.losses + by_class.sum(axis=1)
            reach = np.where(p == 0, 0.0, p * np.where(p == 0, 0.0, far))
            of_gradient = np.abs(truth.gradients["logits"]) + q.sum(axis=1, keepdims=True) * reach + dense * q
            bounds = truth.sensitivities, truth.gradient_sensitivities["logits"]
            for bound, exact in zip(bounds, (of_loss, of_gradient), strict=True):
                # An undefined row has no sensitivity; a dropped one has 0 where this definition says NaN.
                assert ((bound >= exact * (1 - 1e-12) - BOTTOM) | np.isnan(exact)).all(), (regime, shape)


@pytest.mark.parametrize("classes", [3, 10, 1000])
def test_on_unit_normal_rows_the_bound_of_distances_exceeds_them_little_in_the_median(classes):
    inputs, options = drawn("mean", "unit_normal", "float32", Shape(64, classes))
    truth, (p, far) = evaluated(inputs, options), distances(inputs["logits"])
    excess = truth.gradient_sensitivities["logits"] - np.abs(truth.gradients["logits"])
    ratio = excess / (p * far)
    assert ratio.min() >= 1 - 1e-12
    assert np.median(ratio) <= 1.4


@pytest.mark.parametrize("variant", ["mean", "probability", "weighted_smoothed_ignored"])
@pytest.mark.parametrize("depth", [1e10, 1e25, 1e80, 1e200])
def test_a_class_far_below_leaves_sensitivities_finite_and_other_rows_as_they_were(variant, depth):
    inputs, options = drawn(variant, "unit_normal", "float64", Shape(16, 7))
    before = evaluated(inputs, options)
    deep = inputs["logits"].argmin(1)[:4]
    inputs["logits"][range(4), deep] = -depth
    after, (p, far) = evaluated(inputs, options), distances(inputs["logits"])
    for old, new in zip(arrays(before), arrays(after), strict=True):
        np.testing.assert_array_equal(new[4:], old[4:])
    for sensitivities in after.gradient_sensitivities.values():
        assert np.isfinite(sensitivities).all()
    mass = coefficients_of(inputs, options).sum(axis=1, keepdims=True)
    reach = mass * np.where(p == 0, 0.0, p * np.where(p == 0, 0.0, far))
    exact = np.abs(after.gradients["logits"]) + reach
    assert (after.gradient_sensitivities["logits"] >= exact * (1 - 1e-12)).all()


@pytest.mark.parametrize("variant", VARIANTS)
def test_asking_for_the_truth_leaves_the_inputs_as_they_were(variant):
    inputs, options = drawn(variant, "wide", "float64", Shape(16, 7))
    before = {name: tensor.clone() for name, tensor in inputs.items()}, as_lists(options)
    evaluated(inputs, options)
    assert all(torch.equal(inputs[name], before[0][name]) for name in inputs)
    assert as_lists(options) == before[1]


@pytest.mark.parametrize("variant", ["mean", "probability", "weighted_smoothed_ignored"])
def test_the_size_of_a_chunk_changes_no_bit(variant, monkeypatch):
    inputs, options = drawn(variant, "masked", "float32", Shape(37, 7))
    whole = evaluated(inputs, options)
    monkeypatch.setattr(closed_form, "CHUNK_ELEMENTS", 5 * 7)
    parts = evaluated(inputs, options)
    assert all((w == p).all() for w, p in zip(arrays(whole), arrays(parts), strict=True))
