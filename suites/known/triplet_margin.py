"""What is known to be wrong with triplet margin losses as torch and others compute them on the CPU."""

from __future__ import annotations

from dataclasses import replace

from harness import Known, Shape
from suites.known.cosine_embedding import SUBNORMAL_SHARE
from suites.known.margin_ranking import CLAMPED

HALF = ("bfloat16", "float16")
WRONG = ("inaccurate", "dead_gradient", "negative")
BROKEN = (*WRONG, "spurious_nan", "spurious_overflow", "saturated")

ROUNDED = Known(
    (*WRONG, "edge_shape", "upstream", "second_backward"),
    probe=("accuracy", "protocol"),
    dtype=HALF,
    reason="differences, distances and the hinge are each rounded to 16 bits",
)
# Whether a hinge is met is decided by its rounded value: beside the threshold a whole slope is lost or added.
ROUNDED_SLOPES = replace(
    ROUNDED,
    group=("anchor/*", "positive/*", "negative/*", "a prime *", "one *", "*upstream*", "*backward*"),
    up_to=Known.ANY_SIZE,
)
VANISHING = Known(
    ("spurious_nan", "spurious_overflow"),
    probe="accuracy",
    dtype="float16",
    regime=("equal_*", "tiny_triplet"),
    reason="the square of 1e-6 is 0 in float16, and the root of 0 has no slope",
)
CUBED = Known(
    ("spurious_nan", "spurious_overflow"),
    probe="accuracy",
    dtype="float16",
    variant="p3_swap",
    regime=("hard", "equal_*", "tiny_triplet"),
    shown_at=Shape(64, 10),
    reason="the cube of a difference below 2^-8 is 0 in float16, and the root of 0 has no slope",
)
LONG = Known(
    BROKEN,
    probe="accuracy",
    regime="huge_triplet",
    reason="powers of a difference leave the range long before its norm does",
    up_to=Known.ANY_SIZE,
)
LONG_LADDER = Known(
    BROKEN,
    probe="overflow",
    group="ladder length",
    reason="powers of a difference leave the range from here on, and inf - inf is NaN",
    up_to=Known.ANY_SIZE,
)
NO_SLOPE = Known(
    "spurious_nan",
    probe="accuracy",
    regime=("equal_positive", "equal_all"),
    reason="the root of a sum of squares has no slope at 0: 0 * inf",
    upstream="tensorflow#30199, sentence-transformers#4033",
)

ROUNDED_ROW = Known(
    WRONG,
    probe="overflow",
    dtype=HALF,
    group="ladder rows",
    reason="some row of a longer batch has a difference whose rounding to 16 bits shows",
)
COLLAPSED = Known(
    "identity",
    probe="identity",
    group="collapsed_model_pays_the_margin",
    dtype="float16",
    reason="the square of 1e-6 is 0 in float16, and the root of 0 has no slope",
)

DISTANCE = (CLAMPED, ROUNDED_SLOPES, ROUNDED, LONG, LONG_LADDER)
NATIVE = (*DISTANCE, CUBED)
MODULE = NATIVE
TEXTBOOK = (*DISTANCE, SUBNORMAL_SHARE, VANISHING, COLLAPSED)
LOOP = (CLAMPED, ROUNDED_SLOPES, ROUNDED, LONG, VANISHING)
SQUARED = (CLAMPED, ROUNDED_SLOPES, ROUNDED, ROUNDED_ROW)
ROOT = (*DISTANCE, SUBNORMAL_SHARE, NO_SLOPE, VANISHING)
STABLE = ()
UPCAST = (CLAMPED, LONG, LONG_LADDER)
COMPILED = (CLAMPED, LONG, LONG_LADDER)
