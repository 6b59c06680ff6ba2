"""Exact reduction of oracle rows: one rounding at the end, classes decided before any arithmetic.

`math.fsum` returns the correctly rounded sum of float64 terms (Shewchuk 1997, "Adaptive precision
floating-point arithmetic", algorithm of the partials). The trap: fsum raises OverflowError when a
partial overflows and ValueError on inf - inf, so non-finite terms are decided first and large ones
are scaled by a power of two. Pairs (high, low) of float64 stand for their unevaluated sum; the low part of
a number that is not finite is 0.
"""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


def exact_sum(terms: Array) -> float:
    """Returns the correctly rounded sum; NaN for a NaN term or for inf - inf."""
    if np.isnan(terms).any():
        return math.nan
    infinite = terms[np.isinf(terms)]
    if infinite.size:
        return float(infinite[0]) if (infinite == infinite[0]).all() else math.nan
    try:
        return math.fsum(terms.tolist())
    except OverflowError:
        # 2^-128 leaves room for 2^128 terms of the largest finite number.
        return math.ldexp(1.0, 128) * math.fsum((terms * 2.0**-128).tolist())


def quotient(numerator: float, denominator: float) -> float:
    """Returns the quotient in the extended reals; 0/0 is NaN and nothing is raised."""
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return float(np.float64(numerator) / np.float64(denominator))


def exact_pair_sum(terms: Array, tails: Array | None) -> tuple[float, float]:
    """Returns the sum of terms and tails as a pair, each part correctly rounded."""
    both = terms if tails is None else np.concatenate([terms.reshape(-1), tails.reshape(-1)])
    high = exact_sum(both)
    if not math.isfinite(high):
        return high, 0.0
    return high, exact_sum(np.append(both, -high))


def pair_quotient(numerator: tuple[float, float], denominator: tuple[float, float]) -> tuple[float, float]:
    """Returns the quotient of two pairs as a pair, each part correctly rounded; 0/0 is NaN.

    What rounds beyond the largest float64 is an infinity, as the rounded high parts alone would not tell.
    """
    if not (math.isfinite(numerator[0]) and math.isfinite(denominator[0])) or denominator[0] == 0:
        return quotient(numerator[0], denominator[0]), 0.0
    exact = (Fraction(numerator[0]) + Fraction(numerator[1])) / (
        Fraction(denominator[0]) + Fraction(denominator[1])
    )
    try:
        high = float(exact)
    except OverflowError:
        return (math.inf if exact > 0 else -math.inf), 0.0
    if high == 0:
        # A fraction has no sign of zero.
        return quotient(numerator[0], denominator[0]), float(exact)
    return high, float(exact - Fraction(high))


def scaled_pair(high: Array, low: Array, factor: Array, factor_tail: float) -> tuple[Array, Array]:
    """Returns pairs (R, ...) times one factor per row (R,) with a common tail, as pairs."""
    import torch

    from harness.oracle.elementary import mended
    from harness.oracle.pair import Pair, finite_low, product

    shape = (-1, *([1] * (high.ndim - 1)))
    rows = torch.from_numpy(np.ascontiguousarray(factor)).reshape(shape)
    scaled = product(
        Pair(torch.from_numpy(high), torch.from_numpy(low)),
        Pair(rows, torch.full_like(rows, factor_tail)),
    )
    # Infinite slopes have no error terms.
    scaled = mended(torch.from_numpy(high) * rows, scaled)
    return scaled.high.numpy(), finite_low(scaled).numpy()
