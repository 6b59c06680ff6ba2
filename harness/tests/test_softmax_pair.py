"""Differences of logits and their maximum lose nothing, by the short sum or by the long one."""

from __future__ import annotations

from fractions import Fraction

import pytest
import torch

from harness.oracle import softmax_pair
from harness.oracle.pair import quick_two_sum


def rows_of(name: str) -> torch.Tensor:
    """Returns logits (R, C) in float64."""
    generator = torch.Generator().manual_seed(0)
    normal = torch.randn(64, 33, generator=generator, dtype=torch.float64)
    return {
        # Rows whose least logit is larger than their largest one, in size.
        "float32": normal.float().double() - 1,
        "float32 below 0": -normal.float().double().abs() - 2.0**-12,
        "bfloat16": normal.bfloat16().double() * 2.0**20,
        "float64": normal,
        "float64 below 0": -normal.abs() - 1e-9,
        "float64, large against small": -normal.abs() * 2.0 ** (30 * torch.arange(33.0).double() - 480),
        "subnormal": normal * 2.0**-1070,
        "next to the largest": normal.float().double() * 2.0**1021,
        "a maximum of 0": torch.cat([torch.zeros(64, 1, dtype=torch.float64), -normal.abs()], 1),
    }[name]


NAMES = (
    "float32",
    "float32 below 0",
    "bfloat16",
    "float64",
    "float64 below 0",
    "float64, large against small",
    "subnormal",
    "next to the largest",
    "a maximum of 0",
)


def lost(logits: torch.Tensor, found: softmax_pair.Pair) -> int:
    """Returns how many differences are off by anything at all."""
    exact = [[Fraction(x) - Fraction(max(row)) for x in row] for row in logits.tolist()]
    pairs = zip(found.high.tolist(), found.low.tolist(), exact, strict=True)
    return sum(
        Fraction(high) + Fraction(low) != truth
        for row in pairs
        for high, low, truth in zip(*row, strict=True)
    )


def ends(logits: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    return logits.amax(1, keepdim=True), logits.amin(1, keepdim=True)


@pytest.mark.parametrize("name", NAMES)
def test_a_difference_from_the_maximum_is_exact(name):
    logits = rows_of(name)
    assert lost(logits, softmax_pair.difference(logits, *ends(logits))) == 0


@pytest.mark.parametrize("name", ["float32", "float32 below 0", "bfloat16", "a maximum of 0"])
def test_stored_numbers_of_few_bits_take_the_short_sum(name, monkeypatch):
    monkeypatch.setattr(softmax_pair, "two_sum", None)
    logits = rows_of(name)
    assert lost(logits, softmax_pair.difference(logits, *ends(logits))) == 0


@pytest.mark.parametrize("name", ["float64 below 0", "float64, large against small"])
def test_the_short_sum_loses_what_the_long_one_keeps(name):
    logits = rows_of(name)
    assert lost(logits, quick_two_sum(-ends(logits)[0], logits)) > 0
