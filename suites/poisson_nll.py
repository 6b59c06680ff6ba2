"""The Poisson likelihood of counts: every way in which people compute it, and the truth about each.

L = e^x - t x for a logarithm x of the rate, L = x - t log(x + eps) for a rate, and with `full` Stirling's
approximation of log t! more where t > 1; reduced by none, sum or mean. The closed form is in
`suites/oracles/poisson_nll.py`. The trap: at the optimum of a large count the printed terms cancel, and
the larger the count, the fewer digits are left of its likelihood.
"""

from __future__ import annotations

from functools import partial

from harness import Contract, Exhaustive, Implementation, Ladder, Regime, Suite, Variant, above
from suites.examples.poisson_nll import EXAMPLES, IDENTITIES
from suites.implementations.declared import BELOW_FLOAT64, UP_TO_FLOAT32, compiled, float64_control
from suites.implementations.poisson_nll import (
    NativeModule,
    deviance,
    exact_gradient,
    naive_loop,
    native,
    textbook,
    upcast,
)
from suites.known.poisson_nll import COMPILED, COMPOSED, UPCAST
from suites.mistakes.poisson_nll import KNOWN_BAD
from suites.oracles.poisson_nll import ORACLE
from suites.regimes import counts as draw
from suites.regimes.repeated import rows_ladder
from suites.regimes.residuals import INVALID_SHAPES, SHAPES

# In every format 0 * -inf is NaN, and so is the slope of t log t at t = 0.
WHERE_FLOAT64_IS_GOOD = Contract(
    dtypes=BELOW_FLOAT64,
    variants=("mean", "sum", "none", "full", "rates", "full_rates", "eps_tenth"),
    except_regimes=("zero_rate",),
)

SUITE = Suite(
    name="poisson_nll",
    formula="L = e^x - t x",
    oracle=ORACLE,
    options={
        "reduction": "mean",
        "log_input": True,
        "full": False,
        "eps": 1e-8,
    },
    variants=(
        Variant("mean"),
        Variant("sum", reduction="sum", adapt=draw.both_gradients),
        Variant("none", reduction="none", adapt=draw.both_gradients),
        Variant("full", full=True),
        Variant("rates", log_input=False, adapt=draw.as_rates),
        Variant("full_rates", log_input=False, full=True, adapt=draw.as_rates),
        Variant("eps_tenth", log_input=False, eps=0.1, adapt=draw.both_gradients_of_rates),
        Variant("both_gradients", full=True, adapt=draw.both_gradients),
    ),
    regimes=(
        Regime(draw.counts),
        Regime(draw.fitted),
        Regime(draw.unit_rate),
        Regime(draw.wide),
        Regime(draw.at_one),
        Regime(draw.rare),
        Regime(draw.zero_rate),
        Regime(draw.impossible),
        Regime(draw.near_overflow),
        Regime(draw.nan_prediction),
    ),
    ladders=(
        Ladder(
            "scale",
            draw.scaled,
            start=1.0,
            stop=draw.largest_logarithm,
            resolution=0.25,
            relative=2.0**-10,
            names="|x|, the logarithm of the rate",
        ),
        rows_ladder(draw.many_rows, "rows of one entry in the batch, losses between 1 and 1.72"),
    ),
    exhaustive=(
        Exhaustive(
            "prediction", partial(draw.every_prediction, count=1.0), "the log-rate, against a count of 1"
        ),
        Exhaustive("empty", partial(draw.every_prediction, count=0.0), "the log-rate, against a count of 0"),
    ),
    invalid=INVALID_SHAPES,
    shapes=SHAPES,
    implementations=(
        Implementation(native, baseline=True, known=COMPOSED),
        Implementation(NativeModule, name="native_module", known=COMPOSED),
        Implementation(naive_loop, skip=above(batch=256), known=COMPOSED),
        Implementation(textbook, known=COMPOSED),
        Implementation(deviance),
        Implementation(upcast, contract=UP_TO_FLOAT32, known=UPCAST),
        compiled(textbook, known=COMPILED),
        float64_control(upcast, WHERE_FLOAT64_IS_GOOD),
        Implementation(exact_gradient, control=True),
        *KNOWN_BAD,
    ),
    examples=EXAMPLES,
    identities=IDENTITIES,
)
