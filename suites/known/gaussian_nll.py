"""What is known to be wrong with the Gaussian likelihood as torch and others compute it on the CPU.

Each entry was measured by the sweep itself; its scope is as narrow as the cause allows. The trap: one
square that leaves the range shows as an infinite loss, an infinite slope and a NaN, so one entry names
every face of it.
"""

from __future__ import annotations

from harness import Known

HALF = ("bfloat16", "float16")

SQUARE_FIRST = Known(
    ("spurious_overflow", "spurious_nan"),
    probe=("accuracy", "overflow"),
    group=("loss", "variance/*", "ladder scale", "exhaustive variance"),
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
ROUNDED_FOR_EVERY_UPSTREAM = Known(
    ("second_backward", "upstream", "edge_shape"),
    probe="protocol",
    dtype=HALF,
    reason="1 / v and r^2 / v^2 are rounded to 16 bits before they are subtracted, whatever comes from above",
)

COMPOSED = (SQUARE_FIRST, DIVIDED_EARLY, ROUNDED_EPS, ROUNDED_STEPS, ROUNDED_FOR_EVERY_UPSTREAM)
LOG_PROB = (SQUARE_FIRST, DIVIDED_EARLY, ROUNDED_STEPS, ROUNDED_FOR_EVERY_UPSTREAM)
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
