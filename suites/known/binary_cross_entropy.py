"""What is known to be wrong with binary cross-entropy of probabilities as torch and others compute it.

Each entry was measured by the sweep itself. The trap: torch's value at 0 and 1 is its documented contract,
its gradient there is not, and they do not belong to one function.
"""

from __future__ import annotations

from dataclasses import replace

from harness import Known

HALF = ("bfloat16", "float16")

GRADIENT_FLOOR = Known(
    ("inaccurate", "saturated", "dead_gradient", "spurious_nan", "spurious_overflow"),
    probe="accuracy",
    group="probabilities/*",
    reason="(x - t) / max(x (1 - x), 1e-12): wrong below 1e-12, 0 at x = t = 1, and 0/0 in float16",
    upstream="pytorch#4867, pytorch#171327",
)
GRADIENT_LOST = replace(
    GRADIENT_FLOOR,
    regime=("calibrated", "halves", "sure*", "underflowing", "certain*", "nan_*", "recorded_*"),
    up_to=Known.ANY_SIZE,
)
GRADIENT_LOST_ON_LADDERS = replace(
    GRADIENT_FLOOR, probe="overflow", group=("ladder smallness", "exhaustive *"), up_to=Known.ANY_SIZE
)
FLOOR = (GRADIENT_FLOOR, GRADIENT_LOST, GRADIENT_LOST_ON_LADDERS)
ROUNDED_TARGET_SLOPE = Known(
    ("inaccurate", "edge_shape"),
    probe=("accuracy", "protocol"),
    dtype=HALF,
    group=("target/*", "a prime number of *"),
    reason="both logarithms of the target's slope are rounded to 16 bits before they are subtracted",
)
ZERO_TIMES_TARGET_SLOPE = Known(
    "spurious_nan",
    probe="accuracy",
    regime=("certain*", "sure*", "recorded_*"),
    group="target/*",
    reason="at x = 0 and x = 1 the target's slope is infinite, and a weight of 0 is multiplied by it",
)
NO_ZERO_CASE = Known(
    "spurious_nan",
    probe=("accuracy", "overflow"),
    reason="a term of coefficient 0 is computed as 0 * log 0",
)
WITHOUT_LOG1P = Known(
    ("inaccurate", "dead_gradient"),
    probe=("accuracy", "overflow"),
    reason="log(1 - x) loses the bits of a small x, and the two slopes are added in rounded form",
)
CUT_TARGET_SLOPE = Known(
    ("inaccurate", "saturated", "dead_gradient"),
    probe="accuracy",
    group="target/*",
    reason="terms of coefficient 0 are cut out, and their part of the target's slope with them",
    up_to=Known.ANY_SIZE,
)

NATIVE = (*FLOOR, ROUNDED_TARGET_SLOPE, ZERO_TIMES_TARGET_SLOPE)
MODULE = NATIVE
UPCAST = (*FLOOR, ZERO_TIMES_TARGET_SLOPE)
TEXTBOOK = (NO_ZERO_CASE, WITHOUT_LOG1P)
LOOP = TEXTBOOK
DOUBLE_WHERE = (CUT_TARGET_SLOPE,)
COMPILED = ()
