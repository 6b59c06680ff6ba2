"""What the suites poisson_nll and gaussian_nll find: silent controls, and every known truth.

Blocks are opened in process. A control with a finding means that the harness accuses falsely; a known
defect or a taught mistake that goes unseen means that it is blind.
"""

from __future__ import annotations

import warnings
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from harness import Implementation
from harness.block import OpenBlock
from harness.calling import admission
from harness.probes.accuracy import accuracy
from harness.probes.invalid_input import invalid_input
from harness.probes.overflow import overflow
from harness.trial import DTYPES, Case
from suites.gaussian_nll import SUITE as GAUSSIAN
from suites.implementations.poisson_nll import deviance
from suites.poisson_nll import SUITE as POISSON

SUITES = (POISSON, GAUSSIAN)
STABLE = {"poisson_nll": "deviance", "gaussian_nll": "standardised"}
MISTAKES = [(suite, item) for suite in SUITES for item in suite.implementations if item.known_bad]


def opened(suite, variant="mean", regime="", dtype="float32", seed=0):
    regime = regime or suite.regimes[0].name
    return OpenBlock(suite, Case(suite.name, variant, regime, dtype, "cpu", 7, 5, 1), seed)


def serious(answer):
    assert answer.status == "ok", answer.reason
    return {(f.kind, f.group) for f in answer.findings if f.severity != "note"}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_clean_controls_and_the_stable_form_have_no_finding_above_note(suite, seed):
    accused, asked = {}, 0
    silent = [i for i in suite.implementations if i.control or i.name == STABLE[suite.name]]
    for variant in suite.variants:
        for place, regime in enumerate(suite.regimes):
            # Two formats a seed: each of the four meets every cell in five seeds, twice or more.
            for dtype in (DTYPES[(place + seed) % 4], DTYPES[(place + seed + 2) % 4]):
                block = opened(suite, variant.name, regime.name, dtype, seed)
                for item in silent:
                    if admission(suite, item, block.case) is None:
                        asked += 1
                        if found := serious(accuracy(block, item.name)):
                            accused[block.case.id, item.name] = found
    assert accused == {}
    assert asked > 4 * len(suite.regimes) * (len(suite.variants) - 1)


@pytest.mark.parametrize(("suite", "mistake"), MISTAKES, ids=lambda item: item.name)
def test_every_mistake_is_an_error_somewhere_and_says_what_to_write(suite, mistake):
    severities = {
        f.severity
        for variant in mistake.contract.variants
        for f in accuracy(opened(suite, variant), mistake.name).findings
    }
    assert "error" in severities
    assert len(mistake.known_bad) > 40


def counts(suite, name, dtype):
    numbers = overflow(opened(suite, dtype=dtype), name).numbers
    return {k: int(v) for k, v in numbers.items() if k.startswith("exhaustive_")}


@pytest.mark.parametrize(
    ("dtype", "inputs", "dead"), [("float16", 63488, 5120), ("bfloat16", 65280, 3451)], ids=lambda v: str(v)
)
def test_native_loses_the_slope_of_a_count_of_one_next_to_its_optimum(dtype, inputs, dead):
    # e^x rounds to 1 there, and e^x - 1 to 0: every normal |x| below 2^-12 or 2^-9 about.
    found = counts(POISSON, "native", dtype)
    assert found["exhaustive_prediction_inputs"] == inputs
    assert found["exhaustive_prediction_dead_gradient"] == pytest.approx(dead, rel=0.02)
    assert found["exhaustive_empty_inputs"] == inputs
    assert counts(POISSON, "deviance", dtype) == {
        "exhaustive_prediction_inputs": inputs,
        "exhaustive_empty_inputs": inputs,
    }


@pytest.mark.parametrize(
    ("dtype", "inputs", "broken"), [("float16", 63488, 3740), ("bfloat16", 65280, 464)], ids=lambda v: str(v)
)
def test_a_square_overflows_before_it_is_halved_and_a_halved_residual_does_not(dtype, inputs, broken):
    found = counts(GAUSSIAN, "native", dtype)
    assert found["exhaustive_prediction_spurious_overflow"] == broken
    stable = counts(GAUSSIAN, "standardised", dtype)
    assert stable["exhaustive_prediction_inputs"] == inputs
    assert "exhaustive_prediction_spurious_overflow" not in stable


