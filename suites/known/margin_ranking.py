"""What is known to be wrong with margin ranking losses as torch and others compute them on the CPU."""

from __future__ import annotations

from harness import Known
from suites.known.unrefused import ANY_SIGN, BROADCAST

ROUNDED = Known(
    ("inaccurate", "dead_gradient", "edge_shape"),
    probe=("accuracy", "protocol"),
    variant=("margin", "margin_none"),
    regime=("near_margin", "scores", "huge_scores"),
    dtype=("bfloat16", "float16"),
    reason="the difference of two scores is rounded to 16 bits before the margin is added",
    up_to=1024,
)
RELU = Known(
    "nan_swallowed",
    probe="accuracy",
    regime="poisoned*",
    reason="the backward of relu sends the gradient of a NaN on as if it were positive",
)
# The loss says it, so nobody goes on unaware; no form of torch's own does better.
CLAMPED = Known(
    "nan_swallowed",
    probe="accuracy",
    regime="poisoned*",
    group="*/*",
    reason="the backward of clamp compares, and a comparison with NaN is false: loss NaN, slope 0",
    outside=True,
)
UNREFUSED = (ANY_SIGN, BROADCAST)
CONTROL = (ANY_SIGN,)
LOOP = (CLAMPED,)
NATIVE = (ROUNDED, CLAMPED, ANY_SIGN)
UPCAST = (CLAMPED, ANY_SIGN)
CASES = (ROUNDED, CLAMPED, *UNREFUSED)
TEXTBOOK = (ROUNDED, RELU, *UNREFUSED)
COMPILED = (RELU, *UNREFUSED)
