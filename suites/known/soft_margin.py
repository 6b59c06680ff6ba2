"""What is known to be wrong with the soft margin loss as torch and others compute it on the CPU.

The trap: torch's fix of 2022 put log1p in the place of log and left the exponential as it was.
"""

from __future__ import annotations

from harness import Known

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
ROUNDED_STEPS = Known(
    ("inaccurate", "dead_gradient", "spurious_overflow"),
    probe=("accuracy", "overflow"),
    dtype=HALF,
    reason="the power is stored in 16 bits between steps",
)
THRESHOLD = Known(
    "inaccurate",
    probe=("accuracy", "overflow"),
    reason="beyond its threshold of 20 softplus answers the argument itself, without e^-20",
)

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

NATIVE = (OVERFLOWING_POWER, ROUNDED_STEPS)
TEXTBOOK = (OVERFLOWING_POWER, ROUNDED_STEPS)
LOOP = (OVERFLOWING_POWER, LOST_BESIDE_ONE)
UPCAST = (OVERFLOWING_POWER,)
SOFTPLUS = (THRESHOLD,)
LOG_SIGMOID = ()
WITH_LOGITS = (INFINITE, SUBTRACTED_LABEL)
COMPILED = ()
