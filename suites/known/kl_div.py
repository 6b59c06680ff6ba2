"""What is known to be wrong with the divergence as torch and others compute it on the CPU.

Each entry was measured by the sweep itself; its scope is as narrow as the cause allows. The trap:
which rows come out negative changes with the seed, that 16 bits lose them does not, so one entry
holds every face of one cause.
"""

from __future__ import annotations

from harness import Known

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
ROUNDED_SLOPE = Known(
    ("inaccurate", "dead_gradient", "spurious_overflow"),
    probe="accuracy",
    dtype=HALF,
    variant=("both_gradients", "log_target"),
    group="target/*",
    reason="the slope log t + 1 - x is added up in 16 bits",
)
ROUNDED_SLOPE_ELSEWHERE = Known(
    ("edge_shape", "upstream"),
    probe="protocol",
    dtype=HALF,
    variant="both_gradients",
    reason="the slope log t + 1 - x is added up in 16 bits, term by term times what comes from above",
)
SUBNORMAL_SLOPE = Known(
    ("inaccurate", "dead_gradient", "spurious_overflow"),
    probe="accuracy",
    variant="both_gradients",
    regime="tiny_targets",
    group="target/*",
    reason="autograd multiplies by t and divides by it again, which loses the bits of a subnormal t",
)
SLOPE_AT_ZERO = Known(
    "spurious_nan",
    probe="accuracy",
    variant="both_gradients",
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
CUT_SLOPE = Known(
    "saturated",
    probe="accuracy",
    variant="both_gradients",
    regime=WITH_ZEROS,
    group="target/*",
    reason="classes of target 0 are cut out, so their slope is 0 where the definition has -inf",
)

XLOGY = (ROUNDED_TERMS, CLOSENESS, STORED_LOG_SOFTMAX, ROUNDED_SLOPE, SUBNORMAL_SLOPE, ROW_SUM)
COMPOSED = (*XLOGY, ROUNDED_SLOPE_ELSEWHERE, SLOPE_AT_ZERO, MASKED)
MODULE = (*(e for e in COMPOSED if e is not STORED_LOG_SOFTMAX), LOGARITHM_OF_ZERO)
NATIVE = (*COMPOSED, LOGARITHM_OF_ZERO)
TEXTBOOK = (*XLOGY, LOGARITHM_OF_ZERO, NO_ZERO_CASE)
LOOP = (ROUNDED_TERMS, CLOSENESS, ROUNDED_SLOPE, SUBNORMAL_SLOPE, CUT_SLOPE)
CUT = (SUBNORMAL_SLOPE, CUT_SLOPE)
UPCAST = (SUBNORMAL_SLOPE, SLOPE_AT_ZERO, MASKED, LOGARITHM_OF_ZERO)
EPSILON_FORM = (ROUNDED_TERMS, CLOSENESS, ROUNDED_SLOPE, ROW_SUM, MASKED)
COMPILED = (MASKED,)
COMPILED_TEXTBOOK = (NO_ZERO_CASE,)
