"""Known findings that more than one loss of a residual has; each suite takes what was measured on it.

The trap: one cause wears several kinds, so that an entry names all faces of its cause and no other scope.
"""

from __future__ import annotations

from harness import Known
from harness.sample import Shape

ZERO_WEIGHT = Known(
    "spurious_nan",
    probe="accuracy",
    variant="weighted*",
    regime="infinite",
    reason="an infinite residual of weight 0 contributes 0 * inf",
)
WEIGHT_SUM = Known(
    ("inaccurate", "spurious_nan"),
    probe="accuracy",
    dtype="float16",
    variant="weighted",
    reason="the sums of the weighted losses and of the weights overflow float16 before they are divided",
    upstream="pytorch#85791 (same cause in cross_entropy)",
    up_to=1024,
)
ROUNDED_STEPS = Known(
    "inaccurate",
    probe="accuracy",
    dtype=("bfloat16", "float16"),
    variant=("weighted_none", "mean"),
    group=("loss", "prediction/*"),
    reason="every step is rounded to 16 bits: residual, loss, weighted loss, and 1/N, subnormal in float16",
)
MEAN_FACTOR = Known(
    "inaccurate",
    probe="accuracy",
    dtype="float16",
    variant="mean",
    regime="unit_normal",
    group=("prediction/*", "target/*"),
    shown_at=Shape(256, 1000),
    reason="1/N is rounded to float16, where it is subnormal, before it meets the residual",
)
MASKED_AFTER = Known(
    "nan_leak",
    variant="missing",
    reason="the slope of a missing entry is NaN, and the upstream gradient 0 does not remove it",
    upstream="pytorch#121416",
)
# The loss says it, so nobody goes on unaware; no form of torch's own does better.
SIGN_OF_NAN = Known(
    "nan_swallowed",
    probe="accuracy",
    regime="nan_prediction",
    group="*/*",
    reason="the slope of abs is a sign, and torch's sign of a NaN is 0: loss NaN, slope 0",
    outside=True,
)
BRANCH_NOT_TAKEN = Known(
    "spurious_nan",
    regime=("infinite", "near_overflow"),
    probe="accuracy",
    reason="`where` multiplies the slope of the branch that is not taken, infinite here, by 0",
    upstream="optax#1786 (same cause)",
)
BRANCH_NOT_TAKEN_AT_THE_TOP = Known(
    "spurious_nan",
    probe="overflow",
    dtype=("bfloat16", "float16"),
    group="exhaustive prediction",
    reason="2 r overflows in the branch that is not taken, and 0 * inf is NaN",
)
ADDS_AND_TAKES_AWAY = Known(
    ("inaccurate", "dead_gradient"),
    probe=("accuracy", "overflow"),
    group=("prediction/*", "target/*", "exhaustive *"),
    reason="the slope of r - min(r, b) is added and taken away again, so small slopes lose their bits",
    up_to=1024,
)
