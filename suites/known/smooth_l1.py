"""What is known to be wrong with smooth L1 as torch and others compute it on the CPU.

Each entry was measured by the sweep itself; its scope is as narrow as the cause allows. The trap: at
beta = 1 none of it shows.
"""

from __future__ import annotations

from dataclasses import replace

from harness import Known
from suites.known.residuals import (
    ADDS_AND_TAKES_AWAY,
    BRANCH_NOT_TAKEN,
    BRANCH_NOT_TAKEN_AT_THE_TOP,
    MASKED_AFTER,
    SIGN_OF_NAN,
)

FAR_FROM_ONE = ("beta_huge", "beta_tiny")
SQUARE_FIRST = Known(
    ("spurious_overflow", "inaccurate"),
    probe="accuracy",
    variant=FAR_FROM_ONE,
    group="loss",
    reason="d * d over- or underflows before it is divided by beta",
)
SLOPE_OF_SQUARE = Known(
    (
        "inaccurate",
        "dead_gradient",
        "spurious_overflow",
        "spurious_nan",
        "second_backward",
        "upstream",
        "edge_shape",
    ),
    variant=FAR_FROM_ONE,
    group=("prediction/*", "target/*", "*upstream*", "*backward*", "one *", "a prime *"),
    reason="the upstream gradient is divided by beta before it meets the residual, and underflows",
    up_to=128,
)
ZERO_BETA = Known(
    ("spurious_nan", "nan_leak"),
    variant="beta_zero",
    reason="0 / 0 in the branch that is not taken where x = t",
    upstream="pytorch#96813",
)
ZERO_SHARE = Known(
    "spurious_nan",
    probe="accuracy",
    variant="beta_zero",
    reason="min(r, 0) is 0 at every entry, and 0 / 0 is NaN",
)
SUBNORMAL = Known(
    ("inaccurate", "dead_gradient"),
    probe="accuracy",
    dtype=("float64", "float32"),
    variant="beta_tiny",
    regime=("tiny", "unit_normal", "wide"),
    group=("prediction/*", "target/*"),
    reason="residual times upstream gradient is subnormal before autograd divides it by beta",
)

ABSOLUTE = replace(SIGN_OF_NAN, variant="beta_zero", reason=f"at beta = 0 {SIGN_OF_NAN.reason}")
NEITHER_SIDE = replace(
    SIGN_OF_NAN, reason="the slope of clamp is 0 at NaN, and so is torch's sign of it: loss NaN, slope 0"
)

NATIVE = (SQUARE_FIRST, ABSOLUTE)
UPCAST = (SQUARE_FIRST, ABSOLUTE)
LOOP = (BRANCH_NOT_TAKEN,)
COMPOSED = (
    SQUARE_FIRST,
    SLOPE_OF_SQUARE,
    BRANCH_NOT_TAKEN,
    BRANCH_NOT_TAKEN_AT_THE_TOP,
    ZERO_BETA,
)
CUT_EARLY = (SUBNORMAL, ABSOLUTE)
CUT_LATE = (MASKED_AFTER,)
CLAMPED = (SQUARE_FIRST, NEITHER_SIDE, ZERO_SHARE, ADDS_AND_TAKES_AWAY, SLOPE_OF_SQUARE)
COMPILED = (BRANCH_NOT_TAKEN,)
