"""The truth about smooth L1 as torch defines it, with r = |x - t| and beta >= 0.

L = r^2 / (2 beta) for r < beta, r - beta / 2 otherwise; slope r / beta or 1, times the sign of x - t. At
beta = 0 it is the absolute error, kink included. The trap: r * r / beta overflows and underflows where
L does not (beta = 2e20, r = 1e20 in float32), so r is divided by beta first.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from suites.oracles.residuals import Curve, residual_form


def value(size: Tensor, beta: float) -> Tensor:
    """Returns L (R,); at beta = 0 no entry lies below the threshold."""
    share = size / beta if beta else torch.zeros_like(size)
    return torch.where(size < beta, 0.5 * size * share, size - beta / 2)


def slope(size: Tensor, beta: float) -> Tensor:
    """Returns dL/dr (R,), NaN where r is."""
    share = size / beta if beta else torch.zeros_like(size)
    return torch.where(size < beta, share, torch.where(size.isnan(), size, 1.0))


def reach(size: Tensor, beta: float) -> Tensor:
    """Returns |r dL/dr| + |beta dL/dbeta| (R,)."""
    return torch.where(size < beta, 3 * value(size, beta), size + beta / 2)


def bend(size: Tensor, beta: float) -> Tensor:
    """Returns |r d2L/dr2| + |beta d2L/drdbeta| (R,)."""
    return torch.where(size < beta, 2 * slope(size, beta), 0.0)


def exact(size: Any, beta: Any, below: bool) -> tuple[Any, Any]:
    """Returns L and dL/dr as balls."""
    from flint import arb

    return (size * size / (2 * beta), size / beta) if below else (size - beta / 2, arb(1))


ORACLE = residual_form(
    Curve(
        value=value,
        slope=slope,
        reach=reach,
        bend=bend,
        exact=exact,
        kinked=lambda beta: beta == 0,
        threshold="beta",
    )
)
