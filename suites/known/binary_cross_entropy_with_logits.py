"""What is known to be wrong with binary cross-entropy of logits as torch and others compute it on the CPU.

Each entry was measured by the sweep itself. The trap: how many elements are lost depends on the draw,
that the form loses them does not, so one entry holds every face of one cause.
"""

from __future__ import annotations

from dataclasses import replace

from harness import Known, Shape
from suites.known.unrefused import ANY_SHARE, BROADCAST

HALF = ("bfloat16", "float16")
BROKEN = ("inaccurate", "dead_gradient")
CALLS = ("edge_shape", "functional_transform", "upstream", "second_backward")

SUBTRACTED_LABEL = Known(
    BROKEN,
    probe=("accuracy", "overflow"),
    group=("logits/*", "ladder lead", "exhaustive positive", "exhaustive negative"),
    reason="the gradient is s(z) - t: at label 1 its bits are lost as s(z) goes to 1, and then it is 0",
    upstream="pytorch#195529, pytorch#195677",
)
CANCELLED_LOSS = Known(
    "inaccurate",
    probe="accuracy",
    group="loss",
    reason="(1 - t) z + max(-z, 0) cancels: at label 0 the loss of a sure and right element is lost",
    upstream="pytorch#195529",
)
CANCELLED_AT_SOFT_TARGETS = Known(
    "inaccurate",
    probe="accuracy",
    variant=("mean", "sum", "none", "both_gradients"),
    regime="distilled",
    group="loss",
    reason="max(z, 0) - z t cancels where a soft target next to 1 meets a sure logit",
    shown_at=Shape(64, 101),
)
INFINITE_LOGITS = Known(
    "spurious_nan",
    probe="accuracy",
    regime=("infinite", "infinite_wrong"),
    reason="a term of coefficient 0, or inf - inf, where an infinite logit agrees with its label or its "
    "weight is 0",
    upstream="optax#431 (the same in another library)",
)
ROUNDED_STEPS = Known(
    ("inaccurate", "dead_gradient", "negative", "spurious_overflow"),
    probe=("accuracy", "overflow"),
    dtype=HALF,
    reason="every step is rounded to 16 bits",
)
# A slope that is the difference of two logarithms shows it at the edges too, of some draws.
ROUNDED_STEPS_AND_EDGES = replace(
    ROUNDED_STEPS, kind=(*ROUNDED_STEPS.kind, "edge_shape"), probe=("accuracy", "overflow", "protocol")
)
TARGET_SLOPE = Known(
    ("inaccurate", "dead_gradient"),
    probe="accuracy",
    group="target/*",
    reason="the slope -z comes out as the difference of two logarithms",
    up_to=Known.ANY_SIZE,
)
AT_ZERO = Known(
    BROKEN,
    probe="accuracy",
    regime="at_zero",
    reason="at z = 0 autograd takes 1 for the slope of max(z, 0) and 0 for that of |z|: 1 - t, not 1/2 - t",
    up_to=Known.ANY_SIZE,
)
# A half in the slope of one entry in all of them, or in those of a draw that 16 bits round to 0.
AT_EVERY_ZERO = replace(AT_ZERO, probe="overflow", regime=(), group="exhaustive *", up_to=512)
AT_FEW_ZEROS = replace(AT_ZERO, regime=("unit_normal", "tiny"), up_to=Known.USUAL_SIZE)
OVERFLOWING_POWER = Known(
    ("spurious_overflow", "spurious_nan"),
    probe=("accuracy", "overflow"),
    reason="e^z overflows, from 11.09 on in float16, 88.7 in float32 and bfloat16, 709.8 in float64",
)
LOST_BESIDE_ONE = Known(
    BROKEN,
    probe=("accuracy", "overflow"),
    reason="log(1 + e^-z) loses e^-z beside the 1",
)
ROUNDED_SIGMOID = Known(
    ("inaccurate", *CALLS),
    probe=("accuracy", "protocol"),
    dtype=HALF,
    regime="unit_normal",
    reason="sigmoid(z) and every step after it are rounded to 16 bits",
)
# Where z is large enough for a complement of few bits; the others are drawn normally, with outliers.
SURE = ("confident*", "wide", "near_overflow", "distilled", "soft_targets", "recorded_*")
SATURATED_SIGMOID = Known(
    "inaccurate",
    probe="accuracy",
    regime=SURE,
    reason="sigmoid(z) is rounded: near 1 its complement has few bits, then none",
    upstream="pytorch#103316, pytorch#24933",
    up_to=Known.ANY_SIZE,
)
FEWER_BITS = replace(
    SATURATED_SIGMOID, regime=("unit_normal", "infinite*", "poisoned"), up_to=Known.USUAL_SIZE
)
LOST_IN_FLOAT16 = replace(LOST_BESIDE_ONE, probe="accuracy", regime=SURE, dtype="float16", up_to=1024)
LOGARITHM_OF_ZERO = Known(
    ("spurious_nan", "spurious_overflow"),
    probe="accuracy",
    regime=SURE,
    reason="sigmoid(z) is rounded to 1, or underflows to 0: log 0, and 0 times the slope of it",
    upstream="pytorch#103316, pytorch#24933",
)
EQUAL_TO_TARGET = Known(
    "dead_gradient",
    probe="accuracy",
    regime=("distilled", "soft_targets"),
    group="logits/*",
    reason="(1 - t) / (1 - p) - t / p of a rounded p cancels to 0 next to a soft target",
)
SATURATED_SCALE = Known(
    (*BROKEN, "spurious_nan", "spurious_overflow"),
    probe="overflow",
    group=("ladder scale", "ladder lead", "exhaustive *"),
    reason="sigmoid(z) is rounded: near 1 its complement has few bits, then none (and p may underflow to 0)",
    upstream="pytorch#103316, pytorch#24933",
    up_to=Known.ANY_SIZE,
)
CLAMPED = Known(
    ("dead_gradient", "saturated"),
    probe="accuracy",
    regime=(*SURE, "infinite_wrong"),
    group=("loss", "logits/*"),
    reason="binary_cross_entropy keeps log p above -100 and p (1 - p) above 1e-12: beyond, the slope is 0",
    upstream="pytorch#103316, pytorch#24933",
    up_to=Known.ANY_SIZE,
)
CLAMPED_IN_FLOAT16 = Known(
    "spurious_nan",
    probe="accuracy",
    dtype="float16",
    regime=("infinite*", *SURE),
    group="logits/*",
    reason="1e-12 is 0 in float16: where p is 0 or 1 the slope is 0 / 0",
)
REFUSED_NAN = Known(
    "raises",
    probe="accuracy",
    regime="poisoned",
    reason="binary_cross_entropy refuses a NaN probability",
)