def test_terms_of_a_large_count_cancel_in_float32_and_not_in_the_deviance():
    block = opened(POISSON, "full", "fitted")
    assert serious(accuracy(block, "native")) == {("inaccurate", "loss")}
    assert serious(accuracy(block, "deviance")) == set()
    x, t = torch.tensor([13.8125]), torch.tensor([1e6])
    native = float(F.poisson_nll_loss(x, t, full=True))
    stable = float(deviance(x, t, full=True))
    # By Arb; a rounding of log t in float32 is 5e-7, and what it changes t (e^d - 1) = 3000 times that.
    assert stable == pytest.approx(12.353879, abs=2e-3)
    assert abs(native - 12.353879) > 0.5


def test_a_rate_of_zero_is_nan_to_torch_where_nothing_was_counted():
    block = opened(POISSON, "mean", "zero_rate")
    assert serious(accuracy(block, "native")) == {("spurious_nan", "loss")}
    rate, count = torch.zeros(2, dtype=torch.float16), torch.tensor([0.0, 1.0], dtype=torch.float16)
    losses = F.poisson_nll_loss(rate, count, log_input=False, reduction="none")
    assert bool(losses[0].isnan())
    assert bool(losses[1].isinf())


def test_stirlings_masked_term_leaves_nan_in_the_slope_of_a_count_of_zero():
    count = torch.zeros(1, requires_grad=True)
    F.poisson_nll_loss(torch.tensor([0.5]), count, full=True).backward()
    assert bool(count.grad.isnan())
    found = serious(accuracy(opened(POISSON, "both_gradients", "rare"), "native"))
    assert found == {("spurious_nan", "target/all")}


def test_the_square_of_a_residual_overflows_before_it_is_divided_by_the_variance():
    block = opened(GAUSSIAN, "mean", "huge")
    kinds = serious(accuracy(block, "native"))
    assert {("spurious_overflow", "loss"), ("spurious_overflow", "variance/all")} <= kinds
    assert serious(accuracy(block, "standardised")) == set()
    reached = overflow(opened(GAUSSIAN), "native").numbers["first_nonfinite_scale"]
    assert reached == pytest.approx(2.0**64, rel=2**-9)


def cut(prediction, target, variance, reduction="mean", full=False, eps=1e-6):
    return F.gaussian_nll_loss(
        prediction, target, variance.clamp(min=eps), full=full, eps=eps, reduction=reduction
    )


def test_a_clamp_that_autograd_sees_is_another_definition():
    suite = GAUSSIAN.extended(Implementation(cut))
    found = serious(accuracy(opened(suite, "eps_eighth", "tiny_variance"), "cut"))
    assert {group for _, group in found} == {"variance/all"}
    declared = replace(GAUSSIAN.implementation("clamped"), function=cut, name="declared")
    suite = GAUSSIAN.extended(declared)
    assert serious(accuracy(opened(suite, "eps_eighth", "tiny_variance"), "declared")) == set()


def test_one_variance_for_a_row_may_be_given_in_three_forms():
    x, t = torch.arange(6.0).reshape(2, 3), torch.zeros(2, 3)
    each = F.gaussian_nll_loss(x, t, torch.full((2, 3), 2.0), reduction="none")
    for given in (torch.full((2, 1), 2.0), torch.full((2,), 2.0), 2.0):
        assert torch.equal(F.gaussian_nll_loss(x, t, given, reduction="none"), each)
    with pytest.raises(ValueError, match="incorrect size"):
        F.gaussian_nll_loss(x, t, torch.full((3,), 2.0))


def test_a_negative_variance_is_refused_and_its_acceptance_seen():
    assert invalid_input(opened(GAUSSIAN), "native").findings == ()

    def careless(prediction, target, variance, reduction="mean"):
        v = variance.clamp(min=1e-6)
        return (0.5 * (v.log() + (prediction - target) ** 2 / v)).mean()

    suite = GAUSSIAN.extended(Implementation(careless))
    found = invalid_input(opened(suite), "careless").findings
    assert {(f.kind, f.group) for f in found} == {("accepts_invalid", "negative_variance")}


def test_the_legacy_pair_is_taken_by_the_older_likelihood_alone():
    # What the pair means to a module is in `test_legacy_reduction.py`.
    x, t = torch.tensor([[0.0, 1.0], [2.0, 3.0]]), torch.ones(2, 2)
    for size_average, reduce, expected in ((None, None, "mean"), (False, True, "sum"), (True, False, "none")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            got = F.poisson_nll_loss(x, t, size_average=size_average, reduce=reduce)
        assert torch.equal(got, F.poisson_nll_loss(x, t, reduction=expected))
    with pytest.raises(TypeError):
        nn.GaussianNLLLoss(size_average=True)
