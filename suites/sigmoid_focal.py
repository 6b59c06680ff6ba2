"""The binary focal loss: every way in which people compute it, and the truth about each.

L = alpha_t (1 - p_t)^gamma (-log p_t) for every entry of (N, C), with the options and the meaning of
`torchvision.ops.sigmoid_focal_loss`: a negative alpha means no weighting, the mean is over all elements.
torch has no such loss, so the baseline is the composition that everyone writes; the closed forms are in
`suites/oracles/sigmoid_focal.py`. The trap: the loss exists to weigh the easy elements down, and those
are the ones whose 1 - p_t the usual composition rounds away.
"""

from __future__ import annotations

from dataclasses import replace

from harness import Contract, Implementation, Regime, Suite, Variant, above
from suites.examples.sigmoid_focal import EXAMPLES, IDENTITIES
from suites.implementations.declared import BELOW_FLOAT64, UP_TO_FLOAT32, compiled, float64_control
from suites.implementations.sigmoid_focal import (
    ALPHA,
    GAMMA,
    composed,
    exact_gradient,
    exp_of_loss,
    log_space,
    naive_loop,
    upcast,
)
from suites.known.sigmoid_focal import (
    COMPILED,
    COMPOSED,
    CONTROL,
    LOG_SPACE,
    LOOP,
    UNREFUSED,
    UPCAST,
)
from suites.mistakes.sigmoid_focal import KNOWN_BAD
from suites.oracles.sigmoid_focal import ORACLE
from suites.regimes import binary as draw
from suites.regimes.focal import poisoned, rare_positives
from suites.regimes.refusals import OF_SHARES
from suites.regimes.variants import reductions

# Where 1 - p_t keeps too few bits even in float64, or an infinite logit makes 0 * inf.
WHERE_FLOAT64_IS_GOOD = Contract(
    dtypes=BELOW_FLOAT64,
    variants=("mean", "sum", "none", "unweighted", "gamma_zero", "gamma_half"),
    except_regimes=(
        "confident",
        "wide",
        "near_overflow",
        "recorded_*",
        "infinite",
        "ladder lead",
        "exhaustive *",
    ),
)

SUITE = Suite(
    name="sigmoid_focal",
    formula="L = alpha_t (1 - p_t)^gamma (-log p_t)",
    oracle=ORACLE,
    options={"reduction": "mean", "alpha": ALPHA, "gamma": GAMMA},
    variants=(
        *reductions(),
        Variant("unweighted", alpha=-1.0),
        Variant("alpha_zero", alpha=0.0),
        Variant("gamma_zero", alpha=-1.0, gamma=0.0),
        Variant("gamma_half", gamma=0.5),
    ),
    regimes=(
        Regime(draw.unit_normal),
        Regime(rare_positives),
        Regime(draw.wide),
        Regime(draw.confident),
        Regime(draw.confident_wrong),
        *draw.EXTREMES,
        Regime(draw.infinite),
        Regime(poisoned),
        draw.recorded_regimes()[-1],
    ),
    ladders=(
        draw.SCALE,
        draw.LEAD,
        replace(draw.ROWS, names="rows of one question, cross-entropies about 0.8"),
    ),
    exhaustive=draw.EXHAUSTIVE,
    invalid=OF_SHARES,
    shapes=draw.SHAPES,
    implementations=(
        Implementation(composed, baseline=True, known=COMPOSED),
        Implementation(naive_loop, skip=above(batch=256, classes=256), known=LOOP),
        Implementation(exp_of_loss, known=COMPOSED),
        Implementation(log_space, known=LOG_SPACE),
        Implementation(upcast, contract=UP_TO_FLOAT32, known=UPCAST),
        compiled(log_space, skip=above(batch=64), known=COMPILED),
        float64_control(upcast, WHERE_FLOAT64_IS_GOOD, CONTROL),
        Implementation(exact_gradient, control=True, known=UNREFUSED),
        *KNOWN_BAD,
    ),
    examples=EXAMPLES,
    identities=IDENTITIES,
)
