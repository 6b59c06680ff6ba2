"""What is known to be wrong with the focal loss over classes as people compose it on the CPU.

Each entry was measured by the sweep itself. The trap: whatever masks the loss of an ignored row afterwards is
too late twice, once for a NaN that stands in it and once for the slope of its factor.
"""

from __future__ import annotations

from dataclasses import replace

from harness import Known
from suites.known.cross_entropy import INFINITE
from suites.known.cross_entropy import POISON as POISONED

HALF = ("bfloat16", "float16")
EASY = ("confident", "wide", "recorded_*")
ROUNDED_COMPLEMENT = Known(
    ("inaccurate", "dead_gradient"),
    probe="accuracy",
    regime=EASY,
    reason="1 - p_t is formed from a rounded p_t: the bits of an easy row are lost",
    upstream="pytorch#195529 (same cause in BCEWithLogits)",
    up_to=Known.ANY_SIZE,
)
DEAD_GAP = Known(
    ("inaccurate", "dead_gradient"),
    probe="overflow",
    group=("ladder gap", "exhaustive gap"),
    reason="1 - p_t is formed from a rounded p_t: the bits of an easy row are lost, from a lead of 36.75 "
    "on in float64, 16.75 in float32 and 5.75 in bfloat16 all of them",
    upstream="pytorch#195529 (same cause in BCEWithLogits)",
)
ROUNDED_STEPS = Known(
    "inaccurate",
    probe="accuracy",
    dtype=HALF,
    reason="every step is rounded to 16 bits, 1 - p_t and what its power is multiplied by among them",
)
ROUNDED_LARGE = replace(ROUNDED_STEPS, regime="near_overflow", up_to=32)
INFINITE_SLOPE = Known(
    ("spurious_nan", "edge_shape"),
    probe=("accuracy", "protocol"),
    variant="gamma_half",
    group=("logits/*", "one class"),
    reason="where p_t rounds to 1, with one class always, the slope of (1 - p_t)^(1/2) is infinite, times 0",
    upstream="kornia#918, optax#1267 (the same elsewhere)",
)
OVERFLOWING_SLOPE = Known(
    "spurious_nan",
    probe="overflow",
    group="exhaustive gap",
    reason="gamma times a loss near the top of the range overflows, and is multiplied by p_t = 0",
)
# The cause is that of cross-entropy, which shows it under more probes and as more kinds.
POISON = replace(POISONED, kind="nan_leak", probe="accuracy")
MASKED_AFTER = Known(
    "spurious_nan",
    probe="accuracy",
    variant="ignore_index",
    regime="masked",
    group="logits/ignored",
    reason="an ignored row of an infinite loss is cut out after its slope, 0 * inf, was formed",
)
# Where some probability underflows or some exponential overflows, 0 / 0 and log 0 follow.
UNSTABLE = Known(
    ("spurious_nan", "spurious_overflow", "dead_gradient"),
    probe="accuracy",
    regime=(*EASY, "confident_wrong", "near_overflow", "infinite_logit"),
    group=("loss", "logits/*"),
    reason="unstable on purpose: probabilities over- and underflow before the logarithm",
    up_to=Known.ANY_SIZE,
)
UNSTABLE_SCALE = Known(
    ("spurious_nan", "spurious_overflow", "inaccurate"),
    probe="overflow",
    group=("ladder scale", "exhaustive gap"),
    reason="unstable on purpose: probabilities over- and underflow before the logarithm",
    up_to=64,
)
UNSTABLE_CLASSES = Known(
    ("spurious_nan", "spurious_overflow", "dead_gradient"),
    probe="overflow",
    dtype="float16",
    group="ladder classes",
    reason="unstable on purpose: of thousands of classes some probabilities underflow before the logarithm",
    up_to=64,
)
UNSTABLE_GAP = Known(
    "spurious_nan",
    probe="overflow",
    dtype="float16",
    group="ladder gap",
    reason="unstable on purpose: the other class underflows before the logarithm",
)
UNSHIFTED = Known(
    "spurious_nan",
    probe="accuracy",
    regime="offset",
    reason="unstable on purpose: the exponentials of a common offset overflow",
)
UNDERFLOW_IN_IGNORED = Known(
    "spurious_nan",
    probe="accuracy",
    regime=("ignored_half", "ignored_all", "masked"),
    group="logits/ignored",
    reason="an ignored row whose p_t underflows is cut out after its slope, 0 * inf, was formed",
)
ONE_HOT_PRODUCT = Known(
    "spurious_nan",
    probe="accuracy",
    regime="masked",
    reason="the zeros of a one-hot label do not cut log 0 of a masked class out of the sum: 0 * inf is NaN",
)
CANCELS = Known(
    ("inaccurate", "dead_gradient"),
    probe="accuracy",
    regime=("offset", "near_overflow"),
    reason="logsumexp(x) - x_t cancels under a common offset, and with it 1 - p_t",
    up_to=Known.ANY_SIZE,
)
# In one entry, since not every draw shows it on the way up, where what fails first is just beyond the bound.
ROUNDED_LOGSUMEXP = Known(
    "inaccurate",
    probe=("accuracy", "overflow"),
    regime=("confident_wrong", "unit_normal"),
    group=("logits/off_target", "ladder scale"),
    reason="every probability is exp(x - logsumexp(x)), whose exponent is rounded at the size of the logits",
    up_to=4.0,
)
SUMMED_IN_16_BIT = Known(
    ("inaccurate", "dead_gradient", "edge_shape"),
    probe=("accuracy", "protocol"),
    dtype=HALF,
    reason="unstable on purpose: exponentials are summed in 16 bits",
    up_to=8,
)
SUMMED_LARGE = replace(
    SUMMED_IN_16_BIT,
    probe="accuracy",
    dtype="float16",
    regime=("confident_wrong", "near_overflow"),
    up_to=512,
)
SUMMED_MANY = replace(SUMMED_IN_16_BIT, probe="overflow", dtype="float16", group="ladder classes")

COMPOSED = (
    INFINITE,
    INFINITE_SLOPE,
    POISON,
    OVERFLOWING_SLOPE,
    ROUNDED_COMPLEMENT,
    DEAD_GAP,
    ROUNDED_STEPS,
)
LOG_SOFTMAX = (MASKED_AFTER, *COMPOSED)
ONE_HOT = (ONE_HOT_PRODUCT, *COMPOSED)
LOGSUMEXP = (CANCELS, ROUNDED_LOGSUMEXP, *LOG_SOFTMAX)
SOFTMAX = (
    INFINITE_SLOPE,
    POISON,
    UNDERFLOW_IN_IGNORED,
    UNSTABLE,
    UNSTABLE_SCALE,
    UNSTABLE_CLASSES,
    ROUNDED_COMPLEMENT,
    DEAD_GAP,
    ROUNDED_LARGE,
    ROUNDED_STEPS,
)
LOOP = (
    INFINITE_SLOPE,
    UNSTABLE,
    UNSTABLE_SCALE,
    UNSTABLE_CLASSES,
    UNSTABLE_GAP,
    UNSHIFTED,
    ROUNDED_COMPLEMENT,
    DEAD_GAP,
    SUMMED_LARGE,
    SUMMED_MANY,
    SUMMED_IN_16_BIT,
)
OFF_TARGET = ()
UPCAST = (INFINITE, INFINITE_SLOPE, POISON, OVERFLOWING_SLOPE, ROUNDED_COMPLEMENT, DEAD_GAP)
COMPILED = ()
