"""What is known to be wrong with the squared error as torch and others compute it on the CPU.

Each entry was measured by the sweep itself; its scope is as narrow as the cause allows. The trap: the sums
of a weighted mean overflow in two ways, to 0 and to NaN, and either takes the gradient along.
"""

from __future__ import annotations

from dataclasses import replace

from harness import Known
from suites.known.residuals import (
    MASKED_AFTER,
    MEAN_FACTOR,
    ROUNDED_STEPS,
    WEIGHT_SUM,
    ZERO_WEIGHT,
)

# Where the sum of the losses overflows alone, the mean is infinite.
_OTHER_FACES = replace(WEIGHT_SUM, kind=(*WEIGHT_SUM.kind, "dead_gradient", "spurious_overflow"))

# Divided by the sum of weights, a rounding more; it shows in both gradients.
_ROUNDED_STEPS = replace(
    ROUNDED_STEPS, variant=("weighted", *ROUNDED_STEPS.variant), group=("loss", "prediction/*", "target/*")
)

COMPOSED = (_OTHER_FACES, ZERO_WEIGHT, _ROUNDED_STEPS)
MODULE = (MEAN_FACTOR,)
NATIVE = (MEAN_FACTOR, *COMPOSED)
UPCAST = (ZERO_WEIGHT,)
COMPILED = (
    Known(
        "inaccurate",
        probe="overflow",
        group="ladder rows",
        reason="torch.compile adds the losses up one after another in each lane of a float32 vector",
    ),
)
CUT_LATE = (MASKED_AFTER, replace(MEAN_FACTOR, variant="missing", regime=()))
_CANCELLED = Known(
    ("inaccurate", "negative", "dead_gradient"),
    probe="accuracy",
    reason="unstable on purpose: x^2 - 2 x t + t^2 cancels where x is close to t, and so does its slope",
    up_to=32,
)
EXPANDED = (
    ZERO_WEIGHT,
    replace(_OTHER_FACES, kind=("spurious_overflow", "dead_gradient")),
    replace(
        _CANCELLED,
        regime=("offset", "near_overflow", "wide", "outliers", "fitted", "nan_prediction"),
        up_to=Known.ANY_SIZE,
    ),
    _CANCELLED,
    Known(
        "spurious_nan",
        probe=("accuracy", "overflow"),
        group=("loss", "exhaustive *"),
        reason="x^2 and 2 x t overflow, each on its own, and inf - inf is NaN",
    ),
)
