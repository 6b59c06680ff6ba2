"""What is known to be wrong with Huber's loss as torch and others compute it on the CPU.

Each entry was measured by the sweep itself; its scope is as narrow as the cause allows. The trap: the kernel
is right, the weights are multiplied on to it in the dtype of the inputs.
"""

from __future__ import annotations

from dataclasses import replace

from harness import Known
from harness.sample import Shape
from suites.known.residuals import (
    ADDS_AND_TAKES_AWAY,
    BRANCH_NOT_TAKEN,
    BRANCH_NOT_TAKEN_AT_THE_TOP,
    MASKED_AFTER,
    SIGN_OF_NAN,
    ZERO_WEIGHT,
)

ROUNDED_WEIGHTED = Known(
    "inaccurate",
    probe="accuracy",
    dtype=("bfloat16", "float16"),
    variant=("weighted", "weighted_none"),
    reason="residual, loss and weighted loss are each rounded to 16 bits, and so are their slopes",
)
ROUNDED_IN_THE_KERNEL = Known(
    "inaccurate",
    probe="accuracy",
    dtype=("bfloat16", "float16"),
    variant="weighted",
    group=("prediction/*", "target/*"),
    shown_at=Shape(256, 1000),
    reason="weight, slope and 1/N are multiplied one after another, each product rounded to 16 bits",
)
LOST_FOR_EVERY_UPSTREAM = Known(
    ("second_backward", "upstream", "edge_shape"),
    probe="protocol",
    variant="delta_huge",
    reason="delta is added to slopes far below it and taken away again, whatever arrives from above",
    up_to=128,
)
# In units of delta = 1e4 these residuals are beyond the largest number of float16.
INFINITE_IN_FLOAT16 = replace(
    BRANCH_NOT_TAKEN, variant="delta_huge", regime=("wide", "outliers"), dtype="float16"
)

# Two products are enough where nothing is divided.
WEIGHTED_LOSS = replace(ROUNDED_WEIGHTED, variant="weighted_none", group="loss")

NEITHER_SIDE = replace(
    SIGN_OF_NAN, reason="the slope of clamp is 0 at NaN, and so is torch's sign of it: loss NaN, slope 0"
)

NATIVE = (ZERO_WEIGHT, ROUNDED_IN_THE_KERNEL, WEIGHTED_LOSS)
UPCAST = (ZERO_WEIGHT,)
LOOP = (ZERO_WEIGHT, ROUNDED_WEIGHTED, BRANCH_NOT_TAKEN, INFINITE_IN_FLOAT16)
COMPOSED = (*LOOP, BRANCH_NOT_TAKEN_AT_THE_TOP)
CUT_EARLY = (NEITHER_SIDE,)
CUT_LATE = (MASKED_AFTER,)
CLAMPED = (NEITHER_SIDE, ZERO_WEIGHT, WEIGHTED_LOSS, ADDS_AND_TAKES_AWAY, LOST_FOR_EVERY_UPSTREAM)
COMPILED = (BRANCH_NOT_TAKEN,)
