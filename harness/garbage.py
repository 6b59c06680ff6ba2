"""Are these numbers that nobody computed? In 16 bits the error bound is too wide to see a forgotten column.

The bound beyond which an inaccuracy is an error grows with max(1, |y|): a slope of 1/1031 that a kernel left
at zero is far below it. Rounding in the dtype itself is no such excuse, for it is multiplied by the
sensitivity N of the entry. So garbage is what is off by more than 2 ulp + OPERATIONS (4 + log2 C) u N, in at
least FEWEST entries and one of SHARE in its group. The traps: where the truth is 0 so is N, and a rounding of
anything is garbage; and a form that cancels loses single entries, others in every call: the accuracy probe
tells them, a question about calls and shapes does not.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from harness.judge import Defect, Yardstick, judge
from harness.oracle.reduction import Array

# Intermediates of a textbook form are rounded a few times, each at the size of its sensitivity.
OPERATIONS = 4.0
# Seven columns behind the last whole block of 1031 are one of 147.
FEWEST, SHARE = 4, 200
# The answers of torch's own Poisson loss to two upstream gradients differ by more than an error in up to 12
# of 640 entries: products that cancel, each rounded (torch 2.13.0, seeds 0 to 4). An entry that is wrong by
# its full size is further off: at ten classes a slope of 1 has 35 error bounds of bfloat16, 280 of float16.
ROUNDED_SHARE, ROUNDED_BOUNDS = 32, 32.0
# At 3 x 1031 classes torch's own forms have up to 90 entries off by 1.1 to 2.3 bounds, and the Poisson loss
# two slopes lost by 3.7 (torch 2.13.0, seeds 3 and 4); a slope of 1 there is 18 bounds of bfloat16.
FEW_BOUNDS, FEW_ENTRIES = 4.0, 2


def sharpened(stick: Yardstick) -> Yardstick:
    """Returns a 16-bit yardstick whose errors begin where rounding in the dtype ends; others stay."""
    if stick.form.precision >= 24:
        return stick
    with np.errstate(invalid="ignore", over="ignore"):
        rounded = (stick.strict - 2 * stick.spacing) * (stick.form.roundoff / stick.form.arithmetic_roundoff)
        own = 2 * stick.spacing + OPERATIONS * rounded
    normal = np.abs(stick.truth) >= stick.form.smallest_normal
    return replace(stick, error=np.where(normal, np.fmin(stick.error, own), stick.error))


def coarse_loss(stick: Yardstick) -> Yardstick:
    """Returns a 16-bit yardstick of a loss of many rows or classes, whose errors begin at a quarter of it.

    The error bound grows with their logarithm: at 131,072 rows a mean of 0.105 may be 0.096 off in bfloat16.
    """
    if stick.form.precision >= 24:
        return stick
    quarter = np.fmax(stick.strict, np.abs(stick.truth) / 4)
    normal = np.abs(stick.truth) >= stick.form.smallest_normal
    return replace(stick, error=np.where(normal, np.fmin(stick.error, quarter), stick.error))


def garbage(stick: Yardstick, got: Array) -> tuple[Defect, ...]:
    """Returns the errors by a sharpened yardstick that are no matter of single entries, 16 bits only."""
    if stick.form.precision >= 24:
        return ()
    return tuple(
        defect
        for defect in judge(sharpened(stick), got).defects
        if defect.severity == "error" and defect.count >= FEWEST and not _rare(stick, defect, SHARE)
    )


def rounded(stick: Yardstick, defect: Defect) -> bool:
    """Tells whether 16-bit rounding explains a defect: up to ROUNDED_BOUNDS, in one of ROUNDED_SHARE entries.

    A form that subtracts is lost next to the zero of its slope, at other entries whenever anything is rounded
    elsewhere. NaN and infinities are no rounding.
    """
    sized = defect.times is not None and defect.times <= ROUNDED_BOUNDS
    return stick.form.precision < 24 and sized and _rare(stick, defect, ROUNDED_SHARE)


def few(stick: Yardstick, defect: Defect) -> bool:
    """Tells whether 16-bit rounding explains a defect at an edge: of one or two entries, or by FEW_BOUNDS.

    Zeros in place of a gradient are errors in a few of its entries only, so more of them are not excused.
    """
    small = defect.kind != "dead_gradient" and defect.times is not None and defect.times <= FEW_BOUNDS
    return (defect.count <= FEW_ENTRIES or small) and rounded(stick, defect)


def _rare(stick: Yardstick, defect: Defect, share: int) -> bool:
    """Tells whether a defect is in fewer than one of so many entries of its group."""
    group = stick.groups.index(defect.group)
    return defect.count * share < int((stick.labels == group).sum())
