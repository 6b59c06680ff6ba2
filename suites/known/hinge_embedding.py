"""What is known to be wrong with hinge embedding losses as torch and others compute them on the CPU."""

from __future__ import annotations

from harness import Known

RELU = Known(
    "nan_swallowed",
    probe="accuracy",
    regime="poisoned*",
    reason="the backward of relu sends the gradient of a NaN on as if it were positive",
)
TEXTBOOK = (RELU,)
COMPILED = (RELU,)
