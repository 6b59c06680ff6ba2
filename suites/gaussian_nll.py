"""The Gaussian likelihood with a predicted variance: every way in which people compute it, and the truth.

L = (log v + (x - t)^2 / v) / 2 with v = max(variance, eps), log(2 pi) / 2 more with `full`; reduced by none,
sum or mean. The closed form is in `suites/oracles/gaussian_nll.py`. The trap: torch clamps out of sight of
autograd, so the slope of a variance below eps is that at eps; `variance.clamp(min=eps)` has none there.
"""

from __future__ import annotations

from harness import Blind, Contract, Exhaustive, Implementation, Ladder, Regime, Suite, Variant, above
from suites.examples.gaussian_nll import EXAMPLES, IDENTITIES
from suites.implementations.declared import UP_TO_FLOAT32, compiled, float64_control
from suites.implementations.gaussian_nll import (
    NativeModule,
    clamped,
    exact_gradient,
    log_prob,
    naive_loop,
    native,
    standardised,
    textbook,
    upcast,
)
from suites.known.gaussian_nll import COMPILED, COMPOSED, LOG_PROB, LOOP, UPCAST
from suites.mistakes.gaussian_nll import KNOWN_BAD
from suites.oracles.gaussian_nll import ORACLE
from suites.regimes import variances as draw
from suites.regimes.climbs import scale_ladder
from suites.regimes.repeated import rows_ladder
from suites.regimes.residuals import SHAPES
from suites.regimes.variants import reductions

SUITE = Suite(
    name="gaussian_nll",
    formula="L = (log v + (x - t)^2 / v) / 2, v = max(variance, eps)",
    oracle=ORACLE,
    options={
        "reduction": "mean",
        "full": False,
        "eps": 1e-6,
        "clamp": "unseen",
        "one_variance": False,
    },
    variants=(
        *reductions(),
        Variant("full", full=True, adapt=draw.all_gradients),
        Variant("eps_eighth", eps=0.125, adapt=draw.on_eps),
        Variant("one_variance", one_variance=True, adapt=draw.one_per_row),
    ),
    regimes=(
        Regime(draw.unit_normal),
        Regime(draw.calibrated),
        Regime(draw.balanced),
        Regime(draw.outliers),
        Regime(draw.half_equal),
        Regime(draw.tiny_variance),
        Regime(draw.zero_variance),
        Regime(draw.huge),
        Regime(draw.nan_prediction),
        Regime(draw.infinite),
    ),
    ladders=(
        # Two losses of this size: their sum is finite as well, and so is what bounds it.
        scale_ladder(draw.scaled, "|x - t| and the variance", share=0.12),
        Ladder(
            "small",
            draw.shrinking,
            start=1.0,
            stop=lambda finfo: 24.0,
            step=1.0,
            names="-log2 of the standard deviation, residuals of half of it",
        ),
        rows_ladder(draw.many_rows, "rows of one entry in the batch, residuals between 1 and 2"),
    ),
    exhaustive=(
        Exhaustive("variance", draw.every_variance, "the variance, with a residual of 1"),
        Exhaustive(
            "prediction", draw.every_prediction, "the prediction, against a target of 0 with a variance of 1"
        ),
    ),
    invalid=draw.INVALID,
    shapes=SHAPES,
    implementations=(
        Implementation(native, baseline=True, known=COMPOSED),
        Implementation(NativeModule, name="native_module", known=COMPOSED),
        Implementation(naive_loop, skip=above(batch=256), known=LOOP),
        Implementation(textbook, known=COMPOSED),
        Implementation(clamped, contract=Contract(clamp="seen"), known=COMPOSED),
        Implementation(log_prob, contract=Contract(variants=("full",)), known=LOG_PROB),
        Implementation(standardised),
        Implementation(upcast, contract=UP_TO_FLOAT32, known=UPCAST),
        compiled(textbook, known=COMPILED),
        float64_control(upcast),
        Implementation(exact_gradient, control=True),
        *KNOWN_BAD,
    ),
    blind=(
        Blind(
            "variances are at eps or below, where a clamp that autograd sees leaves no slope or any",
            check="gradient of variance",
            variant="eps_eighth",
            regime="zero_variance",
        ),
    ),
    examples=EXAMPLES,
    identities=IDENTITIES,
)
