"""The float64 closed forms of four hinge families are certified against Arb balls and against autograd.

Held on every variant and regime: |B0 - exact| <= roundoffs 2^-53 N for the loss and every gradient entry.
The fault that a certificate exists for is planted: a relative error of 1e-9 in losses or in slopes.
"""

from __future__ import annotations

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
from suites.cosine_embedding import SUITE as COSINE
from suites.hinge_embedding import SUITE as HINGE
from suites.margin_ranking import SUITE as RANKING
from suites.triplet_margin import SUITE as TRIPLET

SUITES = {suite.name: suite for suite in (COSINE, TRIPLET, RANKING, HINGE)}
FAMILIES = pytest.mark.parametrize("suite", SUITES.values(), ids=SUITES)
FEW = (Shape(6, 7), Shape(4, 2), Shape(3, 1))


@pytest.fixture(autouse=True, scope="module")
def _on_one_thread():
    with one_thread():
        yield


@FAMILIES
def test_every_entry_lies_within_the_stated_bound_of_its_ball(suite):
    for certificate in certificates([suite], share=0.5, shapes=FEW, dtypes=("float64", "float32", "float16")):
        assert certificate.misses == ()
        assert certificate.entries > 1000


@FAMILIES
def test_a_relative_error_of_1e_9_is_missed_by_no_certificate(suite):
    form = suite.oracle
    off_rows = replace(form, rows=lambda t: form.rows(t) * (1 + 1e-9))
    off_slopes = replace(form, gradient=lambda t: {n: g * (1 - 1e-9) for n, g in form.gradient(t).items()})
    for wrong, of_loss in ((off_rows, True), (off_slopes, False)):
        for certificate in certificates(
            [replace(suite, oracle=wrong)], share=0.2, shapes=FEW[:1], dtypes=("float32",)
        ):
            seen = {miss.tensor for miss in certificate.misses}
            assert seen
            assert ("loss" in seen) is of_loss


@FAMILIES
def test_closed_forms_are_those_of_native_under_autograd_in_float64(suite):
    for variant in suite.variants:
        sample, options = draw(
            Case(suite.name, variant.name, suite.regimes[0].name, "float64", "cpu", 64, 10, 1), suite, seed=0
        )
        leaves = {n: t.clone().requires_grad_(n in sample.gradients) for n, t in sample.named.items()}
        bound = bind(suite.baseline, {**options, "reduction": "sum"}, {**variant.options, "reduction": "sum"})
        loss = bound.loss(tuple(leaves.values()))
        slopes = torch.autograd.grad(loss, [leaves[n] for n in sample.gradients])
        truth = suite.oracle.evaluate(sample.in_rows(), options, sample.gradients)
        assert truth.losses.sum() == pytest.approx(float(loss.detach()), rel=1e-13)
        for name, slope in zip(sample.gradients, slopes, strict=True):
            expected = slope.numpy().reshape(truth.gradients[name].shape)
            assert np.allclose(truth.gradients[name], expected, rtol=1e-11, atol=1e-13), name
