"""The error of a reduced loss over what a pairwise sum may cost (A6): flat for torch, growing for a loop."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest
import torch
import torch.nn.functional as F

from harness import Implementation
from harness.block import OpenBlock
from harness.metrics import FORMATS
from harness.observation import observe
from harness.probes.accuracy import numbers_of, reduction_eta
from harness.trial import Case
from suites.cross_entropy import SUITE


def sequential(logits, target):
    """Sums the rows' losses one after the other in the dtype itself, as a loop does."""
    rows = F.cross_entropy(logits.double(), target, reduction="none").to(logits.dtype)
    total = torch.zeros((), dtype=logits.dtype)
    for row in rows:
        total = total + row
    return total / len(rows)


def pairwise(logits, target):
    """Sums halves of halves in the dtype itself."""
    rows = F.cross_entropy(logits.double(), target, reduction="none").to(logits.dtype)
    while len(rows) > 1:
        rows = rows[::2] + rows[1::2]
    return rows[0] / len(logits)


def numbers(function, batch, *, variant="mean", dtype="bfloat16", regime="unit_normal"):
    family = SUITE.extended(Implementation(function, name="planted"))
    block = OpenBlock(family, Case("cross_entropy", variant, regime, dtype, "cpu", batch, 10, 1), 0)
    stand = block.standard("planted")
    seen = observe(block.bound("planted"), stand, dtype, "cpu", "accuracy")
    return numbers_of(seen, stand), seen, stand


def test_it_is_the_formula_in_exact_arithmetic():
    found, seen, stand = numbers(pairwise, 64)
    losses = [Fraction(float(value)) for value in stand.row_truth.losses]
    error = abs(Fraction(float(seen.loss)) - Fraction(float(stand.truth.value)))
    allowed = (2 + Fraction(math.log2(64))) * Fraction(1, 2**8) * sum(map(abs, losses)) / 64
    assert found["loss_eta_reduction"] == pytest.approx(float(error / allowed), rel=1e-12)


def test_a_sequential_sum_grows_with_the_rows_and_a_pairwise_one_does_not():
    growing = [numbers(sequential, batch)[0]["loss_eta_reduction"] for batch in (64, 1024, 4096)]
    flat = [numbers(pairwise, batch)[0]["loss_eta_reduction"] for batch in (64, 1024, 4096)]
    assert max(flat) < 1
    assert growing[0] < 1 < growing[1] < growing[2]


def test_an_unreduced_loss_has_none():
    block = OpenBlock(SUITE, Case("cross_entropy", "none", "unit_normal", "float32", "cpu", 8, 10, 1), 0)
    assert reduction_eta(1.0, block.standard(SUITE.baseline.name)) is None


def test_a_sum_is_not_divided():
    block = OpenBlock(SUITE, Case("cross_entropy", "sum", "unit_normal", "float32", "cpu", 8, 10, 1), 0)
    stand = block.standard(SUITE.baseline.name)
    allowed = 5 * FORMATS["float32"].roundoff * math.fsum(stand.row_truth.losses)
    assert reduction_eta(allowed, stand) == pytest.approx(1.0)


def test_an_empty_mean_has_none():
    block = OpenBlock(SUITE, Case("cross_entropy", "mean", "ignored_all", "float32", "cpu", 8, 10, 1), 0)
    assert reduction_eta(1.0, block.standard(SUITE.baseline.name)) is None
