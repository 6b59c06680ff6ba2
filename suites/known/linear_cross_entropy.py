"""What is known to be wrong with projected cross-entropy as torch and others compute it on the CPU.

Each entry was measured by the sweep itself; its scope is as narrow as the cause allows. The trap: a
scope that is too wide would hide a new finding behind an old reason.
"""

from __future__ import annotations

from harness import Known
from suites.known.cross_entropy import KILLS

SIXTEEN_BITS = ("bfloat16", "float16")
WIDE = ("float64", "float32")
OUT_OF_BITS = Known(
    ("dead_gradient", "inaccurate"),
    probe="accuracy",
    dtype=WIDE,
    regime=("confident", "few_labels", "wide"),
    reason="1 - p is computed from p, so what a confident row adds to every gradient loses its bits",
    upstream="pytorch#195529 (same cause in BCEWithLogits)",
)
# In one entry, since few draws show it in bfloat16, whose exponents go on where the bits of float32 end.
OUT_OF_BITS_FUSED = Known(
    ("dead_gradient", "inaccurate"),
    probe="accuracy",
    dtype=(*WIDE, "bfloat16"),
    regime=("confident", "few_labels", "wide"),
    reason="1 - p is computed from p, in float32 for 16 bits: what a confident row adds loses its bits",
    upstream="pytorch#195529 (same cause in BCEWithLogits)",
)
DEAD_GAP = Known(
    ("dead_gradient", "inaccurate"),
    probe="overflow",
    group=("ladder gap", "exhaustive gap"),
    reason="from this lead on the largest probability rounds to 1 and the label's gradient is 0",
    upstream="pytorch#195529 (same cause in BCEWithLogits)",
    up_to=32,
)
STORED_16_BIT = Known(
    ("inaccurate", "dead_gradient"),
    probe="accuracy",
    dtype=SIXTEEN_BITS,
    reason="logits and their gradients are stored in 16 bits between the projection and the loss",
)
SUMMED_16_BIT = Known(
    ("inaccurate", "dead_gradient"),
    probe="accuracy",
    dtype=SIXTEEN_BITS,
    reason="what rows or chunks add to the gradient of the weights is stored and added up in 16 bits",
)
COMMON_LOGIT = Known(
    ("spurious_overflow", "spurious_nan"),
    probe="overflow",
    dtype="float16",
    group="ladder common",
    reason="a logit beyond 65504 is infinite in float16, though all classes share it and the loss is small",
)
ROW_COUNT = Known(
    "inaccurate",
    probe="overflow",
    dtype="float16",
    group="ladder rows",
    reason="the number of rows overflows float16 before the division",
    upstream="pytorch#85791",
    up_to=32,
)
LABEL_APART = Known(
    ("inaccurate", "dead_gradient"),
    probe="accuracy",
    reason="the sums over p and over the labels are made apart and subtracted: their rounding stays where p "
    "is close to the one-hot label",
)
ONE_BY_ONE = Known(
    "inaccurate",
    probe="overflow",
    dtype=WIDE,
    group="ladder rows",
    reason="index_add_ adds up the rows of a frequent label one by one",
    up_to=16,
)
POISON = Known(
    "nan_leak",
    regime="poisoned",
    reason="the zero logit gradient of an ignored row is multiplied by the row's NaN, for all parameters",
    upstream="pytorch#11551",
    outside=True,
)
CHUNKED_POISON = Known(
    "nan_leak",
    regime="poisoned",
    reason="an ignored row is multiplied by a weight of 0 instead of left out, so its NaN reaches the loss",
    upstream="pytorch#11551",
    outside=True,
)
NEGATIVE_LABEL = Known(
    "accepts_invalid",
    probe="invalid_input",
    group="label_negative",
    reason="row[-1] is the last class to Python's indexing",
)
# A textbook form alone: what torch does at once over logits, in three steps.
ZERO_OVER_ZERO = Known(
    "spurious_nan",
    probe="accuracy",
    regime=("masked_bias", "ignored_half", "ignored_all"),
    reason="unstable on purpose: the slope of log p is 0 / 0 where a probability is 0, in ignored rows too",
)
UNDERFLOW = Known(
    ("spurious_nan", "spurious_overflow"),
    probe="accuracy",
    dtype="float16",
    regime=("wide", "confident", "confident_wrong", "few_labels"),
    reason="unstable on purpose: a probability below 2^-25 is 0 in float16 before the logarithm",
)
UNDERFLOW_ON_THE_WAY_UP = Known(
    ("spurious_nan", "spurious_overflow"),
    probe="overflow",
    group=("ladder scale", "ladder gap", "exhaustive gap"),
    reason="unstable on purpose: probabilities underflow before the logarithm",
)
ROUNDED_LOGSUMEXP = Known(
    "inaccurate",
    probe="accuracy",
    dtype=WIDE,
    regime="confident_wrong",
    reason="every probability is exp(z - logsumexp(z)), whose exponent is rounded at the size of the lead",
    up_to=4.0,
)
CANCELS = Known(
    "inaccurate",
    probe="overflow",
    group=("ladder common", "ladder scale"),
    reason="logsumexp(z) is rounded at the size of the logits and taken from one of them: it cancels",
    # On a ladder what fails first is just beyond the bound.
    up_to=4.0,
)
NATIVE = (STORED_16_BIT, OUT_OF_BITS, DEAD_GAP, COMMON_LOGIT, ROW_COUNT, POISON)
SOFTMAX_LOG = (ZERO_OVER_ZERO, UNDERFLOW, UNDERFLOW_ON_THE_WAY_UP, *NATIVE)
LOGSUMEXP = (ROUNDED_LOGSUMEXP, CANCELS, *NATIVE)
ROW_BY_ROW = (SUMMED_16_BIT, OUT_OF_BITS, DEAD_GAP, COMMON_LOGIT, NEGATIVE_LABEL)
ROW_CHUNKS = (SUMMED_16_BIT, OUT_OF_BITS, DEAD_GAP, COMMON_LOGIT, ROW_COUNT, POISON)
CHUNKED = (LABEL_APART, DEAD_GAP, ONE_BY_ONE, CHUNKED_POISON)
COMPACT = (LABEL_APART, DEAD_GAP, COMMON_LOGIT, ROW_COUNT, ONE_BY_ONE, CHUNKED_POISON)
FUSED = (OUT_OF_BITS_FUSED, DEAD_GAP)
UPCAST = (*FUSED, POISON)
COMPILED = (OUT_OF_BITS, DEAD_GAP, POISON, KILLS)
