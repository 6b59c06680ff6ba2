"""The truth about the absolute error as torch defines it: L = w |x - t|, slope w sign(x - t).

The weighted mean divides by the sum of the weights. The trap: at x = t every slope between -w and w is
right, and torch's 0 is only one of them.
"""

from __future__ import annotations

from typing import Any

import torch

from suites.oracles.residuals import Curve, residual_form


def exact(size: Any, threshold: Any, below: bool) -> tuple[Any, Any]:
    """Returns L and dL/dr as balls."""
    from flint import arb

    return size, arb(1)


ORACLE = residual_form(
    Curve(
        value=lambda size, threshold: size,
        # NaN where the residual is.
        slope=lambda size, threshold: torch.where(size.isnan(), size, 1.0),
        reach=lambda size, threshold: size,
        bend=lambda size, threshold: torch.zeros_like(size),
        exact=exact,
        kinked=lambda threshold: True,
    )
)
