"""What is known to be wrong with the absolute error as torch and others compute it on the CPU.

Each entry was measured by the sweep itself; its scope is as narrow as the cause allows. The trap: the root
fails in the middle of the range as well, wherever a residual is 0 or its square is subnormal.
"""

from __future__ import annotations

from dataclasses import replace

from harness import Known, Shape
from suites.known.residuals import SIGN_OF_NAN, WEIGHT_SUM, ZERO_WEIGHT

ROOT_SLOPE = Known(
    ("spurious_nan", "nan_leak"),
    probe="accuracy",
    group=("prediction/*", "target/*"),
    reason="the root's slope is infinite where the square is 0 and 0 where it is infinite: 0 * inf is NaN",
)
ROOT_SUMS = Known(
    "spurious_nan",
    probe="accuracy",
    variant="weighted*",
    group="loss",
    reason="what overflowed is multiplied by a weight of 0, or divided by a sum of weights that overflowed",
)
ROOT_LARGE = Known(
    ("spurious_overflow", "dead_gradient"),
    probe="accuracy",
    regime="near_overflow",
    reason="the square overflows where the residual does not; the loss is infinite, its slope 0",
    up_to=Known.ANY_SIZE,
)
ROOT_SMALL = Known(
    ("inaccurate", "spurious_overflow"),
    probe="accuracy",
    regime="tiny",
    reason="the square of a small residual is 0 or subnormal: the loss loses its bits, the root has no slope",
    up_to=Known.ANY_SIZE,
)
ROOT_SMALL_IN_FLOAT16 = Known(
    ("inaccurate", "spurious_overflow"),
    probe="accuracy",
    dtype="float16",
    regime=("fitted", "wide", "outliers", "nan_prediction"),
    reason="residuals below 2^-7 have squares below the smallest normal number of float16",
    up_to=256,
)
ROOT_SMALL_AT_HOME = replace(ROOT_SMALL_IN_FLOAT16, regime="unit_normal", up_to=64, shown_at=Shape(256, 1000))
ROOT_LIMITS = Known(
    ("inaccurate", "spurious_overflow", "dead_gradient", "spurious_nan"),
    probe="overflow",
    group=("ladder s*", "exhaustive *"),
    reason="the square leaves the range at the root of it, at either end",
    up_to=1024,
)
ROOT_PRIME = Known(
    "edge_shape",
    probe="protocol",
    dtype=("bfloat16", "float16"),
    group=("a prime number of *", "one class"),
    reason="some residual of a batch of those sizes is 0 in 16 bits, where the root has no slope",
    up_to=64,
)

MODULE = (SIGN_OF_NAN,)
NATIVE = (WEIGHT_SUM, ZERO_WEIGHT, SIGN_OF_NAN)
UPCAST = (ZERO_WEIGHT, SIGN_OF_NAN)
MASKED = (SIGN_OF_NAN,)
COMPILED = (SIGN_OF_NAN,)
ROOT = (
    ROOT_SLOPE,
    ROOT_SUMS,
    ROOT_LARGE,
    ROOT_SMALL,
    ROOT_SMALL_IN_FLOAT16,
    ROOT_SMALL_AT_HOME,
    ROOT_LIMITS,
    ROOT_PRIME,
)
