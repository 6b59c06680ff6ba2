"""The multi-label soft margin loss: every way in which people compute it, and the truth about each.

L_i = (1/C) sum_c w_c [(1 - t_c) log(1 + e^x_c) + t_c log(1 + e^-x_c)], one number per row; the closed
forms are in `suites/oracles/multilabel_soft_margin.py`. The trap: the text sums where torch averages over
classes (`over_classes`), and torch sums first and divides afterwards.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from harness import Blind, Contract, Implementation, Ladder, Regime, Suite, Variant, above
from harness.sample import Shape
from harness.suite import Shapes
from suites.examples.multilabel_soft_margin import EXAMPLES, IDENTITIES
from suites.implementations.multilabel_soft_margin import (
    by_sides,
    exact_gradient,
    log_sigmoid,
    naive_loop,
    native,
    text_sum,
    upcast,
    with_logits,
)
from suites.known.multilabel_soft_margin import (
    BY_SIDES,
    COMPILED,
    LOG_SIGMOID,
    LOOP,
    NATIVE,
    UPCAST,
    WITH_LOGITS,
)
from suites.mistakes.multilabel_soft_margin import KNOWN_BAD
from suites.oracles.multilabel_soft_margin import ORACLE
from suites.regimes import binary as draw

UP_TO_FLOAT32 = Contract(dtypes=("float32", "bfloat16", "float16"))
# logsigmoid is right in float64; 0 * inf is NaN in every format, and the slope of the target cancels.
WHERE_FLOAT64_IS_GOOD = Contract(
    dtypes=("float32", "bfloat16", "float16"),
    variants=("mean", "sum", "none", "weighted", "weighted_sum", "weighted_none"),
    except_regimes=("infinite", "infinite_wrong"),
)

SUITE = Suite(
    name="multilabel_soft_margin",
    formula="L = (1/C) sum_c [(1 - t_c) log(1 + e^x_c) + t_c log(1 + e^-x_c)]",
    oracle=ORACLE,
    options={"reduction": "mean", "weight": None, "over_classes": "mean"},
    variants=(
        Variant("mean", adapt=draw.in_rows),
        Variant("sum", reduction="sum", adapt=draw.in_rows),
        Variant("none", reduction="none", adapt=draw.in_rows),
        Variant("weighted", weight=draw.class_weight, adapt=draw.in_rows),
        Variant("weighted_sum", weight=draw.class_weight, reduction="sum", adapt=draw.in_rows),
        Variant("weighted_none", weight=draw.class_weight, reduction="none", adapt=draw.in_rows),
        Variant("both_gradients", adapt=draw.both_gradients_in_rows),
    ),
    regimes=(
        Regime(draw.unit_normal),
        Regime(draw.wide),
        Regime(draw.confident),
        Regime(draw.confident_wrong),
        Regime(draw.soft_targets),
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
            stop=lambda finfo: 0.4 * float(finfo.max),
            resolution=0.25,
            relative=2.0**-10,
            names="size of four logits, two of them wrong",
        ),
        Ladder(
            "classes",
            draw.many_columns,
            start=2.0,
            stop=lambda finfo: float(1 << 17),
            resolution=1.0,
            classes_is_value=True,
            names="classes in a row, each wrong by 3",
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
    shapes=Shapes(
        covering=(Shape(1, 3), Shape(7, 10), Shape(64, 101)),
        timed=(Shape(64, 1000),),
        slow_regime="",
        clocked=("float32", "bfloat16"),
    ),
    implementations=(
        Implementation(native, baseline=True, known=NATIVE),
        Implementation(nn.MultiLabelSoftMarginLoss, name="native_module", known=NATIVE),
        Implementation(naive_loop, skip=above(batch=256, classes=1 << 14), known=LOOP),
        Implementation(log_sigmoid, known=LOG_SIGMOID),
        Implementation(by_sides, known=BY_SIDES),
        Implementation(text_sum, contract=Contract(over_classes="sum"), known=LOG_SIGMOID),
        Implementation(with_logits, known=WITH_LOGITS),
        Implementation(upcast, contract=UP_TO_FLOAT32, known=UPCAST),
        Implementation(
            log_sigmoid,
            name="compiled",
            contract=Contract(dtypes=("float32",), variants=("mean",)),
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
            "logits next to 0 give a loss of log 2 whatever their labels",
            check="loss",
            regime=("tiny", "at_zero"),
        ),
    ),
    examples=EXAMPLES,
    identities=IDENTITIES,
)
