"""Every family answers float64 in pairs, on one thread; that they keep their bound: `test_certified.py`."""

from __future__ import annotations

from contextlib import nullcontext

import numpy as np
import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from harness.calling import torch_state_kept
from harness.discovery import Selection, discover
from harness.inputs import draw, element_options
from harness.oracle import closed_form, in_pairs
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


class OnSeveralThreads(TorchDispatchMode):
    """Keeps the names of operators that run where torch may take several threads, or while it compiles."""

    def __init__(self):
        super().__init__()
        self.names = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        name = func.overloadpacket._qualified_op_name.removeprefix("aten::")
        found = func(*args, **(kwargs or {}))
        # `Tensor.numpy` of a tensor of inference mode asks for what it has already.
        as_it_was = name == "to" and found.data_ptr() == args[0].data_ptr()
        if (torch.get_num_threads() != 1 or torch.compiler.is_compiling()) and not as_it_was:
            self.names.add(name)
        return found


# Room, views and pieces put together: no arithmetic.
NOTHING_COMPUTED = {
    "cat",
    "detach",
    "empty",
    "expand",
    "lift_fresh",
    "ones",
    "resolve_conj",
    "resolve_neg",
    "unbind",
    "zeros",
}


def on_several_threads(suite, tier):
    variant, regime = suite.variants[0], suite.regimes[0]
    case = Case(suite.name, variant.name, regime.name, "float64", "cpu", *regime.shape(Shape(4, 3)), 1)
    sample, options = draw(case, suite, seed=0)
    inputs = {**sample.in_rows(), **element_options(sample, options)}
    with torch_state_kept():
        torch.set_num_threads(2)
        with OnSeveralThreads() as seen:
            suite.oracle.evaluate(inputs, options, sample.gradients, tier=tier)
        assert torch.get_num_threads() == 2
    return seen.names - NOTHING_COMPUTED


@pytest.mark.parametrize("tier", ["B0", "B1"])
@pytest.mark.parametrize("name", SUITES)
def test_an_oracle_computes_on_one_thread_and_is_never_compiled(name, tier):
    assert on_several_threads(SUITES[name], tier) == set()


@pytest.mark.parametrize(("tier", "module"), [("B0", closed_form), ("B1", in_pairs)])
def test_an_oracle_without_the_pin_is_seen(monkeypatch, tier, module):
    monkeypatch.setattr(module, "one_thread", nullcontext)
    assert "sub" in on_several_threads(SUITES["cross_entropy"], tier)
