"""Smooth L1: every way in which people compute it, and the truth about each.

With r = |x - t|, L = r^2 / (2 beta) below beta and r - beta / 2 above, reduced by none, sum or mean; the
closed form is in `suites/oracles/smooth_l1.py`. At beta = 1 it is Huber's loss, at
beta = 0 the absolute error. The trap: r * r is computed before it is divided by beta, torch's own
kernel included, so a threshold far from 1 loses the loss to an infinity or a 0 while the slope stays right.
"""

from __future__ import annotations

from torch import nn

from harness import Contract, Implementation, Suite, Variant, above
from suites.examples.smooth_l1 import EXAMPLES, IDENTITIES
from suites.implementations.declared import BELOW_FLOAT64, UP_TO_FLOAT32, compiled, float64_control
from suites.implementations.smooth_l1 import (
    clamped,
    exact_gradient,
    masked_after,
    masked_before,
    naive_loop,
    native,
    textbook,
    upcast,
)
from suites.known.smooth_l1 import CLAMPED, COMPILED, COMPOSED, CUT_EARLY, CUT_LATE, LOOP, NATIVE, UPCAST
from suites.mistakes.smooth_l1 import KNOWN_BAD
from suites.oracles.residuals import missing
from suites.oracles.smooth_l1 import ORACLE
from suites.regimes import residuals as draw
from suites.regimes.variants import reductions

# At beta = 0 the slope of a NaN is 0 in every format.
WHERE_FLOAT64_IS_GOOD = Contract(dtypes=BELOW_FLOAT64, except_regimes=("nan_prediction",))
NEAR_ONE = Contract(variants=("mean", "sum", "none", "beta_half"))

SUITE = Suite(
    name="smooth_l1",
    formula="L = r^2 / (2 beta) if r < beta else r - beta / 2",
    oracle=ORACLE,
    options={
        "reduction": "mean",
        "beta": 1.0,
        "mean_denominator": "elements",
        "ignore_nan": False,
    },
    ignored=missing,
    variants=(
        *reductions(),
        Variant("beta_half", beta=0.5),
        Variant("beta_zero", beta=0.0),
        Variant("beta_huge", beta=draw.huge_threshold, adapt=draw.in_units_of("beta")),
        Variant("beta_tiny", beta=draw.tiny_threshold, adapt=draw.in_units_of("beta")),
        Variant("missing", ignore_nan=True, adapt=draw.with_missing),
    ),
    regimes=draw.THRESHOLD_REGIMES,
    ladders=draw.LADDERS,
    exhaustive=draw.EXHAUSTIVE,
    invalid=draw.INVALID_SHAPES,
    shapes=draw.SHAPES,
    implementations=(
        Implementation(native, baseline=True, known=NATIVE),
        Implementation(nn.SmoothL1Loss, name="native_module", known=NATIVE),
        # Far from beta = 1 it is the textbook, row by row.
        Implementation(naive_loop, contract=NEAR_ONE, skip=above(batch=256), known=LOOP),
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
