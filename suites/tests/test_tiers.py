"""Every family answers float64 in pairs; that they keep their bound is for `test_certified.py`."""

from __future__ import annotations

import numpy as np
import pytest

from harness.discovery import Selection, discover
from harness.inputs import draw, element_options
from harness.oracle.closed_form import ClosedForm
from harness.sample import Shape
from harness.trial import Case
from suites.third_party.families import info_nce, robust, sparse

SUITES = {
    **discover(Selection()).suites,
    **{suite.name: suite for suite in (info_nce.SUITE, robust.SUITE, sparse.SUITE)},
}


@pytest.mark.parametrize("name", SUITES)
def test_every_variant_and_regime_is_answered_in_pairs(name):
    suite = SUITES[name]
    assert isinstance(suite.oracle, ClosedForm)
    assert suite.oracle.tiers() == ("B0", "B1")
    finer = 0
    for variant in suite.variants:
        for regime in suite.regimes:
            shape = regime.shape(Shape(4, 3))
            case = Case(name, variant.name, regime.name, "float64", "cpu", *shape, 1)
            sample, options = draw(case, suite, seed=0)
            inputs = {**sample.in_rows(), **element_options(sample, options)}
            truth = suite.oracle.evaluate(inputs, options, sample.gradients, tier="B1")
            assert truth.tier == "B1"
            plain = suite.oracle.evaluate(inputs, options, sample.gradients)
            np.testing.assert_array_equal(truth.sensitivities, plain.sensitivities)
            for shared, products in truth.shared.items():
                np.testing.assert_array_equal(products.sensitivity, plain.shared[shared].sensitivity)
            tails = [truth.loss_tails, *truth.gradient_tails.values()]
            tails += [products.left_tail for products in truth.shared.values()]
            assert all(np.isfinite(tail).all() for tail in tails)
            finer += any(tail.any() for tail in tails)
    # A selection of one's inputs has nothing to round.
    assert finer or name in ("nll",)
