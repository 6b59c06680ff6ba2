"""What is known to be wrong with the soft margin loss as torch and others compute it on the CPU.

The trap: torch's fix of 2022 put log1p in the place of log and left the exponential as it was.
"""

from __future__ import annotations

from dataclasses import replace

from harness import Known
from suites.known.unrefused import ANY_SIGN, BROADCAST

HALF = ("bfloat16", "float16")

OVERFLOWING_POWER = Known(
    ("spurious_overflow", "spurious_nan"),
    probe=("accuracy", "overflow"),
    reason="e^(-y x) overflows, from 11.09 on in float16, 88.7 in float32 and bfloat16, 709.8 in float64",
    upstream="pytorch#77529",
)
LOST_BESIDE_ONE = Known(
    ("inaccurate", "dead_gradient"),
    probe=("accuracy", "overflow"),
    reason="log(1 + e^(-y x)) loses the power beside the 1",
)
FAR = ("confident*", "wide", "near_overflow", "recorded_*")
LOST_IN_FLOAT16 = replace(LOST_BESIDE_ONE, probe="accuracy", regime=FAR, dtype="float16", up_to=512)
ROUNDED_STEPS = Known(
    ("inaccurate", "dead_gradient", "spurious_overflow"),
    probe=("accuracy", "overflow"),
    dtype=HALF,
    reason="the power is stored in 16 bits between steps",
)
# Its smallest normal number is 6e-5, so the power loses bits where bfloat16 has them all.
ROUNDED_IN_FLOAT16 = replace(ROUNDED_STEPS, probe="accuracy", dtype="float16", up_to=32)
ROUNDED_FAR_IN_FLOAT16 = replace(ROUNDED_IN_FLOAT16, regime=FAR, up_to=512)
ROUNDED = (ROUNDED_FAR_IN_FLOAT16, ROUNDED_IN_FLOAT16, ROUNDED_STEPS)
THRESHOLD = Known(
    "inaccurate",
    probe="accuracy",
    regime=FAR,
    reason="beyond its threshold of 20 softplus answers the argument itself, without e^-20",
    up_to=Known.ANY_SIZE,
)
THRESHOLD_ON_LADDERS = replace(THRESHOLD, probe="overflow", regime=())

SUBTRACTED_LABEL = Known(
    ("inaccurate", "dead_gradient"),
    probe=("accuracy", "overflow"),
    reason="s(x) - t and (1 - t) x + max(-x, 0) lose what is sure and right",
    upstream="pytorch#195529, pytorch#195677",
)
INFINITE = Known(
    "spurious_nan",
    probe="accuracy",
    regime=("infinite", "infinite_wrong"),
    reason="a term of coefficient 0 is multiplied by an infinite x",
)

UNREFUSED = (ANY_SIGN, BROADCAST)
NATIVE = (OVERFLOWING_POWER, *ROUNDED, ANY_SIGN)
TEXTBOOK = (OVERFLOWING_POWER, *ROUNDED, *UNREFUSED)
LOOP = (OVERFLOWING_POWER, LOST_IN_FLOAT16, LOST_BESIDE_ONE, *UNREFUSED)
UPCAST = (OVERFLOWING_POWER, ANY_SIGN)
SOFTPLUS = (THRESHOLD, THRESHOLD_ON_LADDERS, *UNREFUSED)
LOG_SIGMOID = UNREFUSED
CONTROL = (ANY_SIGN,)
WITH_LOGITS = (INFINITE, SUBTRACTED_LABEL, ANY_SIGN)
COMPILED = UNREFUSED