UNREFUSED = (ANY_SHARE, BROADCAST)
CONTROL = (ANY_SHARE,)
NATIVE = (
    INFINITE_LOGITS,
    SUBTRACTED_LABEL,
    CANCELLED_LOSS,
    ROUNDED_STEPS,
    ANY_SHARE,
)
MODULE = NATIVE
UPCAST = (INFINITE_LOGITS, SUBTRACTED_LABEL, CANCELLED_LOSS, ANY_SHARE)
SHIFTED = (
    AT_ZERO,
    AT_EVERY_ZERO,
    AT_FEW_ZEROS,
    INFINITE_LOGITS,
    SUBTRACTED_LABEL,
    CANCELLED_AT_SOFT_TARGETS,
    *UNREFUSED,
)
LOG_SIGMOID = (INFINITE_LOGITS, ROUNDED_STEPS_AND_EDGES, TARGET_SLOPE, *UNREFUSED)
LEFT_OUT = Known(
    "saturated",
    probe="accuracy",
    regime=("infinite", "infinite_wrong"),
    group="target/*",
    reason="the infinite term that is left out at share 0 would be the slope of its share",
    outside=True,
)
BY_SIDES = (TARGET_SLOPE, LEFT_OUT, *UNREFUSED)
TWO_CLASSES = (INFINITE_LOGITS, SUBTRACTED_LABEL, CANCELLED_LOSS, TARGET_SLOPE, *UNREFUSED)
LOOP = (INFINITE_LOGITS, OVERFLOWING_POWER, LOST_IN_FLOAT16, LOST_BESIDE_ONE, *UNREFUSED)
TEXTBOOK = (
    INFINITE_LOGITS,
    ROUNDED_SIGMOID,
    TARGET_SLOPE,
    SATURATED_SIGMOID,
    FEWER_BITS,
    LOGARITHM_OF_ZERO,
    EQUAL_TO_TARGET,
    SATURATED_SCALE,
    *UNREFUSED,
)
THEN_BCE = (
    CLAMPED_IN_FLOAT16,
    ROUNDED_SIGMOID,
    TARGET_SLOPE,
    SATURATED_SIGMOID,
    FEWER_BITS,
    LOGARITHM_OF_ZERO,
    CLAMPED,
    SATURATED_SCALE,
    REFUSED_NAN,
)
COMPILED = (INFINITE_LOGITS, *UNREFUSED)
