"""What is known to be wrong with the Poisson likelihood as torch and others compute it on the CPU.

Each entry was measured by the sweep itself; its scope is as narrow as the cause allows. The trap: in
16 bits every regime shows the rounding of e^x, so an entry about eps or about cancellation has to name
the regime that shows it in float32 as well.
"""

from __future__ import annotations

from dataclasses import replace

from harness import Known
from harness.sample import Shape

HALF = ("bfloat16", "float16")
OF_LOGARITHMS = ("mean", "sum", "none", "full", "both_gradients")

ROUNDED_STEPS = Known(
    ("inaccurate", "negative", "dead_gradient"),
    probe=("accuracy", "overflow"),
    dtype=HALF,
    reason="e^x, t x and their difference are each rounded to 16 bits, and so is the slope e^x - t",
)
ROUNDED_DIFFERENCE = replace(
    ROUNDED_STEPS, probe="accuracy", regime="counts", group=("prediction/*", "target/*"), up_to=128
)
ROUNDED_FAR_DIFFERENCE = replace(
    ROUNDED_DIFFERENCE,
    regime=("fitted", "wide", "zero_rate", "impossible", "near_overflow", "nan_prediction"),
    up_to=1024,
)
ROUNDED_LOSS = replace(
    ROUNDED_STEPS, probe="accuracy", regime=("fitted", "zero_rate", "wide"), group="loss", up_to=32
)
LARGE_COUNTS = Known(
    "inaccurate",
    probe="accuracy",
    dtype=("float64", "float32"),
    variant=("full", "full_rates", "both_gradients"),
    regime="fitted",
    group="loss",
    reason="t log t and -t x leave log(2 pi t) / 2 of themselves, with the rounding of t log t",
    up_to=Known.ANY_SIZE,
)
ZERO_RATE = Known(
    "spurious_nan",
    probe="accuracy",
    variant=OF_LOGARITHMS,
    regime="zero_rate",
    group="loss",
    reason="a rate of 0 with a count of 0 contributes 0 * -inf",
    upstream="pytorch#89558 (same cause in kl_div)",
)
LOST_EPS = Known(
    ("spurious_nan", "spurious_overflow"),
    probe="accuracy",
    dtype="float16",
    variant=("rates", "full_rates"),
    regime=("zero_rate", "impossible"),
    shown_at=Shape(64, 10),
    reason="eps = 1e-8 is 0 in float16, so a rate of 0 meets log 0",
)
MASKED_SLOPE = Known(
    ("spurious_nan", "nan_leak"),
    variant="both_gradients",
    group="target/*",
    reason="Stirling's term is masked after it was computed: its slope at t = 0 is infinite, times 0",
)

COMPOSED = (
    ZERO_RATE,
    MASKED_SLOPE,
    LOST_EPS,
    LARGE_COUNTS,
    ROUNDED_DIFFERENCE,
    ROUNDED_FAR_DIFFERENCE,
    ROUNDED_LOSS,
    ROUNDED_STEPS,
)
UPCAST = (ZERO_RATE, MASKED_SLOPE, LARGE_COUNTS)
COMPILED = (ZERO_RATE,)
