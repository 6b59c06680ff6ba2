"""The truth about the squared error as torch defines it: L = w (x - t)^2, slope 2 w (x - t).

The weighted mean divides by the sum of the weights. The trap: the square overflows and underflows at the
root of the range, and there an infinity or a 0 is right.
"""

from __future__ import annotations

from suites.oracles.residuals import Curve, residual_form

ORACLE = residual_form(
    Curve(
        value=lambda size, threshold: size * size,
        slope=lambda size, threshold: 2 * size,
        reach=lambda size, threshold: 2 * (size * size),
        bend=lambda size, threshold: 2 * size,
        exact=lambda size, threshold, below: (size * size, 2 * size),
        kinked=lambda threshold: False,
    )
)
