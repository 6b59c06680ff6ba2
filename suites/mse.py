"""The squared error: every way in which people compute it, and the truth about each.

L = w (x - t)^2 for every entry, reduced by none, sum or mean; the closed form is in
`suites/oracles/mse.py`. The weighted mean divides by the sum of the weights, as torch's does.
The trap: in float16 the square overflows from a residual of 256 on and vanishes below 2^-13, where an
infinity and a 0 are right.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from harness import Blind, Contract, Implementation, Regime, Suite, Variant, above
from suites.examples.mse import EXAMPLES, IDENTITIES
from suites.implementations.declared import BELOW_FLOAT64, UP_TO_FLOAT32, compiled, float64_control
from suites.implementations.mse import (
    exact_gradient,
    expanded_square,
    masked_after,
    masked_before,
    naive_loop,
    native,
    textbook,
    upcast,
)
from suites.known.mse import COMPILED, COMPOSED, CUT_LATE, EXPANDED, MODULE, NATIVE, UPCAST
from suites.mistakes.mse import KNOWN_BAD
from suites.oracles.mse import ORACLE
from suites.oracles.residuals import missing
from suites.regimes import residuals as draw
from suites.regimes.variants import reductions, under_reductions

# In every format a weight of 0 times an infinite residual is NaN.
WHERE_FLOAT64_IS_GOOD = Contract(dtypes=BELOW_FLOAT64, except_regimes=("infinite",))

SUITE = Suite(
    name="mse",
    formula="L = w (x - t)^2",
    oracle=ORACLE,
    options={
        "reduction": "mean",
        "weight": None,
        "mean_denominator": "weights",
        "ignore_nan": False,
    },
    ignored=missing,
    variants=(
        *reductions(),
        *under_reductions("weighted", weight=draw.ascending_weights),
        Variant("missing", ignore_nan=True, adapt=draw.with_missing),
    ),
    regimes=(
        *draw.REGIMES,
        Regime(partial(draw.near_overflow, power=2), name="near_overflow"),
        *draw.NOT_FINITE,
    ),
    ladders=draw.LADDERS,
    exhaustive=draw.EXHAUSTIVE,
    invalid=draw.INVALID_SHAPES,
    shapes=draw.SHAPES,
    implementations=(
        Implementation(native, baseline=True, known=NATIVE),
        Implementation(nn.MSELoss, name="native_module", known=MODULE),
        Implementation(naive_loop, skip=above(batch=256), known=COMPOSED),
        Implementation(textbook, known=COMPOSED),
        Implementation(expanded_square, known=EXPANDED),
        Implementation(upcast, contract=UP_TO_FLOAT32, known=UPCAST),
        Implementation(masked_before),
        Implementation(masked_after, contract=Contract(variants=("missing",)), known=CUT_LATE),
        compiled(textbook, known=COMPILED),
        float64_control(upcast, WHERE_FLOAT64_IS_GOOD),
        Implementation(exact_gradient, control=True),
        *KNOWN_BAD,
    ),
    blind=(
        Blind(
            "squares of residuals below 2^-7 are subnormal or next to it",
            check="loss",
            null="another row's",
            regime="tiny",
            dtype="float16",
        ),
    ),
    examples=EXAMPLES,
    identities=IDENTITIES,
)
