"""The closed form of the negative log-likelihood is certified against Arb balls and against autograd.

The fault that a certificate exists for is planted: a relative error of 1e-9 in losses or in slopes, and a
loss that looks at a neighbour of its label.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from harness.calling import bind
from harness.inputs import draw
from harness.oracle.certification import certificates
from harness.oracle.chunks import one_thread
from harness.sample import Shape
from harness.trial import Case
from suites.nll import SUITE
from suites.oracles.nll import ORACLE

FEW = (Shape(6, 7), Shape(4, 2), Shape(3, 1))


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread():
    with one_thread():
        yield


def test_every_entry_lies_within_the_stated_bound_of_its_ball():
    for certificate in certificates([SUITE], share=0.5, shapes=FEW, dtypes=("float64", "bfloat16")):
        assert certificate.misses == ()
        assert certificate.entries > 5000


@pytest.mark.parametrize("fault", ["rows", "gradient", "terms"])
def test_a_planted_error_is_missed_by_no_certificate(fault):
    planted = {
        "rows": lambda t: ORACLE.rows(t) * (1 + 1e-9),
        "gradient": lambda t: {n: g * (1 - 1e-9) for n, g in ORACLE.gradient(t).items()},
        "terms": lambda inputs, options: ORACLE.terms(
            {**inputs, "log_probabilities": inputs["log_probabilities"].roll(1, 1)}, options
        ),
    }
    wrong = replace(SUITE, oracle=replace(ORACLE, **{fault: planted[fault]}))
    for certificate in certificates([wrong], share=0.2, shapes=FEW[:1], dtypes=("float32",)):
        seen = {miss.tensor for miss in certificate.misses}
        assert seen == ({"log_probabilities"} if fault == "gradient" else {"loss"})


@pytest.mark.parametrize("variant", [variant.name for variant in SUITE.variants])
def test_the_closed_form_is_that_of_native_under_autograd_in_float64(variant):
    case = Case("nll", variant, "unit_normal", "float64", "cpu", 64, 10, 1)
    sample, options = draw(case, SUITE, seed=0)
    leaves = {n: t.clone().requires_grad_(n in sample.gradients) for n, t in sample.named.items()}
    given = {**SUITE.variant(variant).options, "reduction": "sum"}
    loss = bind(SUITE.baseline, {**options, "reduction": "sum"}, given).loss(tuple(leaves.values()))
    (slope,) = torch.autograd.grad(loss, leaves["log_probabilities"])
    truth = ORACLE.evaluate(sample.in_rows(), options, sample.gradients)
    assert truth.losses.sum() == pytest.approx(float(loss.detach()), rel=1e-13)
    rows = sample.replaced(log_probabilities=slope).in_rows()["log_probabilities"]
    assert np.allclose(truth.gradients["log_probabilities"], rows, rtol=1e-15, atol=0)


def row_of(x, label, **options):
    inputs = {"log_probabilities": torch.tensor([x]).double(), "target": torch.tensor([label])}
    truth = ORACLE.evaluate(inputs, {**SUITE.options, **options}, ("log_probabilities",))
    return float(truth.losses[0]), truth.gradients["log_probabilities"][0].tolist()


def test_what_stands_beside_the_label_does_not_count_and_a_forbidden_label_is_infinite():
    assert row_of([-1.0, math.nan, -math.inf], 0) == (1.0, [-1.0, 0.0, 0.0])
    assert row_of([-math.inf, 0.0], 0) == (math.inf, [-1.0, 0.0])
    assert math.isnan(row_of([math.nan, 0.0], 0)[0])


def test_a_row_that_is_ignored_or_weighs_nothing_costs_nothing_whatever_it_holds():
    for x in (math.nan, math.inf, -math.inf):
        assert row_of([x, x], 1, ignore_index=1) == (0.0, [0.0, 0.0])
        assert row_of([x, x], 1, weight=torch.tensor([1.0, 0.0])) == (0.0, [0.0, 0.0])
