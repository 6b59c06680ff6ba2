"""What is known to be wrong with the focal loss over classes as people compose it on the CPU.

Each entry was measured by the sweep itself. The trap: whatever masks the loss of an ignored row afterwards is
too late twice, once for a NaN that stands in it and once for the slope of its factor.
"""

from __future__ import annotations

from harness import Known

ROUNDED_COMPLEMENT = Known(
    ("inaccurate", "dead_gradient"),
    probe=("accuracy", "overflow"),
    reason="1 - p_t is formed from a rounded p_t: the bits of an easy row are lost, from a lead of 36.75 "
    "on in float64, 16.75 in float32 and 5.75 in bfloat16 all of them",
    upstream="pytorch#195529 (same cause in BCEWithLogits)",
)
INFINITE_SLOPE = Known(
    ("spurious_nan", "edge_shape"),
    probe=("accuracy", "protocol"),
    variant="gamma_half",
    reason="where p_t rounds to 1, with one class always, the slope of (1 - p_t)^(1/2) is infinite, times 0",
    upstream="kornia#918, optax#1267 (the same elsewhere)",
)
OVERFLOWING_SLOPE = Known(
    "spurious_nan",
    probe="overflow",
    group="exhaustive gap",
    reason="gamma times a loss near the top of the range overflows, and is multiplied by p_t = 0",
)
POISON = Known(
    "nan_leak",
    probe="accuracy",
    regime="poisoned",
    reason="the backward of log_softmax multiplies the NaN of an ignored row by its zero upstream gradient",
    upstream="pytorch#11551",
    outside=True,
)
MASKED_AFTER = Known(
    "spurious_nan",
    probe="accuracy",
    variant="ignore_index",
    regime="masked",
    group="logits/ignored",
    reason="an ignored row of an infinite loss is cut out after its slope, 0 * inf, was formed",
)
UNSTABLE = Known(
    ("spurious_nan", "spurious_overflow", "inaccurate", "dead_gradient", "edge_shape"),
    probe=("accuracy", "overflow", "protocol"),
    reason="unstable on purpose: probabilities over- and underflow before the logarithm",
)

COMPOSED = (INFINITE_SLOPE, POISON, OVERFLOWING_SLOPE, ROUNDED_COMPLEMENT)
LOG_SOFTMAX = (MASKED_AFTER, *COMPOSED)
SOFTMAX = (INFINITE_SLOPE, POISON, UNSTABLE)
LOOP = (INFINITE_SLOPE, UNSTABLE)
OFF_TARGET = ()
UPCAST = COMPOSED
COMPILED = ()
