"""Huber's loss: every way in which people compute it, and the truth about each.

With r = |x - t|, L = w r^2 / 2 below delta and w delta (r - delta / 2) above, reduced by none, sum or mean;
the closed form is in `suites/oracles/huber.py`. It is delta times smooth L1 with beta = delta. The trap:
torch's weighted mean divides by the number of entries here, and by the sum of the weights for the
squared and the absolute error.
"""

from __future__ import annotations

from torch import nn

from harness import Contract, Implementation, Suite, Variant, above
from suites.examples.huber import EXAMPLES, IDENTITIES
from suites.implementations.declared import BELOW_FLOAT64, UP_TO_FLOAT32, compiled, float64_control
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
from suites.known.huber import CLAMPED, COMPILED, COMPOSED, CUT_EARLY, CUT_LATE, LOOP, NATIVE, UPCAST
from suites.mistakes.huber import KNOWN_BAD
from suites.oracles.huber import ORACLE
from suites.oracles.residuals import missing
from suites.regimes import residuals as draw
from suites.regimes.variants import reductions, under_reductions

# In every format a weight of 0 times an infinite residual is NaN.
WHERE_FLOAT64_IS_GOOD = Contract(dtypes=BELOW_FLOAT64, except_regimes=("infinite",))

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
        *reductions(),
        Variant("delta_two", delta=2.0),
        Variant("delta_huge", delta=1e4, adapt=draw.in_units_of("delta")),
        *under_reductions("weighted", weight=draw.ascending_weights),
        Variant("missing", ignore_nan=True, adapt=draw.with_missing),
    ),
    regimes=draw.THRESHOLD_REGIMES,
    ladders=draw.LADDERS,
    exhaustive=draw.EXHAUSTIVE,
    invalid=draw.INVALID_SHAPES,
    shapes=draw.SHAPES,
    implementations=(
        Implementation(native, baseline=True, known=NATIVE),
        Implementation(nn.HuberLoss, name="native_module"),
        Implementation(naive_loop, skip=above(batch=256), known=LOOP),
        Implementation(textbook, known=COMPOSED),
        Implementation(clamped, known=CLAMPED),
        Implementation(upcast, contract=UP_TO_FLOAT32, known=UPCAST),
        Implementation(masked_before, known=CUT_EARLY),
        Implementation(masked_after, contract=Contract(variants=("missing",)), known=CUT_LATE),
        compiled(textbook, known=COMPILED),
        float64_control(upcast, WHERE_FLOAT64_IS_GOOD),
        Implementation(exact_gradient, control=True),
        *KNOWN_BAD,
    ),
    blind=(draw.BLIND_AT_THRESHOLD,),
    examples=EXAMPLES,
    identities=IDENTITIES,
)
