"""What the suites l1, mse, smooth_l1 and huber find: silent controls, and every known truth.

Blocks are opened in process. A control with a finding means that the harness accuses falsely; a known
defect or a taught mistake that goes unseen means that it is blind.
"""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from harness.block import OpenBlock
from harness.calling import admission
from harness.probes.accuracy import accuracy
from harness.probes.overflow import overflow
from harness.trial import DTYPES, Case
from suites.huber import SUITE as HUBER
from suites.l1 import SUITE as L1
from suites.mse import SUITE as MSE
from suites.smooth_l1 import SUITE as SMOOTH_L1

SUITES = (L1, MSE, SMOOTH_L1, HUBER)
MISTAKES = [(suite, item) for suite in SUITES for item in suite.implementations if item.known_bad]


def opened(suite, variant="mean", regime="unit_normal", dtype="float32", seed=0):
    return OpenBlock(suite, Case(suite.name, variant, regime, dtype, "cpu", 7, 5, 1), seed)


def serious(answer):
    assert answer.status == "ok", answer.reason
    return {(f.kind, f.group) for f in answer.findings if f.severity != "note"}


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
def test_clean_controls_have_no_finding_above_note(suite, seed):
    accused, asked = {}, 0
    for variant in suite.variants:
        for regime in suite.regimes:
            for dtype in DTYPES:
                block = opened(suite, variant.name, regime.name, dtype, seed)
                for control in (item for item in suite.implementations if item.control):
                    if admission(suite, control, block.case) is None:
                        asked += 1
                        if found := serious(accuracy(block, control.name)):
                            accused[block.case.id, control.name] = found
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


@pytest.mark.parametrize("suite", [SMOOTH_L1, HUBER], ids=lambda suite: suite.name)
@pytest.mark.parametrize("dtype", DTYPES)
def test_a_signed_threshold_is_an_error_in_value_and_gradient(suite, dtype):
    # Mutant m21.
    found = serious(accuracy(opened(suite, regime="outliers", dtype=dtype), "signed_threshold"))
    assert "loss" in {group for _, group in found}
    assert any(group.startswith("prediction/") for _, group in found)


@pytest.mark.parametrize("suite", SUITES, ids=lambda suite: suite.name)
@pytest.mark.parametrize("dtype", ["float16", "bfloat16"])
def test_native_is_right_on_every_finite_16_bit_residual(suite, dtype):
    # Numerics E4: 63,488 values in float16, 65,280 in bfloat16.
    numbers = overflow(opened(suite, dtype=dtype), "native").numbers
    counted = {k: v for k, v in numbers.items() if k.startswith("exhaustive_")}
    assert counted.pop("exhaustive_prediction_inputs") == {"float16": 63488, "bfloat16": 65280}[dtype]
    assert {k for k in counted if not k.endswith(("_flushed", "_dead_loss"))} == set()


def test_smooth_l1_squares_before_it_divides_and_its_gradient_is_right():
    # Catalogue row 33.
    d, t = torch.tensor([1e20], requires_grad=True), torch.zeros(1)
    loss = F.smooth_l1_loss(d, t, beta=2e20)
    loss.backward()
    assert torch.isinf(loss)
    assert float(d.grad) == 0.5
    assert float(F.smooth_l1_loss(torch.tensor([1e-31]), t, beta=1e-30)) == 0.0
    found = serious(accuracy(opened(SMOOTH_L1, "beta_huge"), "native"))
    assert found == {("spurious_overflow", "loss")}
    assert serious(accuracy(opened(SMOOTH_L1, "beta_huge"), "masked_before")) == set()


@pytest.mark.parametrize(("suite", "leaks"), [(L1, False), (MSE, True), (SMOOTH_L1, True), (HUBER, True)])
def test_entries_masked_after_the_loss_leak_their_nan_into_the_gradient(suite, leaks):
    # Catalogue row 36.
    block = opened(suite, "missing")
    kinds = {kind for kind, _ in serious(accuracy(block, "masked_after"))}
    assert kinds == ({"nan_leak"} if leaks else set())
    assert serious(accuracy(block, "masked_before")) == set()


def test_integers_wrap_around_in_the_absolute_error_and_raise_in_the_squared_one():
    # Catalogue row 37.
    x, t = torch.tensor([100], dtype=torch.int8), torch.tensor([-100], dtype=torch.int8)
    assert int(F.l1_loss(x, t, reduction="sum")) == 56
    with pytest.raises(RuntimeError):
        F.mse_loss(x, t)
