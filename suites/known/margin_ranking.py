"""What is known to be wrong with margin ranking losses as torch and others compute them on the CPU."""

from __future__ import annotations

from harness import Known

ROUNDED = Known(
    ("inaccurate", "dead_gradient", "edge_shape"),
    probe=("accuracy", "protocol"),
    variant=("margin", "margin_none"),
    regime=("near_margin", "scores", "huge_scores"),
    dtype=("bfloat16", "float16"),
    reason="the difference of two scores is rounded to 16 bits before the margin is added",
)
RELU = Known(
    "nan_swallowed",
    probe="accuracy",
    regime="poisoned*",
    reason="the backward of relu sends the gradient of a NaN on as if it were positive",
)
NATIVE = (ROUNDED,)
TEXTBOOK = (ROUNDED, RELU)
COMPILED = (RELU,)
