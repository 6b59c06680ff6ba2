"""What is known to be wrong with the binary focal loss as people compose it on the CPU.

Each entry was measured by the sweep itself. The trap: the loss of an easy element is tiny, so what is
lost is a warning each time, and only gamma < 1 makes NaN of it.
"""

from __future__ import annotations

from dataclasses import replace

from harness import Known
from suites.known.unrefused import ANY_SHARE, BROADCAST

HALF = ("bfloat16", "float16")
EASY = ("ladder lead", "exhaustive *")

EASY_ELEMENTS = ("confident", "wide", "rare_positives", "recorded_*")
DRAWN_NORMALLY = ("unit_normal", "infinite", "poisoned")
ROUNDED_COMPLEMENT = Known(
    ("inaccurate", "dead_gradient"),
    probe="accuracy",
    group=("loss", "logits/*"),
    regime=EASY_ELEMENTS,
    reason="1 - p_t is formed from a rounded p_t: the bits of an easy element are lost",
    upstream="pytorch#195529 (same cause in BCEWithLogits)",
    up_to=Known.ANY_SIZE,
)
FEWER_BITS = Known(
    "inaccurate",
    probe="accuracy",
    group=("loss", "logits/*"),
    regime=(*DRAWN_NORMALLY, "tiny"),
    reason="1 - p_t is formed from a rounded p_t: bits are lost, and its power doubles that",
    upstream="pytorch#195529 (same cause in BCEWithLogits)",
)
FEWER_BITS_OF_LARGE = replace(FEWER_BITS, regime="confident_wrong", up_to=Known.ANY_SIZE)
DEAD_LEAD = Known(
    ("inaccurate", "dead_gradient"),
    probe="overflow",
    group=EASY,
    reason="1 - p_t is formed from a rounded p_t: the bits of an easy element are lost, beyond 36.75 in "
    "float64, 16.75 in float32 and 6.25 in bfloat16 all of them",
    upstream="pytorch#195529 (same cause in BCEWithLogits)",
)
ROUNDED_STEPS = Known(
    ("inaccurate", "dead_gradient"),
    probe="accuracy",
    dtype=HALF,
    regime="near_overflow",
    reason="every step is rounded to 16 bits",
    up_to=128,
)
INFINITE_SLOPE = Known(
    ("spurious_nan", "edge_shape"),
    probe=("accuracy", "protocol"),
    variant="gamma_half",
    regime=("unit_normal", "confident*", "wide", "near_overflow", "infinite", "recorded_*"),
    reason="where p_t rounds to 1 the slope of (1 - p_t)^(1/2) is infinite, and is multiplied by 0",
    upstream="kornia#918, optax#1267 (the same elsewhere)",
)
INFINITE_LOGITS = Known(
    "spurious_nan",
    probe="accuracy",
    regime="infinite",
    reason="a term of coefficient 0, or inf - inf, where an infinite logit agrees with its label",
    upstream="optax#431 (the same in another library)",
)
OVERFLOWING_SLOPE = Known(
    "spurious_nan",
    probe="overflow",
    group="exhaustive *",
    reason="gamma times a loss near the top of the range overflows, and is multiplied by p (1 - p) = 0",
)
WEIGHT_ZERO = Known(
    "nan_leak",
    probe="accuracy",
    variant="alpha_zero",
    regime="poisoned",
    reason="an element of weight 0 is multiplied by 0 and not left out",
    outside=True,
)
SATURATED_LOGARITHM = Known(
    ("spurious_overflow", "spurious_nan"),
    probe="accuracy",
    regime=("confident_wrong", "wide", "near_overflow", "recorded_*"),
    reason="log p_t of a rounded p_t: log 0 where the answer is wrong and sure",
)
SATURATED_SCALE = Known(
    ("inaccurate", "spurious_overflow"),
    probe="overflow",
    group="ladder scale",
    reason="log p_t of a rounded p_t: few bits where the answer is wrong and sure, then log 0",
    up_to=16,
)

UNREFUSED = (ANY_SHARE, BROADCAST)
COMPOSED = (
    WEIGHT_ZERO,
    INFINITE_SLOPE,
    INFINITE_LOGITS,
    OVERFLOWING_SLOPE,
    ROUNDED_COMPLEMENT,
    FEWER_BITS,
    FEWER_BITS_OF_LARGE,
    DEAD_LEAD,
    ANY_SHARE,
    ROUNDED_STEPS,
)

LOOP = (
    WEIGHT_ZERO,
    INFINITE_SLOPE,
    SATURATED_LOGARITHM,
    SATURATED_SCALE,
    ROUNDED_COMPLEMENT,
    FEWER_BITS,
    FEWER_BITS_OF_LARGE,
    DEAD_LEAD,
    ROUNDED_STEPS,
    *UNREFUSED,
)
LOG_SPACE = UNREFUSED
CONTROL = (ANY_SHARE,)
UPCAST = COMPOSED[:-1]
COMPILED = UNREFUSED
