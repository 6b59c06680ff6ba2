"""What is known to be wrong with cross-entropy as torch and others compute it on the CPU.

Each entry was measured by the sweep itself; its scope is as narrow as the cause allows. The trap: a
scope that is too wide would hide a new finding behind an old reason.
"""

from __future__ import annotations

from harness import Known

CONFIDENT = ("confident", "confident_wrong", "wide", "masked", "near_overflow", "recorded_*")
OUT_OF_BITS = Known(
    ("dead_gradient", "inaccurate"),
    probe="accuracy",
    regime=CONFIDENT,
    reason="1 - p is computed from p, so loss and target gradient of confident rows lose their bits",
    upstream="pytorch#195529 (same cause in BCEWithLogits)",
)
DEAD_GAP = Known(
    "dead_gradient",
    probe="overflow",
    group="ladder gap",
    reason="from this lead on the largest probability rounds to 1 and the target gradient is 0",
    upstream="pytorch#195529 (same cause in BCEWithLogits)",
)
STORED_16_BIT = Known(
    ("inaccurate", "dead_gradient"),
    probe="accuracy",
    dtype=("bfloat16", "float16"),
    reason="log-probabilities are stored in 16 bits between forward and backward, which exponentiates them",
)
ROW_COUNT = Known(
    ("inaccurate", "spurious_overflow"),
    probe="overflow",
    dtype="float16",
    group="ladder rows*",
    reason="the loss sum or the number of rows overflows float16 before the division",
    upstream="pytorch#85791",
)
ZERO_TIMES_INFINITY = Known(
    "spurious_nan",
    variant="probability",
    regime="masked",
    reason="a masked class of probability 0 contributes 0 * inf",
    upstream="optax#896",
)
SMOOTHING_SUM = Known(
    "spurious_overflow",
    probe="accuracy",
    dtype="float16",
    variant=("smoothed", "weighted_smoothed_ignored"),
    reason="the smoothing term sums all classes of all rows in float16 before the division",
)
EAGER = (STORED_16_BIT, OUT_OF_BITS, DEAD_GAP, ROW_COUNT)
NATIVE = (*EAGER, ZERO_TIMES_INFINITY, SMOOTHING_SUM)
COMPOSED = (*EAGER, ZERO_TIMES_INFINITY)
UPCAST = (OUT_OF_BITS, DEAD_GAP, ZERO_TIMES_INFINITY)
COMPILED = (STORED_16_BIT, OUT_OF_BITS, DEAD_GAP, ROW_COUNT)
UNSTABLE = (
    Known(
        ("spurious_nan", "spurious_overflow", "inaccurate", "dead_gradient"),
        reason="unstable on purpose: probabilities over- and underflow before the logarithm",
    ),
)
CANCELS = (
    Known(
        ("inaccurate", "dead_gradient", "spurious_overflow"),
        reason="logsumexp(x) - x_t cancels under a common offset",
    ),
)
