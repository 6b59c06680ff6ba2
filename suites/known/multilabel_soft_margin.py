"""What is known to be wrong with the multi-label soft margin loss as torch and others compute it on the CPU.

The trap: the two logsigmoids are right, so in float32 nothing is wrong but infinite logits.
"""

from __future__ import annotations

from dataclasses import replace

from harness import Known
from suites.known.binary_cross_entropy_with_logits import LEFT_OUT
from suites.known.soft_margin import SUBTRACTED_LABEL
from suites.known.unrefused import ANY_SHARE, BROADCAST

HALF = ("bfloat16", "float16")

INFINITE_LOGITS = Known(
    "spurious_nan",
    probe="accuracy",
    regime=("infinite", "infinite_wrong"),
    reason="a term of coefficient 0 is multiplied by the infinite loss of the other answer",
)
CLASS_SUM = Known(
    ("spurious_overflow", "spurious_nan"),
    probe="overflow",
    dtype="float16",
    group="ladder classes",
    reason="the sum over the classes overflows float16 before it is divided by their number",
)
ROUNDED_STEPS = Known(
    ("inaccurate", "dead_gradient", "spurious_overflow", "negative"),
    probe=("accuracy", "overflow"),
    dtype=HALF,
    reason="every step is rounded to 16 bits",
)
SATURATED_SIGMOID = Known(
    ("inaccurate", "dead_gradient", "spurious_nan", "spurious_overflow", "negative", "edge_shape"),
    probe=("accuracy", "overflow", "protocol"),
    reason="sigmoid(z) is rounded: near 1 its complement has few bits, then none (and p may underflow to 0)",
)
SATURATED_SCALE = replace(SATURATED_SIGMOID, probe="overflow", up_to=8)
SATURATED_WHERE_SURE = replace(
    SATURATED_SIGMOID,
    probe="accuracy",
    regime=("confident*", "wide", "near_overflow", "soft_targets", "recorded_*"),
    up_to=Known.ANY_SIZE,
)
SEQUENTIAL_SUM = Known(
    "inaccurate",
    probe="overflow",
    dtype="float32",
    group="ladder classes",
    reason="compiled code adds up the classes one vector after another: equal losses are rounded one way",
)
TARGET_SLOPE = Known(
    ("inaccurate", "dead_gradient"),
    probe="accuracy",
    variant="both_gradients",
    group="target/*",
    reason="the slope -x comes out as the difference of two logarithms",
    up_to=Known.ANY_SIZE,
)

UNREFUSED = (ANY_SHARE, BROADCAST)
NATIVE = (INFINITE_LOGITS, CLASS_SUM, ROUNDED_STEPS, TARGET_SLOPE, *UNREFUSED)
LOOP = (INFINITE_LOGITS, SATURATED_WHERE_SURE, SATURATED_SCALE, SATURATED_SIGMOID, *UNREFUSED)
LOG_SIGMOID = (INFINITE_LOGITS, TARGET_SLOPE, *UNREFUSED)
WITH_LOGITS = (INFINITE_LOGITS, SUBTRACTED_LABEL, ANY_SHARE)
UPCAST = LOG_SIGMOID
COMPILED = (INFINITE_LOGITS, SEQUENTIAL_SUM, *UNREFUSED)
BY_SIDES = (TARGET_SLOPE, LEFT_OUT, *UNREFUSED)
