"""What is known to be wrong with cross-entropy as torch and others compute it on the CPU.

Each entry was measured by the sweep itself; its scope is as narrow as the cause allows. The trap: a
scope that is too wide would hide a new finding behind an old reason.
"""

from __future__ import annotations

from dataclasses import replace

from harness import Known, Shape

CONFIDENT = ("confident", "confident_wrong", "wide", "masked", "near_overflow", "recorded_*")
OUT_OF_BITS = Known(
    ("dead_gradient", "inaccurate"),
    probe="accuracy",
    regime=CONFIDENT,
    reason="1 - p is computed from p, so loss and target gradient of confident rows lose their bits",
    upstream="pytorch#195529 (same cause in BCEWithLogits)",
)
DEAD_GAP = Known(
    ("dead_gradient", "inaccurate"),
    probe="overflow",
    group=("ladder gap", "exhaustive gap"),
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
    up_to=32,
)
PROBABILITIES = (
    "probability",
    "weighted_probability",
    "weighted_probability_sum",
    "smoothed_probability_none",
    "images_weighted_probability",
)
# In an entry of its own: rounded to the dtype a large offset makes a class lead in few draws.
SOFT_SLOPE = Known(
    ("dead_gradient", "inaccurate"),
    probe="accuracy",
    variant=PROBABILITIES,
    regime=(*CONFIDENT, "offset"),
    group="target/*",
    reason="the slope of a probability is the loss of its class, whose bits are lost where that class leads",
    upstream="pytorch#195529 (same cause in BCEWithLogits)",
)
SUMMED_COEFFICIENTS = Known(
    "inaccurate",
    probe="accuracy",
    variant="*weighted_probability*",
    dtype="float64",
    group="logits/*",
    shown_at=Shape(64, 4096),
    reason="the products of weights and probabilities of a row are summed one by one, for every slope",
)
ZERO_TIMES_INFINITY = Known(
    "spurious_nan",
    variant=PROBABILITIES,
    regime=("masked", "masked_label"),
    reason="a masked class of probability 0 contributes 0 * inf",
    upstream="optax#896",
)
SMOOTHED = ("smoothed", "smoothed_ignored", "weighted_smoothed_sum", "weighted_smoothed_ignored")
SMOOTHING_SUM = Known(
    "spurious_overflow",
    probe="accuracy",
    dtype="float16",
    variant=SMOOTHED,
    reason="the smoothing term sums all classes of all rows in the dtype before the division",
)
SMOOTHING_SUM_OF_LARGE = Known(
    "spurious_overflow",
    probe="accuracy",
    dtype=("float32", "bfloat16"),
    variant=SMOOTHED,
    regime="near_overflow",
    reason="the smoothing term sums all classes in the dtype before the division",
)
STORED_AND_SMOOTHED = Known(
    "inaccurate",
    probe="accuracy",
    dtype=("float64", "float32"),
    variant=(*SMOOTHED, "smoothed_other", "images_smoothed_none"),
    reason="exp of a stored log-probability is off by |log p| ulp, and p - eps/C cancels what hides that",
    shown_at=Shape(64, 4096),
)
POISON = Known(
    ("nan_leak", "spurious_nan"),
    regime="poisoned",
    reason="the backward of log_softmax multiplies the NaN of an ignored row by its zero upstream gradient",
    upstream="pytorch#11551",
    outside=True,
)
INFINITE = Known(
    "spurious_nan",
    probe="accuracy",
    regime="infinite_logit",
    reason="a row is shifted by its maximum, which is inf - inf at an infinite logit",
    outside=True,
)
ZERO_WEIGHT = Known(
    ("nan_leak", "spurious_nan"),
    probe="accuracy",
    variant="zero_weights",
    regime=("nan_logit", "masked_label"),
    shown_at=Shape(64, 10),
    reason="a row of class weight 0 is multiplied by it: 0 * NaN and 0 * inf are NaN",
)
SEQUENTIAL = Known(
    "inaccurate",
    variant="images*",
    dtype=("float64", "float32"),
    reason="the class axis of an image is not innermost, so its exponentials are summed one by one",
    shown_at=Shape(64, 4096),
)
KILLS = Known(
    "kills_process",
    probe="invalid_input",
    reason="compiled code checks its labels in a parallel region, which no exception can leave: it aborts",
)
NO_ROWS = Known(
    "edge_shape",
    probe="protocol",
    group="zero rows",
    reason="torch.stack takes no empty list: the loop has no row to stack",
)
NEGATIVE_LABEL = Known(
    "accepts_invalid",
    probe="invalid_input",
    group="label_negative",
    reason="row[-1] is the last class to Python's indexing",
)
ZERO_PROBABILITY = Known(
    ("dead_gradient", "edge_shape"),
    variant=PROBABILITIES,
    dtype="float16",
    reason="a probability that float16 rounds to 0 is taken for masked, so its target gets no gradient",
    up_to=512,
)
EAGER = (ZERO_WEIGHT, INFINITE, STORED_16_BIT, OUT_OF_BITS, DEAD_GAP, ROW_COUNT, POISON, SEQUENTIAL)
NATIVE = (
    SOFT_SLOPE,
    SUMMED_COEFFICIENTS,
    *EAGER,
    ZERO_TIMES_INFINITY,
    SMOOTHING_SUM,
    SMOOTHING_SUM_OF_LARGE,
    STORED_AND_SMOOTHED,
)
COMPOSED = (
    ZERO_WEIGHT,
    SOFT_SLOPE,
    SUMMED_COEFFICIENTS,
    INFINITE,
    STORED_16_BIT,
    OUT_OF_BITS,
    DEAD_GAP,
    ROW_COUNT,
    POISON,
    ZERO_TIMES_INFINITY,
)
CHUNKED = (*COMPOSED, SMOOTHING_SUM_OF_LARGE, STORED_AND_SMOOTHED)
# No sum of the rows in the dtype, no count of them: `Tensor.mean` does both in float32.
MEAN_OF_ROWS = (
    ZERO_WEIGHT,
    SOFT_SLOPE,
    SUMMED_COEFFICIENTS,
    INFINITE,
    STORED_16_BIT,
    OUT_OF_BITS,
    POISON,
    SEQUENTIAL,
    ZERO_TIMES_INFINITY,
)
UPCAST = (
    ZERO_WEIGHT,
    SOFT_SLOPE,
    SMOOTHING_SUM_OF_LARGE,
    STORED_AND_SMOOTHED,
    INFINITE,
    OUT_OF_BITS,
    DEAD_GAP,
    ZERO_TIMES_INFINITY,
    POISON,
    SEQUENTIAL,
)
# The narrower entry first: the first that covers a finding gives its reason.
ONE_HOT = (ZERO_PROBABILITY, STORED_AND_SMOOTHED, *COMPOSED)
COMPILED = (INFINITE, STORED_16_BIT, OUT_OF_BITS, DEAD_GAP, ROW_COUNT, POISON, KILLS)
OUT_OF_RANGE = Known(
    ("spurious_nan", "spurious_overflow", "inaccurate", "dead_gradient"),
    reason="unstable on purpose: probabilities over- and underflow before the logarithm",
    up_to=8,
)
UNSTABLE = (replace(OUT_OF_RANGE, probe="overflow", up_to=64), OUT_OF_RANGE)
UNSTABLE_AND_POISONED = (ZERO_WEIGHT, INFINITE, POISON, *UNSTABLE)
UNSHIFTED = Known(
    ("spurious_nan", "spurious_overflow", "inaccurate", "dead_gradient", "edge_shape", "identity"),
    probe=("accuracy", "overflow", "protocol", "identity"),
    reason="unstable on purpose: exponentials overflow, and in 16 bits they are summed in the dtype",
    up_to=8,
)
# Where the sum of the exponentials is infinite in float16, the gradient is that of another row.
UNSHIFTED_IN_FLOAT16 = replace(UNSHIFTED, probe="accuracy", dtype="float16", regime=CONFIDENT, up_to=1024)
UNSHIFTED_ON_LADDERS = replace(UNSHIFTED, probe="overflow", up_to=64)
# A thousand exponentials, added one by one.
UNSHIFTED_AT_EDGES = replace(UNSHIFTED, probe="protocol", dtype="float16", up_to=32)
NAIVE = (
    ZERO_WEIGHT,
    NO_ROWS,
    NEGATIVE_LABEL,
    UNSHIFTED_IN_FLOAT16,
    UNSHIFTED_ON_LADDERS,
    UNSHIFTED_AT_EDGES,
    UNSHIFTED,
)
CANCELLED = Known(
    ("inaccurate", "dead_gradient", "spurious_overflow"),
    reason="logsumexp(x) - x_t cancels under a common offset",
    up_to=8,
)
CANCELLED_AT_AN_OFFSET = replace(
    CANCELLED, probe="accuracy", regime=("offset", "near_overflow"), up_to=Known.ANY_SIZE
)
CANCELS = (ZERO_WEIGHT, INFINITE, POISON, ROW_COUNT, CANCELLED_AT_AN_OFFSET, CANCELLED)
