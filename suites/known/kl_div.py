"""What is known to be wrong with the divergence as torch and others compute it on the CPU.

Each entry was measured by the sweep itself; its scope is as narrow as the cause allows. The trap:
which rows come out negative changes with the seed, that 16 bits lose them does not, so one entry
holds every face of one cause.
"""

from __future__ import annotations

from dataclasses import replace

from harness import Known, Shape
from suites.known.unrefused import BROADCAST

HALF = ("bfloat16", "float16")
# Where a target is exactly 0; the recorded ones are after rounding to float16.
WITH_ZEROS = ("zeros", "one_hot", "masked", "wide", "recorded_*")
ROUNDED_TERMS = Known(
    ("inaccurate", "negative", "dead_loss"),
    probe="accuracy",
    dtype=HALF,
    group="loss",
    reason="every step is rounded to 16 bits, and the terms cancel where p is close to q",
    upstream="pytorch#32520, pytorch#80488",
    up_to=8,
)
CLOSENESS = Known(
    ("inaccurate", "negative"),
    probe="overflow",
    dtype=HALF,
    group="ladder closeness",
    reason="from this distance on the terms, rounded to 16 bits, cancel to a negative divergence",
    upstream="pytorch#32520",
)
STORED_LOG_SOFTMAX = Known(
    ("inaccurate", "dead_gradient"),
    probe="accuracy",
    dtype=HALF,
    variant="from_logits",
    group="log_probabilities/*",
    reason="log-probabilities are stored in 16 bits between forward and backward, so p - t loses its bits",
    upstream="speculators#788",
)
# The regime that shows it best, named so that every sweep asks it: a gradient off by twice its own size.
STORED_NEAR_TARGET = replace(STORED_LOG_SOFTMAX, regime="near_logits", shown_at=Shape(64, 10))
STORED = (STORED_NEAR_TARGET, STORED_LOG_SOFTMAX)
ROUNDED_SLOPE = Known(
    ("inaccurate", "dead_gradient", "spurious_overflow"),
    probe="accuracy",
    dtype=HALF,
    group="target/*",
    reason="the slope log t + 1 - x is added up in 16 bits",
    up_to=512,
)
ROUNDED_SLOPE_ELSEWHERE = Known(
    ("edge_shape", "upstream"),
    probe="protocol",
    dtype=HALF,
    variant=("mean", "sum", "none", "both_gradients"),
    reason="the slope log t + 1 - x is added up in 16 bits, term by term times what comes from above",
    up_to=512,
    shown_at=Shape(64, 10),
)
SUBNORMAL_SLOPE = Known(
    ("inaccurate", "dead_gradient", "spurious_overflow"),
    probe="accuracy",
    regime="tiny_targets",
    group="target/*",
    reason="autograd multiplies by t and divides by it again, or multiplies by e^t: a subnormal has few bits",
    up_to=Known.ANY_SIZE,
)
SLOPE_AT_ZERO = Known(
    "spurious_nan",
    probe="accuracy",
    regime=("zeros", "one_hot", "wide", "recorded_*"),
    group="target/*",
    reason="the slope at t = 0 is -inf, autograd computes 0/0 there",
    upstream="pytorch#89558",
)
MASKED = Known(
    "spurious_nan",
    probe="accuracy",
    regime="masked",
    reason="a masked class, x = -inf with t = 0, contributes 0 * inf",
    upstream="optax#1786",
)
LOGARITHM_OF_ZERO = Known(
    "spurious_nan",
    probe="accuracy",
    variant="log_target*",
    regime=("zeros", "one_hot"),
    reason="a log target of -inf contributes 0 * -inf",
    upstream="optax#1786",
)
ROW_SUM = Known(
    "spurious_overflow",
    probe="overflow",
    dtype="float16",
    group="ladder rows",
    reason="the sum over the batch overflows float16 before it is divided by the rows",
    upstream="pytorch#85791 (same cause in cross_entropy)",
)
NO_ZERO_CASE = Known(
    "spurious_nan",
    probe="accuracy",
    # A float16 target of many classes underflows to 0 under any of these.
    regime=(*WITH_ZEROS, "independent", "wide", "confident"),
    reason="t log t is computed as 0 * -inf where t = 0",
    upstream="pytorch#89558",
)
ROUNDED_MASS = Known(
    ("inaccurate", "dead_gradient"),
    probe="overflow",
    dtype=HALF,
    group="exhaustive mass",
    reason="t log t and t, and log t and 2 in the slope, are rounded to 16 bits before they are added",
)
NO_MASS = Known(
    "spurious_nan",
    probe="overflow",
    group="exhaustive mass",
    reason="the slope at t = 0 is -inf, autograd computes 0/0 there",
    upstream="pytorch#89558",
)
NO_MASS_AT_ALL = Known(
    "spurious_nan",
    probe="overflow",
    group="exhaustive mass",
    reason="t log t is computed as 0 * -inf where t = 0",
    upstream="pytorch#89558",
)
CUT_MASS = Known(
    "saturated",
    probe="overflow",
    group="exhaustive mass",
    reason="classes of target 0 are cut out, so their slope is 0 where the definition has -inf",
    # The form cuts them on purpose: a mask is to have no slope.
    outside=True,
)
LOST_EPSILON = Known(
    ("inaccurate", "negative"),
    probe="overflow",
    dtype=HALF,
    group="exhaustive value",
    reason="1 + 1e-5 is rounded to 1 in 16 bits, so what the 1e-5 adds to a mass of 1 is lost",
)
CUT_SLOPE = Known(
    "saturated",
    probe="accuracy",
    regime=WITH_ZEROS,
    group="target/*",
    reason="classes of target 0 are cut out, so their slope is 0 where the definition has -inf",
)

XLOGY = (
    ROUNDED_TERMS,
    CLOSENESS,
    *STORED,
    ROUNDED_SLOPE,
    SUBNORMAL_SLOPE,
    ROW_SUM,
    BROADCAST,
)
COMPOSED = (*XLOGY, ROUNDED_SLOPE_ELSEWHERE, SLOPE_AT_ZERO, MASKED, ROUNDED_MASS, NO_MASS)
MODULE = (*(e for e in COMPOSED if e not in STORED), LOGARITHM_OF_ZERO)
NATIVE = (*COMPOSED, LOGARITHM_OF_ZERO)
TEXTBOOK = (
    *XLOGY,
    ROUNDED_SLOPE_ELSEWHERE,
    LOGARITHM_OF_ZERO,
    NO_ZERO_CASE,
    ROUNDED_MASS,
    NO_MASS_AT_ALL,
)
LOOP = (ROUNDED_TERMS, CLOSENESS, ROUNDED_SLOPE, SUBNORMAL_SLOPE, CUT_SLOPE, BROADCAST)
CUT = (SUBNORMAL_SLOPE, CUT_SLOPE, CUT_MASS, BROADCAST)
UPCAST = (SUBNORMAL_SLOPE, SLOPE_AT_ZERO, NO_MASS, MASKED, LOGARITHM_OF_ZERO, BROADCAST)
CONTROL = (BROADCAST,)
EPSILON_FORM = (
    ROUNDED_TERMS,
    CLOSENESS,
    ROUNDED_SLOPE,
    ROUNDED_SLOPE_ELSEWHERE,
    ROW_SUM,
    MASKED,
    ROUNDED_MASS,
    LOST_EPSILON,
    BROADCAST,
)
COMPILED = (MASKED, BROADCAST)
COMPILED_TEXTBOOK = (NO_ZERO_CASE, BROADCAST)
