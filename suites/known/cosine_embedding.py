"""What is known to be wrong with cosine embedding losses as torch and others compute them on the CPU.

Each entry was measured by the sweep itself. The trap: one cause has several faces, since a square that
overflows is inf, a quotient of two is NaN, and one that overflowed alone gives a cosine of 0.
"""

from __future__ import annotations

from dataclasses import replace

from harness import Known
from suites.known.unrefused import ANY_SIGN, BROADCAST

HALF = ("bfloat16", "float16")
WRONG = ("inaccurate", "dead_gradient", "negative")
BROKEN = (*WRONG, "spurious_nan", "spurious_overflow")

ROUNDED = Known(
    WRONG,
    probe="accuracy",
    dtype=HALF,
    reason="every step is rounded to 16 bits: norms, quotient and 1 - cos",
)
# Without a guard in the way, the ladders meet the same rounding wherever a draw puts it.
ROUNDED_QUOTIENTS = Known(WRONG, probe=("accuracy", "overflow"), dtype=HALF, reason=ROUNDED.reason)
# 1 / |x| multiplies the rounding of a cosine's slope.
OF_OTHER_LENGTHS = ("small", "tiny", "unequal", "huge", "poisoned", "orthogonal", "opposite", "zero_vectors")
ROUNDED_LENGTHS = replace(ROUNDED, regime=OF_OTHER_LENGTHS, up_to=Known.ANY_SIZE)
ONE_ENTRY = Known(
    "edge_shape",
    probe="protocol",
    dtype=HALF,
    reason="both terms of the gradient, rounded to 16 bits, cancel where vectors are parallel",
    up_to=Known.ANY_SIZE,
)
OUT_OF_RANGE = "squared norms, or their product, leave the range long before the vectors do"
LONG = Known(
    ("inaccurate", "dead_gradient", "spurious_nan"),
    probe="accuracy",
    regime=("huge", "unequal"),
    reason=f"{OUT_OF_RANGE}: a cosine of 0, or inf / inf",
    upstream="pytorch#69512, apex#211",
    up_to=Known.ANY_SIZE,
)
LONG_LADDER = Known(
    ("inaccurate", "spurious_nan"),
    probe="overflow",
    group="ladder length",
    reason=f"{OUT_OF_RANGE}: a cosine of 0, or inf / inf, from here on",
    upstream="pytorch#69512, apex#211",
    up_to=Known.ANY_SIZE,
)
# Each vector over its own norm: one that is infinite makes zeros, never inf / inf.
LONG_NORM = replace(
    LONG,
    kind=("inaccurate", "dead_gradient"),
    dtype=("float64", "float32", "bfloat16"),
    reason="a squared norm leaves the range long before its vector does, which is then divided by infinity",
)
LONG_NORM_LADDER = replace(LONG_LADDER, kind="inaccurate", dtype=LONG_NORM.dtype, reason=LONG_NORM.reason)
GUARD_IS_ZERO = Known(
    ("spurious_nan", "spurious_overflow"),
    probe="accuracy",
    dtype=HALF,
    regime=("small", "tiny", "zero_vectors"),
    reason="the guard is below the smallest number of float16 and lost beside one in bfloat16",
    upstream="pytorch#69512",
)
SHORT_LADDER = Known(
    BROKEN,
    probe="overflow",
    dtype=HALF,
    group="ladder shrinking",
    reason="squares of short vectors lose their bits in 16 bits, then underflow, and the guard is 0",
    upstream="pytorch#69512",
    up_to=64,
)
CLAMPED_SLOPE = Known(
    WRONG,
    probe="accuracy",
    regime=("tiny", "zero_vectors"),
    reason="the norm is clamped outside of autograd, so below the clamp its slope goes on",
    up_to=Known.ANY_SIZE,
)

CLAMPED_SLOPE_LADDER = Known(
    WRONG,
    probe="overflow",
    group="ladder shrinking",
    reason="from the clamp of the norm on autograd goes on as if there were none",
    up_to=Known.ANY_SIZE,
)
ANYWHERE = Known(
    BROKEN,
    probe="accuracy",
    dtype=HALF,
    reason="every step is rounded to 16 bits, and squares leave the range of float16",
    upstream="pytorch#69512",
)
OF_OTHER_LENGTHS_ANYWHERE = replace(ANYWHERE, regime=OF_OTHER_LENGTHS, up_to=Known.ANY_SIZE)

SUBNORMAL_SHARE = Known(
    WRONG,
    probe="overflow",
    dtype="float16",
    group="ladder rows",
    reason="1 / N is a subnormal number of float16 before a slope multiplies it",
)
UNREFUSED = (ANY_SIGN, BROADCAST)
CONTROL = (ANY_SIGN,)
COMPOSED = (
    ROUNDED_LENGTHS,
    ROUNDED,
    SUBNORMAL_SHARE,
    ONE_ENTRY,
    LONG,
    LONG_LADDER,
    GUARD_IS_ZERO,
    SHORT_LADDER,
)
NATIVE = (*COMPOSED, ANY_SIGN)
MODULE = NATIVE
LOOP = (OF_OTHER_LENGTHS_ANYWHERE, ANYWHERE, LONG)
MARGIN_ADDED = (OF_OTHER_LENGTHS_ANYWHERE, ANYWHERE, ONE_ENTRY, LONG, *UNREFUSED)
TEXTBOOK = (*COMPOSED, *UNREFUSED)
QUOTIENTS = (LONG_NORM, LONG_NORM_LADDER, GUARD_IS_ZERO, ROUNDED_LENGTHS, ROUNDED_QUOTIENTS, *UNREFUSED)
SIMILARITY = (*QUOTIENTS, CLAMPED_SLOPE, CLAMPED_SLOPE_LADDER)
NORMALISED = QUOTIENTS
# In float32 no square of a float16 number leaves the range.
UPCAST = (
    *(replace(entry, dtype=("float32", "bfloat16")) for entry in (LONG, LONG_LADDER)),
    ANY_SIGN,
)
STABLE = UNREFUSED
COMPILED = (LONG, LONG_LADDER, *UNREFUSED)
