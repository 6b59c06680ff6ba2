"""Binary cross-entropy of logits: every way in which people compute it, and the truth about each.

L = w [(1 - t) log(1 + e^z) + pos_weight t log(1 + e^-z)] for every entry of (N, C); the closed forms are
in `suites/oracles/binary_cross_entropy_with_logits.py`. The mean divides by the number of elements,
whatever the weights. The trap: the usual forms are right on one side of the label and lose loss or
gradient on the other, which random labels against standard normal logits never show.
"""

from __future__ import annotations

from dataclasses import replace

from harness import Contract, Implementation, Regime, Suite, Variant, above
from suites.examples.binary_cross_entropy_with_logits import EXAMPLES, IDENTITIES
from suites.implementations.binary_cross_entropy_with_logits import (
    NativeModule,
    by_sides,
    exact_gradient,
    log_sigmoid,
    naive_loop,
    native,
    shifted,
    sigmoid_log,
    sigmoid_then_bce,
    two_classes,
    upcast,
)
from suites.implementations.declared import BELOW_FLOAT64, UP_TO_FLOAT32, compiled, float64_control
from suites.known.binary_cross_entropy_with_logits import (
    BY_SIDES,
    COMPILED,
    CONTROL,
    LOG_SIGMOID,
    LOOP,
    MODULE,
    NATIVE,
    SHIFTED,
    TEXTBOOK,
    THEN_BCE,
    TWO_CLASSES,
    UNREFUSED,
    UPCAST,
)
from suites.mistakes.binary_cross_entropy_with_logits import KNOWN_BAD
from suites.oracles.binary_cross_entropy_with_logits import ORACLE
from suites.regimes import binary as draw
from suites.regimes.refusals import OF_SHARES
from suites.regimes.variants import reductions

# In float64 too, native loses what is sure and right, and answers NaN to infinite logits.
WHERE_FLOAT64_IS_GOOD = Contract(
    dtypes=BELOW_FLOAT64,
    except_regimes=(
        "confident",
        "wide",
        "near_overflow",
        "distilled",
        "recorded_*",
        "infinite*",
        "ladder lead",
        "exhaustive *",
    ),
)

SUITE = Suite(
    name="binary_cross_entropy_with_logits",
    formula="L = (1 - t) log(1 + e^z) + t log(1 + e^-z)",
    oracle=ORACLE,
    options={"reduction": "mean", "weight": None, "pos_weight": None, "class_weights": None},
    variants=(
        *reductions(),
        Variant("weighted", weight=draw.class_weight, adapt=draw.both_gradients),
        Variant("weighted_sum", reduction="sum", weight=draw.class_weight, adapt=draw.both_gradients),
        Variant("pos_weight", pos_weight=draw.pos_weight, adapt=draw.both_gradients),
        Variant("pos_weight_sum", reduction="sum", pos_weight=draw.pos_weight, adapt=draw.both_gradients),
        Variant(
            "weighted_none",
            reduction="none",
            weight=draw.class_weight,
            pos_weight=draw.pos_weight,
            adapt=draw.both_gradients,
        ),
        *draw.CLASS_WEIGHTS,
        Variant("both_gradients", adapt=draw.both_gradients),
    ),
    regimes=(
        *draw.ORDINARY,
        Regime(draw.soft_targets),
        Regime(draw.distilled),
        *draw.EXTREMES,
        *draw.NOT_FINITE,
        *draw.recorded_regimes(),
    ),
    ladders=(
        # Two of the four logits are wrong: their losses sum to twice the value, pos_weight to 8 times.
        replace(draw.SCALE, stop=lambda finfo: 0.1 * float(finfo.max)),
        draw.LEAD,
        draw.ROWS,
    ),
    exhaustive=draw.EXHAUSTIVE,
    invalid=OF_SHARES,
    shapes=draw.SHAPES,
    implementations=(
        Implementation(native, baseline=True, known=NATIVE),
        Implementation(NativeModule, name="native_module", known=MODULE),
        Implementation(naive_loop, skip=above(batch=256, classes=256), known=LOOP),
        Implementation(sigmoid_log, known=TEXTBOOK),
        Implementation(sigmoid_then_bce, known=THEN_BCE),
        Implementation(shifted, known=SHIFTED),
        Implementation(log_sigmoid, known=LOG_SIGMOID),
        Implementation(by_sides, known=BY_SIDES),
        Implementation(two_classes, known=TWO_CLASSES),
        Implementation(upcast, contract=UP_TO_FLOAT32, known=UPCAST),
        compiled(log_sigmoid, skip=above(batch=64), known=COMPILED),
        float64_control(upcast, WHERE_FLOAT64_IS_GOOD, CONTROL),
        Implementation(exact_gradient, control=True, known=UNREFUSED),
        *KNOWN_BAD,
    ),
    examples=EXAMPLES,
    identities=IDENTITIES,
)
