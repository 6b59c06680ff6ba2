"""Binary cross-entropy of logits: every way in which people compute it, and the truth about each.

L = w [(1 - t) log(1 + e^z) + pos_weight t log(1 + e^-z)] for every entry of (N, C); the closed forms are
in `suites/oracles/binary_cross_entropy_with_logits.py`. The mean divides by the number of elements,
whatever the weights. The trap: the usual forms are right on one side of the label and lose loss or
gradient on the other, which random labels against standard normal logits never show.
"""

from __future__ import annotations

from functools import partial

import torch

from harness import Blind, Contract, Exhaustive, Implementation, Ladder, Regime, Suite, Variant, above
from harness.sample import Shape
from harness.suite import Shapes
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
from suites.known.binary_cross_entropy_with_logits import (
    BY_SIDES,
    COMPILED,
    LOG_SIGMOID,
    LOOP,
    MODULE,
    NATIVE,
    SHIFTED,
    TEXTBOOK,
    THEN_BCE,
    TWO_CLASSES,
    UPCAST,
)
from suites.mistakes.binary_cross_entropy_with_logits import KNOWN_BAD
from suites.oracles.binary_cross_entropy_with_logits import ORACLE
from suites.regimes import binary as draw

UP_TO_FLOAT32 = Contract(dtypes=("float32", "bfloat16", "float16"))
# In float64 too, native loses what is sure and right, and answers NaN to infinite logits.
WHERE_FLOAT64_IS_GOOD = Contract(
    dtypes=("float32", "bfloat16", "float16"),
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
COMPILED_FLOAT32 = Contract(dtypes=("float32",), variants=("mean",))

SUITE = Suite(
    name="binary_cross_entropy_with_logits",
    formula="L = (1 - t) log(1 + e^z) + t log(1 + e^-z)",
    oracle=ORACLE,
    options={"reduction": "mean", "weight": None, "pos_weight": None, "class_weights": None},
    variants=(
        Variant("mean"),
        Variant("sum", reduction="sum"),
        Variant("none", reduction="none"),
        Variant("weighted", weight=draw.class_weight),
        Variant("weighted_sum", reduction="sum", weight=draw.class_weight),
        Variant("pos_weight", pos_weight=draw.pos_weight),
        Variant("pos_weight_sum", reduction="sum", pos_weight=draw.pos_weight),
        Variant(
            "weighted_none",
            reduction="none",
            weight=draw.class_weight,
            pos_weight=draw.pos_weight,
            adapt=draw.both_gradients,
        ),
        Variant("class_weights", class_weights=(0.5, 3.0), adapt=draw.hard_labels),
        Variant("class_weights_sum", reduction="sum", class_weights=(0.5, 3.0), adapt=draw.hard_labels),
        Variant("class_weights_none", reduction="none", class_weights=(0.5, 3.0), adapt=draw.hard_labels),
        Variant("both_gradients", adapt=draw.both_gradients),
    ),
    regimes=(
        Regime(draw.unit_normal),
        Regime(draw.wide),
        Regime(draw.confident),
        Regime(draw.confident_wrong),
        Regime(draw.soft_targets),
        Regime(draw.distilled),
        Regime(draw.near_overflow),
        Regime(draw.tiny),
        Regime(draw.at_zero),
        Regime(draw.infinite),
        Regime(draw.infinite_wrong),
        Regime(draw.poisoned),
        *draw.recorded_regimes(),
    ),
    ladders=(
        Ladder(
            "scale",
            draw.scaled,
            start=1.0,
            # Two of the four logits are wrong: their losses sum to twice the value, pos_weight to 8 times.
            stop=lambda finfo: 0.1 * float(finfo.max),
            resolution=0.25,
            relative=2.0**-10,
            names="size of four logits, two of them wrong",
        ),
        Ladder(
            "lead",
            draw.lead,
            question="dead_gradient",
            start=1.0,
            step=0.25,
            stop=lambda finfo: 48.0,
            names="size of two logits, both right",
        ),
        Ladder(
            "rows",
            draw.many_rows,
            start=2.0,
            stop=lambda finfo: float(1 << 17),
            resolution=1.0,
            batch_is_value=True,
            names="rows of one question, losses about 0.8",
        ),
    ),
    exhaustive=(
        Exhaustive("positive", partial(draw.every_logit, label=1.0), "the logit z at label 1"),
        Exhaustive("negative", partial(draw.every_logit, label=0.0), "the logit z at label 0"),
    ),
    shapes=Shapes(
        covering=(Shape(1, 3), Shape(7, 10), Shape(64, 101)),
        timed=(Shape(64, 1000),),
        slow_regime="",
        clocked=("float32", "bfloat16"),
    ),
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
        Implementation(
            log_sigmoid,
            name="compiled",
            contract=COMPILED_FLOAT32,
            skip=above(batch=64),
            known=COMPILED,
            prepare=partial(torch.compile, dynamic=False),
        ),
        Implementation(
            partial(upcast, wide_dtype=torch.float64),
            name="float64_control",
            control=True,
            contract=WHERE_FLOAT64_IS_GOOD,
        ),
        Implementation(exact_gradient, control=True),
        *KNOWN_BAD,
    ),
    blind=(
        Blind(
            "logits next to 0 give a loss of log 2 to its last bits",
            check="loss",
            null="the constant log C",
            regime=("tiny", "at_zero"),
        ),
    ),
    examples=EXAMPLES,
    identities=IDENTITIES,
)
