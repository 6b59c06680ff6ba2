"""The oracle of projected cross-entropy: balls, sums over rows, and what rounding of the logits may do."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.inputs import draw
from harness.oracle.certification import certificates
from harness.oracle.truth import FLOAT64_ROUNDOFF, reduced
from harness.sample import Shape
from harness.trial import Case
from suites.linear_cross_entropy import SUITE
from suites.oracles import linear_cross_entropy as oracle

NINE = Shape(9, 7)
SHAPES = (Shape(4, 7), Shape(3, 1), Shape(4, 50))


def drawn(variant="mean", regime="unit", dtype="float64", shape=NINE, seed=0):
    case = Case(SUITE.name, variant, regime, dtype, "cpu", *shape, 1)
    sample, options = draw(case, SUITE, seed=seed)
    return sample, options


def test_every_variant_and_regime_lies_within_its_stated_bound():
    for certificate in certificates([SUITE], seed=3, shapes=SHAPES, dtypes=("float64", "bfloat16")):
        assert certificate.misses == ()
        assert certificate.entries > 10_000


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("hidden", lambda found: {**found, "hidden": found["hidden"] * (1 + 2.0**-30)}),
        (
            "linear_weight",
            lambda found: {**found, "linear_weight": (-found["linear_weight"][0], found["linear_weight"][1])},
        ),
        (
            "linear_bias",
            lambda found: {**found, "linear_bias": (found["linear_bias"][0] + 1e-9, found["linear_bias"][1])},
        ),
    ],
)
def test_a_wrong_oracle_is_a_miss(name, fault):
    form = replace(oracle.ORACLE, gradient=lambda t: fault(oracle.gradients(t)))
    biased, unit = SUITE.variant("biased"), SUITE.regime("unit")
    wrong = replace(SUITE, oracle=form, variants=(biased,), regimes=(unit,), examples=(), identities=())
    for certificate in certificates([wrong], shapes=SHAPES[:1], dtypes=("float64",)):
        assert {miss.tensor for miss in certificate.misses} == {name}


@pytest.mark.parametrize("variant", [v.name for v in SUITE.variants])
def test_reduced_truth_agrees_with_autograd_in_float64(variant):
    sample, options = drawn(variant)
    inputs = {name: t.clone() for name, t in sample.named.items()}
    rows = oracle.ORACLE.evaluate(inputs, options, sample.gradients)
    upstream = (
        torch.rand(9, dtype=torch.float64) + 0.5 if options["reduction"] == "none" else torch.tensor([3.0])
    )
    truth = reduced(rows, options, upstream.double().numpy())
    leaves = {n: t.clone().requires_grad_(n in sample.gradients) for n, t in inputs.items()}
    native = SUITE.implementation("native").function
    asked = {k: v for k, v in options.items() if k not in ("smoothing_over", "mean_denominator")}
    loss = native(*leaves.values(), **asked)
    found = torch.autograd.grad(loss, [leaves[n] for n in sample.gradients], upstream.reshape(loss.shape))
    assert np.allclose(truth.value, loss.detach().numpy(), rtol=1e-13)
    for name, gradient in zip(sample.gradients, found, strict=True):
        assert truth.gradients[name].shape == tuple(sample[name].shape)
        assert np.allclose(truth.gradients[name], gradient.numpy(), rtol=1e-11, atol=1e-15)


@pytest.mark.parametrize("regime", ["unit", "wide", "confident", "confident_wrong"])
def test_what_u_multiplies_covers_logits_rounded_to_float32(regime):
    # Logits off by u M with the worst signs move loss and gradients by u N at most, to first order.
    sample, options = drawn("none", regime, shape=Shape(40, 10), seed=1)
    inputs = dict(sample.named)
    rows = oracle.ORACLE.evaluate(inputs, options, sample.gradients)
    logits, magnitude = oracle.projected(inputs)
    generator = torch.Generator().manual_seed(0)
    for _ in range(8):
        signs = torch.randint(0, 2, logits.shape, generator=generator) * 2 - 1
        moved = logits + 2.0**-24 * magnitude * signs
        leaf = moved.requires_grad_(True)
        losses = torch.nn.functional.cross_entropy(leaf, inputs["target"], reduction="none")
        (slope,) = torch.autograd.grad(losses.sum(), leaf)
        off = np.abs(losses.detach().numpy() - rows.losses)
        assert (off <= 1.01 * 2.0**-24 * rows.sensitivities + 1e-15).all()
        products = rows.shared["linear_weight"]
        assert (np.abs(slope.numpy() - products.left) <= 1.01 * 2.0**-24 * products.sensitivity + 1e-15).all()


def test_a_confident_label_is_not_forgiven_its_lost_gradient():
    # 1 - p of a label far ahead is lost in float32; what u multiplies shrinks with it.
    weight, hidden = torch.tensor([[1.0], [0.0]]).double(), torch.tensor([[20.0]]).double()
    inputs = {"hidden": hidden, "linear_weight": weight, "target": torch.tensor([0])}
    options = {**SUITE.options, "reduction": "sum"}
    rows = oracle.ORACLE.evaluate(inputs, options, ("hidden", "linear_weight"))
    exact = 1 / (1 + np.exp(20.0))
    assert -rows.gradients["hidden"][0, 0] == pytest.approx(exact, rel=1e-12)
    assert 2.0**-24 * 8 * rows.gradient_sensitivities["hidden"][0, 0] < exact / 100


def test_rows_that_do_not_count_add_nothing_whatever_they_hold():
    sample, options = drawn("mean", "poisoned", shape=Shape(9, 7))
    rows = oracle.ORACLE.evaluate(dict(sample.named), options, sample.gradients)
    truth = reduced(rows, options, None)
    assert np.isfinite(truth.gradients["linear_weight"]).all()
    kept = torch.arange(9) % 3 != 2
    fewer = {n: t if n in sample.shared else t[kept] for n, t in sample.named.items()}
    alone = reduced(oracle.ORACLE.evaluate(fewer, options, sample.gradients), options, None)
    bound = 2 * truth.rounding_of("linear_weight") * truth.gradient_sensitivities["linear_weight"]
    assert (np.abs(truth.gradients["linear_weight"] - alone.gradients["linear_weight"]) <= bound).all()


def test_no_rows_have_gradients_of_zero_in_the_shape_of_the_parameters():
    sample, options = drawn("biased")
    none = {n: t if n in sample.shared else t[:0] for n, t in sample.named.items()}
    truth = reduced(
        oracle.ORACLE.evaluate(none, options, sample.gradients), {**options, "reduction": "sum"}, None
    )
    assert truth.value == 0
    assert truth.gradients["linear_weight"].shape == (7, 4)
    assert not truth.gradients["linear_weight"].any()
    assert truth.gradients["linear_bias"].shape == (7,)


def test_the_bound_of_the_oracle_is_what_its_steps_add_up_to():
    assert oracle.ORACLE.rounding("B0") == oracle.ORACLE.roundoffs * FLOAT64_ROUNDOFF
    # Logits 10 + 1 for the bias over a count of at least 1.25, or 8 of the softmax; 10 of the last product.
    assert oracle.ORACLE.roundoffs >= max(11 / 1.25, 8) + 10
