"""The truth about the Huber loss as torch defines it, with r = |x - t| and delta > 0.

L = r^2 / 2 for r < delta, delta (r - delta / 2) otherwise; slope r or delta, times the sign of x - t.
The weighted mean divides by the number of entries, unlike that of the squared error. The trap: the
threshold is on |x - t|; a signed one sends every residual below -delta to the quadratic branch.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from suites.oracles.residuals import Curve, residual_form


def value(size: Tensor, delta: float) -> Tensor:
    """Returns L (R,)."""
    return torch.where(size < delta, size * (size / 2), delta * (size - delta / 2))


def slope(size: Tensor, delta: float) -> Tensor:
    """Returns dL/dr (R,), NaN where r is."""
    return size.clamp(max=delta)


def reach(size: Tensor, delta: float) -> Tensor:
    """Returns |r dL/dr| + |delta dL/ddelta| (R,)."""
    return torch.where(size < delta, size * size, delta * (size + (size - delta)))


def bend(size: Tensor, delta: float) -> Tensor:
    """Returns |r d2L/dr2| + |delta d2L/drddelta| (R,)."""
    return size.clamp(max=delta)


def exact(size: Any, delta: Any, below: bool) -> tuple[Any, Any]:
    """Returns L and dL/dr as balls."""
    return (size * size / 2, size) if below else (delta * (size - delta / 2), delta)


ORACLE = residual_form(
    Curve(
        value=value,
        slope=slope,
        reach=reach,
        bend=bend,
        exact=exact,
        kinked=lambda delta: False,
        threshold="delta",
    )
)
