"""What is known to be wrong with the Gaussian likelihood as torch and others compute it on the CPU.

Each entry was measured by the sweep itself; its scope is as narrow as the cause allows. The trap: one
square that leaves the range shows as an infinite loss, an infinite slope and a NaN, so one entry names
every face of it.
"""

from __future__ import annotations

from dataclasses import replace

from harness import Known

HALF = ("bfloat16", "float16")

SQUARE_FIRST = Known(
    ("spurious_overflow", "spurious_nan"),
    probe=("accuracy", "overflow"),
    group=("loss", "variance/*", "ladder scale", "exhaustive *"),
    reason="(x - t)^2 overflows before it is divided by v, and r^2 / v and r^2 / v^2 before they are halved",
    upstream="pytorch#44350 (same cause in mse)",
)
DIVIDED_EARLY = Known(
    ("spurious_overflow", "inaccurate"),
    probe=("accuracy", "overflow"),
    regime=("huge", "tiny_variance", "unit_normal"),
    group=("prediction/*", "target/*", "ladder small"),
    reason="what comes from above is divided by v before it meets the residual: infinite for a small v, "
    "subnormal for a large one",
    up_to=16,
)
ROUNDED_EPS = Known(
    "inaccurate",
    probe="accuracy",
    dtype="float16",
    regime="zero_variance",
    group="loss",
    reason="eps = 1e-6 is a subnormal number of float16 and 1.3 % too large there",
)
ROUNDED_STEPS = Known(
    ("inaccurate", "negative", "dead_gradient"),
    probe=("accuracy", "overflow"),
    dtype=HALF,
    reason="each step is rounded to 16 bits: residual, square, quotient, logarithm, both parts of a slope",
)
# The slope by v is a difference of two quotients of v, and where 1 / v is large so is what is left.
ROUNDED_VARIANCE_SLOPE = replace(
    ROUNDED_STEPS, probe="accuracy", regime="unit_normal", group="variance/*", up_to=32
)
ROUNDED_VARIANCE_SLOPES = replace(
    ROUNDED_VARIANCE_SLOPE,
    regime=("*_variance", "balanced", "calibrated", "outliers", "half_equal", "nan_*", "infinite", "huge"),
    up_to=Known.ANY_SIZE,
)
ROUNDED_AT_EVERY_VARIANCE = replace(
    ROUNDED_STEPS, probe="overflow", group="exhaustive variance", up_to=Known.ANY_SIZE
)
ROUNDED_AT_ZERO_VARIANCE = replace(
    ROUNDED_STEPS, probe="accuracy", regime="zero_variance", group="prediction/*", up_to=16
)
ROUNDED = (ROUNDED_VARIANCE_SLOPES, ROUNDED_VARIANCE_SLOPE, ROUNDED_AT_ZERO_VARIANCE, ROUNDED_STEPS)

LOOP = (SQUARE_FIRST, DIVIDED_EARLY, ROUNDED_EPS, *ROUNDED)
COMPOSED = (ROUNDED_AT_EVERY_VARIANCE, *LOOP)
LOG_PROB = (
    SQUARE_FIRST,
    DIVIDED_EARLY,
    ROUNDED_VARIANCE_SLOPES,
    ROUNDED_AT_ZERO_VARIANCE,
    ROUNDED_STEPS,
)
UPCAST = (SQUARE_FIRST, DIVIDED_EARLY)
COMPILED = (
    SQUARE_FIRST,
    DIVIDED_EARLY,
    Known(
        "graph_break",
        probe="compilation",
        reason="refusing a negative variance, as torch does, reads a number back: the graph is cut there",
    ),
)
