"""The multi-label soft margin loss: every way in which people compute it, and the truth about each.

L_i = (1/C) sum_c w_c [(1 - t_c) log(1 + e^x_c) + t_c log(1 + e^-x_c)], one number per row; the closed
forms are in `suites/oracles/multilabel_soft_margin.py`. The trap: the text sums where torch averages over
classes (`over_classes`), and torch sums first and divides afterwards.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from harness import Contract, Exhaustive, Implementation, Ladder, Regime, Suite, Variant, above
from suites.examples.multilabel_soft_margin import EXAMPLES, IDENTITIES
from suites.implementations.declared import BELOW_FLOAT64, UP_TO_FLOAT32, compiled, float64_control
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
    UNREFUSED,
    UPCAST,
    WITH_LOGITS,
)
from suites.mistakes.multilabel_soft_margin import KNOWN_BAD
from suites.oracles.multilabel_soft_margin import ORACLE
from suites.regimes import binary as draw
from suites.regimes.refusals import OF_SHARES
from suites.regimes.variants import reductions, under_reductions

# logsigmoid is right in float64; 0 * inf is NaN in every format, and the slope of the target cancels.
WHERE_FLOAT64_IS_GOOD = Contract(
    dtypes=BELOW_FLOAT64,
    variants=("mean", "sum", "none", "weighted", "weighted_sum", "weighted_none"),
    except_regimes=("infinite", "infinite_wrong"),
)

SUITE = Suite(
    name="multilabel_soft_margin",
    formula="L = (1/C) sum_c [(1 - t_c) log(1 + e^x_c) + t_c log(1 + e^-x_c)]",
    oracle=ORACLE,
    options={"reduction": "mean", "weight": None, "over_classes": "mean"},
    variants=(
        *reductions(adapt=draw.in_rows),
        *under_reductions("weighted", weight=draw.class_weight, adapt=draw.in_rows),
        Variant("both_gradients", adapt=draw.both_gradients_in_rows),
    ),
    regimes=(
        *draw.ORDINARY,
        Regime(draw.soft_targets),
        *draw.EXTREMES,
        *draw.NOT_FINITE,
        *draw.recorded_regimes(),
    ),
    ladders=(
        draw.SCALE,
        Ladder(
            "classes",
            draw.many_columns,
            start=2.0,
            stop=lambda finfo: float(1 << 17),
            resolution=1.0,
            classes_is_value=True,
            names="classes in a row, each wrong by 3",
        ),
        draw.ROWS,
    ),
    exhaustive=(
        Exhaustive("positive", partial(draw.every_logit_in_rows, label=1.0), "the logit z at label 1"),
        Exhaustive("negative", partial(draw.every_logit_in_rows, label=0.0), "the logit z at label 0"),
    ),
    invalid=OF_SHARES,
    shapes=draw.SHAPES,
    implementations=(
        Implementation(native, baseline=True, known=NATIVE),
        Implementation(nn.MultiLabelSoftMarginLoss, name="native_module", known=NATIVE),
        Implementation(naive_loop, skip=above(batch=256, classes=1 << 14), known=LOOP),
        Implementation(log_sigmoid, known=LOG_SIGMOID),
        Implementation(by_sides, known=BY_SIDES),
        Implementation(text_sum, contract=Contract(over_classes="sum"), known=LOG_SIGMOID),
        Implementation(with_logits, known=WITH_LOGITS),
        Implementation(upcast, contract=UP_TO_FLOAT32, known=UPCAST),
        compiled(log_sigmoid, skip=above(batch=64), known=COMPILED),
        float64_control(upcast, WHERE_FLOAT64_IS_GOOD, UNREFUSED),
        Implementation(exact_gradient, control=True, known=UNREFUSED),
        *KNOWN_BAD,
    ),
    examples=EXAMPLES,
    identities=IDENTITIES,
)
