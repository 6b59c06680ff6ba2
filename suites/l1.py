"""The absolute error: every way in which people compute it, and the truth about each.

L = w |x - t| for every entry, reduced by none, sum or mean; the closed form is in
`suites/oracles/l1.py`. The weighted mean divides by the sum of the weights, as torch's does. The trap: of
integers the difference wraps around silently (int8: |100 - (-100)| is 56 to torch), so integers are no
input here; and at x = t any slope between -w and w is right.
"""

from __future__ import annotations

from torch import nn

from harness import Contract, Implementation, Regime, Suite, Variant, above
from suites.examples.l1 import EXAMPLES, IDENTITIES
from suites.implementations.declared import BELOW_FLOAT64, UP_TO_FLOAT32, compiled, float64_control
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
from suites.known.l1 import COMPILED, MASKED, MODULE, NATIVE, ROOT, UPCAST
from suites.known.unrefused import INTEGERS_ROUNDED, INTEGERS_SQUARED, INTEGERS_SUBTRACTED
from suites.mistakes.l1 import KNOWN_BAD
from suites.oracles.l1 import ORACLE
from suites.oracles.residuals import missing
from suites.regimes import residuals as draw
from suites.regimes.variants import reductions, under_reductions

# In every format a weight of 0 times an infinite residual is NaN, and the slope of a NaN is 0.
WHERE_FLOAT64_IS_GOOD = Contract(dtypes=BELOW_FLOAT64, except_regimes=("infinite", "nan_prediction"))

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
        *reductions(),
        *under_reductions("weighted", weight=draw.ascending_weights),
        Variant("missing", ignore_nan=True, adapt=draw.with_missing),
    ),
    regimes=(
        *draw.REGIMES,
        Regime(draw.near_overflow),
        *draw.NOT_FINITE,
    ),
    ladders=draw.LADDERS,
    exhaustive=draw.EXHAUSTIVE,
    invalid=(*draw.INVALID_SHAPES, draw.INVALID_INTEGERS),
    shapes=draw.SHAPES,
    implementations=(
        Implementation(native, baseline=True, known=(*NATIVE, INTEGERS_SUBTRACTED)),
        Implementation(nn.L1Loss, name="native_module", known=(*MODULE, INTEGERS_SUBTRACTED)),
        Implementation(naive_loop, skip=above(batch=256), known=(*NATIVE, INTEGERS_SUBTRACTED)),
        Implementation(textbook, known=(*NATIVE, INTEGERS_SUBTRACTED)),
        Implementation(root_of_square, known=(*ROOT, INTEGERS_SQUARED)),
        Implementation(upcast, contract=UP_TO_FLOAT32, known=(*UPCAST, INTEGERS_ROUNDED)),
        Implementation(masked_before, known=(*MASKED, INTEGERS_ROUNDED)),
        Implementation(masked_after, contract=Contract(variants=("missing",)), known=MASKED),
        compiled(textbook, known=COMPILED),
        float64_control(upcast, WHERE_FLOAT64_IS_GOOD, (INTEGERS_ROUNDED,)),
        Implementation(exact_gradient, control=True, known=(INTEGERS_ROUNDED,)),
        *KNOWN_BAD,
    ),
    examples=EXAMPLES,
    identities=IDENTITIES,
)
