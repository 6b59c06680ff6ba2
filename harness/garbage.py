"""Are these numbers that nobody computed? In 16 bits the error bound is too wide to see a forgotten column.

The bound beyond which an inaccuracy is an error grows with max(1, |y|): a slope of 1/1031 that a kernel left
at zero is far below it. Rounding in the dtype itself is no such excuse, for it is multiplied by the
sensitivity N of the entry. So garbage is what is off by more than 2 ulp + OPERATIONS (4 + log2 C) u N, in at
least FEWEST entries and one of SHARE in its group. The traps: where the truth is 0 so is N, and a rounding of
anything is garbage; and a form that cancels loses single entries next to a kink, which is an inaccuracy.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from harness.judge import Defect, Yardstick, judge
from harness.oracle.reduction import Array

# Intermediates of a textbook form are rounded a few times, each at the size of its sensitivity.
OPERATIONS = 4.0
FEWEST, SHARE = 4, 256


def sharpened(stick: Yardstick) -> Yardstick:
    """Returns a 16-bit yardstick whose errors begin where rounding in the dtype ends; others stay."""
    if stick.form.precision >= 24:
        return stick
    with np.errstate(invalid="ignore", over="ignore"):
        rounded = (stick.strict - 2 * stick.spacing) * (stick.form.roundoff / stick.form.arithmetic_roundoff)
        own = 2 * stick.spacing + OPERATIONS * rounded
    normal = np.abs(stick.truth) >= stick.form.smallest_normal
    return replace(stick, error=np.where(normal, np.fmin(stick.error, own), stick.error))


def garbage(stick: Yardstick, got: Array) -> tuple[Defect, ...]:
    """Returns the errors by a sharpened yardstick that are no matter of single entries, 16 bits only."""
    if stick.form.precision >= 24:
        return ()
    sizes = dict(
        zip(stick.groups, np.bincount(stick.labels.reshape(-1), minlength=len(stick.groups)), strict=True)
    )
    return tuple(
        defect
        for defect in judge(sharpened(stick), got).defects
        if defect.severity == "error" and defect.count >= max(FEWEST, sizes[defect.group] / SHARE)
    )
