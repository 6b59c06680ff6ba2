"""The absolute error: every way in which people compute it, and the truth about each.

L = w |x - t| for every entry, reduced by none, sum or mean; the closed form is in
`suites/oracles/l1.py`. The weighted mean divides by the sum of the weights, as torch's does. The trap: of
integers the difference wraps around silently (int8: |100 - (-100)| is 56 to torch), so integers are no
input here; and at x = t any slope between -w and w is right.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from harness import Contract, Exhaustive, Implementation, Regime, Suite, Variant, above
from harness.sample import Shape
from harness.suite import Shapes
from suites.examples.l1 import EXAMPLES, IDENTITIES
from suites.implementations.l1 import (
    exact_gradient,
    masked_after,
    masked_before,
    naive_loop,
    native,
    root_of_square,
    textbook,
    upcast,
)
from suites.known.l1 import NATIVE, ROOT, UPCAST
from suites.mistakes.l1 import KNOWN_BAD
from suites.oracles.l1 import ORACLE
from suites.oracles.residuals import missing
from suites.regimes import residuals as draw

UP_TO_FLOAT32 = Contract(dtypes=("float32", "bfloat16", "float16"))
# In every format a weight of 0 times an infinite residual is NaN.
WHERE_FLOAT64_IS_GOOD = Contract(dtypes=("float32", "bfloat16", "float16"), except_regimes=("infinite",))
# Two compiled artefacts in a quick sweep: the usual shape and the timed one.
COMPILED_FLOAT32 = Contract(dtypes=("float32",), variants=("mean",))

SUITE = Suite(
    name="l1",
    formula="L = w |x - t|",
    oracle=ORACLE,
    options={
        "reduction": "mean",
        "weight": None,
        "mean_denominator": "weights",
        "ignore_nan": False,
    },
    ignored=missing,
    variants=(
        Variant("mean"),
        Variant("sum", reduction="sum"),
        Variant("none", reduction="none"),
        Variant("weighted", weight=draw.ascending_weights),
        Variant("weighted_sum", weight=draw.ascending_weights, reduction="sum"),
        Variant("weighted_none", weight=draw.ascending_weights, reduction="none"),
        Variant("missing", ignore_nan=True, adapt=draw.with_missing),
    ),
    regimes=(
        Regime(draw.unit_normal),
        Regime(draw.fitted),
        Regime(draw.wide),
        Regime(draw.offset),
        Regime(draw.half_equal),
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
        Implementation(nn.L1Loss, name="native_module"),
        Implementation(naive_loop, skip=above(batch=256), known=NATIVE),
        Implementation(textbook, known=NATIVE),
        Implementation(root_of_square, known=ROOT),
        Implementation(upcast, contract=UP_TO_FLOAT32, known=UPCAST),
        Implementation(masked_before),
        Implementation(masked_after, contract=Contract(variants=("missing",))),
        Implementation(
            textbook,
            name="compiled",
            contract=COMPILED_FLOAT32,
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
    examples=EXAMPLES,
    identities=IDENTITIES,
)
