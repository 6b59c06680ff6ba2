"""Pairs of float64 drawn over wide ranges, as Arb balls, and how far a result is off."""

from __future__ import annotations

import math

import torch
from flint import arb

from harness.oracle.pair import Pair

SMALLEST = 2.0**-1074


def drawn(count, low, high, seed=0, *, tails=True):
    """Returns pairs (1, count) of both signs whose magnitudes are log-uniform from 2^low to 2^high."""
    generator = torch.Generator().manual_seed(seed)
    exponents = low + (high - low) * torch.rand(1, count, generator=generator, dtype=torch.float64)
    signs = torch.randint(0, 2, (1, count), generator=generator) * 2 - 1
    top = torch.exp2(exponents) * signs
    rest = (torch.rand(1, count, generator=generator, dtype=torch.float64) - 0.5) * 2.0**-53
    return Pair(top, top * rest * tails)


def balls(values):
    """Returns the exact numbers as balls."""
    pairs = zip(values.high.reshape(-1).tolist(), values.low.reshape(-1).tolist(), strict=True)
    return [arb(high) + arb(low) for high, low in pairs]


def worst(found, exact, scales=None, floor=0.0):
    """Returns log2 of the largest relative error, or of the error over `scales`."""
    largest = arb(0)
    for got, ball, scale in zip(balls(found), exact, scales or exact, strict=True):
        error = abs(got - ball)
        if not error <= floor:
            largest = max(largest, error / abs(scale), key=lambda b: float(b.mid()))
    return math.log2(float(largest.mid())) if largest > 0 else -math.inf
