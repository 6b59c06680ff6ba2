"""What is known to be wrong with CTC as torch and others compute it on the CPU.

Each entry was measured by the sweep itself; its scope is as narrow as the cause allows. Native is judged by
the gradient that it means to give (`suites/oracles/ctc.py`): that it is another is no finding here, and
the defects beside it stay visible. The trap: a gradient out of exp(a + b + L) has the rounding of log-sums
as its relative error, which is no finding as long as they are small enough.
"""

from __future__ import annotations

from harness import Known
from suites.known.cross_entropy import KILLS

EMPTY_BATCH = Known(
    "edge_shape",
    probe="protocol",
    group="zero rows",
    reason="a batch without sequences raises instead of answering 0, or NaN for the mean",
)
FORBIDDEN = Known(
    "spurious_nan",
    probe="accuracy",
    regime="masked",
    group="log_probs/*",
    reason="the slope exp(x) - exp(a + b + L - x) is -inf - (-inf) at every forbidden class",
)
NEAR_ZERO = Known(
    "inaccurate",
    probe="accuracy",
    regime=("saturated", "confident"),
    group="loss",
    reason="log(exp(0) + small): of a loss next to 0 whatever is below the rounding of 1 is lost",
)
SCALE = Known(
    ("inaccurate", "spurious_overflow", "spurious_nan", "dead_gradient"),
    probe="overflow",
    group="ladder scale",
    reason="log-sums of this size are rounded by more than 1, so exp of their difference is any number",
    up_to=Known.ANY_SIZE,
)
UNCHECKED_LABEL = Known(
    "accepts_invalid",
    probe="invalid_input",
    group="label_beyond_classes",
    reason="labels index memory unchecked: the next row is read, and the backward writes there",
    upstream="pytorch#193794",
)
NATIVE = (EMPTY_BATCH, FORBIDDEN, NEAR_ZERO, SCALE, UNCHECKED_LABEL)
UPCAST = (FORBIDDEN, NEAR_ZERO)

CANCELLED = Known(
    ("inaccurate", "dead_gradient"),
    probe="accuracy",
    group="log_probs/*",
    reason="exp(x) is in native's slope and taken out again: what is below its rounding is lost",
)
CORRECTED = (*NATIVE, CANCELLED)

LOOP = (
    NEAR_ZERO,
    Known(
        "spurious_nan",
        probe="accuracy",
        regime="masked",
        group="log_probs/*",
        reason="the slope of a logsumexp of nothing but -inf is NaN",
        upstream="pytorch#49724",
    ),
)

TEXTBOOK = (
    Known(
        ("spurious_overflow", "spurious_nan", "inaccurate"),
        probe="accuracy",
        regime=("long", "confident_wrong"),
        dtype="float32",
        reason="a product of sixty small probabilities, or of a few tiny ones, underflows",
        up_to=Known.ANY_SIZE,
    ),
    Known(
        ("spurious_overflow", "spurious_nan", "inaccurate", "dead_gradient"),
        probe="overflow",
        group=("ladder frames", "ladder scale"),
        reason="from here on products of probabilities underflow",
        up_to=Known.ANY_SIZE,
    ),
    Known(
        "inaccurate",
        probe="accuracy",
        regime="saturated",
        group="loss",
        reason="the total probability is 1 to the last bit: its logarithm is lost",
    ),
)

RESCALED = (
    Known(
        "inaccurate",
        probe="accuracy",
        regime="saturated",
        group="loss",
        reason="the total probability is 1 to the last bit: its logarithm is lost",
    ),
    Known(
        ("spurious_overflow", "spurious_nan", "inaccurate", "dead_gradient"),
        probe="overflow",
        group="ladder scale",
        reason="beside a beginning so much more likely, the one that can be finished underflows to 0",
        up_to=Known.ANY_SIZE,
    ),
)
# Compiled it is asked no ladder of scales.
COMPILED = (*(entry for entry in RESCALED if entry.probe != ("overflow",)), KILLS)
