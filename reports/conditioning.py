"""How far off, in a number that means something where the exact value is near 0: err / max(ulp, u N).

An error in ulp is relative to the exact value. Where that value is 0 to within the rounding of the inputs
(the cosine distance of two equal vectors), 10^306 ulp may be a perfect answer. N is what the strict rule
allows for: u N is what one rounding of the inputs may change (A3, A5), so err / (u N) stays small there.
Per case the smaller of the two is taken, and the worst over the cases; candidates are ordered by it. The
trap: each of the two is a maximum over entries, so their minimum bounds the true one from above; and an
error is told in u N only where nobody was warned of it. A gradient of 0 beside an exact 10^-18 is near zero
as well, but no rounding of the inputs explains it (8.8 x 10^15 ulp, 2.2 x 10^14 u N): it stays in ulp, is
said to have no digit right, and stands beside the worst error of the cases without a warning.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

from harness import units

# An error in ulp, and the same error over u N + w/2.
OVER_INPUTS = {"loss_ulps": "loss_eta_shift", "gradient_ulps": "gradient_eta"}
_DIGITS = {"float64": 53, "float32": 24, "bfloat16": 8, "float16": 11}
# Two decimal digits of an answer gone, and ten times as many ulp as u N: told in u N.
_MANY, _TIMES = 100.0, 10.0
MEANING = (
    "u N is what one rounding of the inputs may change: where the exact value is near 0 an answer that is "
    "off by a few u N is as good as the inputs allow, however many ulp that is."
)


def conditioned(numbers: Mapping[str, float], name: str, error: float | None) -> float | None:
    """Returns the smaller of an error in ulp and the same error in u N; NaN, infinities and None stay."""
    other = numbers.get(OVER_INPUTS[name])
    if error is None or other is None or not (math.isfinite(error) and math.isfinite(other)):
        return error
    return min(error, other)


def told_in_inputs(ulps: float | None, over_inputs: float | None) -> bool:
    """Tells whether an error without a warning is told in u N: many ulp, and far fewer u N."""
    if ulps is None or over_inputs is None or not (math.isfinite(ulps) and math.isfinite(over_inputs)):
        return False
    return ulps > _MANY and ulps > _TIMES * over_inputs


def lost(ulps: float, dtype: str) -> bool:
    """Tells whether so many ulp leave no digit of the value: 2^p and more in a dtype of p digits."""
    return ulps >= 2.0 ** _DIGITS.get(dtype, 53)


def digitless(ulps: float, dtype: str) -> bool:
    """Tells whether an error is half as large as its value or larger, so that no digit of it is right."""
    return ulps >= 2.0 ** (_DIGITS.get(dtype, 53) - 1)


def inputs_words(ulps: float, over_inputs: float, dtype: str) -> str:
    """Returns an error in u N with its ulp, e.g. "1.3 u N, within what ... allows (1.8×10⁵ ulp)"."""
    aside = "the exact value is near 0" if lost(ulps, dtype) else units.ulps(ulps)
    return f"{units.number(over_inputs, 2)} u N, within what the inputs' conditioning allows ({aside})"
