"""Exact reduction of oracle rows: one rounding at the end, classes decided before any arithmetic.

`math.fsum` returns the correctly rounded sum of float64 terms (Shewchuk 1997, "Adaptive precision
floating-point arithmetic", algorithm of the partials). The trap: fsum raises OverflowError when a
partial overflows and ValueError on inf - inf, so non-finite terms are decided first and large ones
are scaled by a power of two.
"""

from __future__ import annotations

import math

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
