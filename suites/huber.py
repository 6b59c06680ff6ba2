"""Huber's loss: every way in which people compute it, and the truth about each.

With r = |x - t|, L = w r^2 / 2 below delta and w delta (r - delta / 2) above, reduced by none, sum or mean;
the closed form is in `suites/oracles/huber.py`. It is delta times smooth L1 with beta = delta. The trap:
torch's weighted mean divides by the number of entries here, and by the sum of the weights for the
squared and the absolute error.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from harness import Blind, Contract, Exhaustive, Implementation, Regime, Suite, Variant, above
from harness.sample import Shape
from harness.suite import Shapes
from suites.examples.huber import EXAMPLES, IDENTITIES
from suites.implementations.huber import (
    clamped,
    exact_gradient,
    masked_after,
    masked_before,
    naive_loop,
    native,
    textbook,
    upcast,
)
from suites.known.huber import CLAMPED, COMPILED, COMPOSED, CUT_LATE, LOOP, NATIVE, UPCAST
from suites.mistakes.huber import KNOWN_BAD
from suites.oracles.huber import ORACLE
from suites.oracles.residuals import missing
from suites.regimes import residuals as draw

UP_TO_FLOAT32 = Contract(dtypes=("float32", "bfloat16", "float16"))
# In every format a weight of 0 times an infinite residual is NaN.
WHERE_FLOAT64_IS_GOOD = Contract(dtypes=("float32", "bfloat16", "float16"), except_regimes=("infinite",))
# Two compiled artefacts in a quick sweep: the usual shape and the timed one.
COMPILED_FLOAT32 = Contract(dtypes=("float32",), variants=("mean",))

SUITE = Suite(
    name="huber",
    formula="L = w r^2 / 2 if r < delta else w delta (r - delta / 2)",
    oracle=ORACLE,
    options={
        "reduction": "mean",
        "delta": 1.0,
        "weight": None,
        "mean_denominator": "elements",
        "ignore_nan": False,
    },
    ignored=missing,
    variants=(
        Variant("mean"),
        Variant("sum", reduction="sum"),
        Variant("none", reduction="none"),
        Variant("delta_two", delta=2.0),
        Variant("delta_huge", delta=1e4, adapt=draw.in_units_of("delta")),
        Variant("weighted", weight=draw.ascending_weights),
        Variant("weighted_sum", weight=draw.ascending_weights, reduction="sum"),
        Variant("weighted_none", weight=draw.ascending_weights, reduction="none"),
        Variant("missing", ignore_nan=True, adapt=draw.with_missing),
    ),
    regimes=(
        Regime(draw.unit_normal),
        Regime(draw.wide),
        Regime(draw.offset),
        Regime(draw.half_equal),
        Regime(draw.at_threshold),
        Regime(draw.outliers),
        Regime(draw.tiny),
        Regime(draw.near_overflow),
        Regime(draw.nan_prediction),
        Regime(draw.infinite),
    ),
    ladders=draw.LADDERS,
    exhaustive=(Exhaustive("prediction", draw.every_prediction, "the prediction, against a target of 0"),),
    invalid=draw.INVALID_SHAPES,
    shapes=Shapes(timed=(Shape(256, 1000),), slow_regime="", clocked=("float32", "bfloat16")),
    implementations=(
        Implementation(native, baseline=True, known=NATIVE),
        Implementation(nn.HuberLoss, name="native_module"),
        Implementation(naive_loop, skip=above(batch=256), known=LOOP),
        Implementation(textbook, known=COMPOSED),
        Implementation(clamped, known=CLAMPED),
        Implementation(upcast, contract=UP_TO_FLOAT32, known=UPCAST),
        Implementation(masked_before),
        Implementation(masked_after, contract=Contract(variants=("missing",)), known=CUT_LATE),
        Implementation(
            textbook,
            name="compiled",
            contract=COMPILED_FLOAT32,
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
            "the losses of residuals one step around the threshold differ in their last bits alone",
            check="loss",
            null="another row's",
            regime="at_threshold",
        ),
    ),
    examples=EXAMPLES,
    identities=IDENTITIES,
)
