"""The focal loss over classes: every way in which people compute it, and the truth about each.

L_i = alpha_t (1 - p_t)^gamma (-log p_t) with p = softmax(x_i); the closed forms are in
`suites/oracles/softmax_focal.py`. Neither the paper nor torch defines it for more than two classes: here
alpha is a weight per class, ignored rows cost nothing, and the mean is over the kept rows. The trap: at
gamma = 1/2 the slope of the factor is infinite where p_t rounds to 1, and an ignored row counts as such.
"""

from __future__ import annotations

from functools import partial

from harness import Blind, Contract, Implementation, Regime, Suite, Variant, above
from harness.sample import Shape
from harness.suite import Shapes
from suites.examples.softmax_focal import EXAMPLES, IDENTITIES
from suites.implementations.declared import BELOW_FLOAT64, UP_TO_FLOAT32, compiled, float64_control
from suites.implementations.softmax_focal import (
    GAMMA,
    IGNORE,
    chunked,
    composed,
    exact_gradient,
    log_softmax_gather,
    logsumexp_gather,
    naive_loop,
    off_target,
    one_hot,
    softmax_gather,
    upcast,
)
from suites.known.softmax_focal import (
    COMPILED,
    COMPOSED,
    LOG_SOFTMAX,
    LOGSUMEXP,
    LOOP,
    OFF_TARGET,
    ONE_HOT,
    SOFTMAX,
    UPCAST,
)
from suites.mistakes.softmax_focal import KNOWN_BAD
from suites.oracles.cross_entropy import gradient_groups, ignored_rows
from suites.oracles.softmax_focal import ORACLE
from suites.regimes import classification as draw
from suites.regimes.climbs import classes_ladder
from suites.regimes.invalid import INVALID_LABELS
from suites.regimes.recorded import recorded_regimes
from suites.regimes.repeated import rows_ladder
from suites.regimes.targets import ascending_weights, relabelled
from suites.regimes.variants import reductions, under_reductions

# Where 1 - p_t keeps too few bits even in float64; at gamma = 1/2 ignored rows are NaN in every format.
WHERE_FLOAT64_IS_GOOD = Contract(
    dtypes=BELOW_FLOAT64,
    variants=(
        "mean",
        "sum",
        "none",
        "weighted",
        "weighted_sum",
        "weighted_none",
        "weighted_ignored",
        "ignore_index",
        "gamma_zero",
    ),
    except_regimes=(
        "confident",
        "wide",
        "near_overflow",
        "recorded_digits_late",
        "poisoned",
        "infinite_logit",
        "ladder gap",
        "exhaustive gap",
    ),
)
IGNORING = ("ignore_index",)
# What another way to the same losses costs is told of cross_entropy.
UNTIMED = above(classes=101)

SUITE = Suite(
    name="softmax_focal",
    formula="L = alpha_t (1 - p_t)^gamma (-log p_t)",
    oracle=ORACLE,
    options={
        "reduction": "mean",
        "alpha": None,
        "gamma": GAMMA,
        "ignore_index": IGNORE,
        "empty_mean": "nan",
    },
    groups=gradient_groups,
    ignored=ignored_rows,
    variants=(
        *reductions(),
        *under_reductions("weighted", alpha=ascending_weights),
        Variant("weighted_ignored", alpha=ascending_weights, ignore_index=-1, adapt=relabelled),
        Variant("ignore_index", ignore_index=-1, adapt=relabelled),
        Variant("gamma_zero", gamma=0.0),
        Variant("gamma_half", gamma=0.5),
    ),
    regimes=(
        *draw.REGIMES,
        Regime(partial(draw.ignored, share=0.5), name="ignored_half", needs=IGNORING),
        Regime(partial(draw.ignored, share=1.0), name="ignored_all", needs=IGNORING),
        Regime(draw.poisoned, needs=IGNORING),
        Regime(draw.nan_logit),
        Regime(draw.infinite_logit),
        recorded_regimes()[2],
    ),
    ladders=(
        draw.SCALE,
        draw.GAP,
        rows_ladder(partial(draw.many_rows, lead=-3.0), "rows in the batch, losses about 3"),
        classes_ladder(draw.many_classes, "classes in a row"),
    ),
    exhaustive=draw.EXHAUSTIVE,
    invalid=INVALID_LABELS,
    shapes=Shapes(
        covering=(Shape(1, 3), Shape(7, 10), Shape(64, 1), Shape(64, 101)),
        timed=(Shape(256, 1000),),
        slow_regime="",
        clocked=("float32", "bfloat16"),
    ),
    implementations=(
        Implementation(composed, baseline=True, known=COMPOSED),
        Implementation(naive_loop, skip=above(batch=256), known=LOOP),
        Implementation(softmax_gather, known=SOFTMAX),
        Implementation(log_softmax_gather, known=LOG_SOFTMAX),
        Implementation(one_hot, skip=UNTIMED, known=ONE_HOT),
        Implementation(logsumexp_gather, skip=UNTIMED, known=LOGSUMEXP),
        Implementation(chunked, skip=UNTIMED, known=COMPOSED),
        Implementation(off_target, known=OFF_TARGET),
        Implementation(upcast, contract=UP_TO_FLOAT32, known=UPCAST),
        compiled(
            off_target,
            # Another number of classes is an artefact of its own.
            contract=Contract(dtypes=("float32",), variants=("mean",), except_regimes=("ladder classes",)),
            skip=above(batch=64),
            known=COMPILED,
        ),
        float64_control(upcast, WHERE_FLOAT64_IS_GOOD),
        Implementation(exact_gradient, control=True),
        *KNOWN_BAD,
    ),
    blind=(
        Blind(
            "beside thousands of classes 16 roundings of p log p in bfloat16 are as large as the slope",
            check="ladder classes: gradient of logits",
            null="the one-hot part alone",
            dtype="bfloat16",
        ),
    ),
    examples=EXAMPLES,
    identities=IDENTITIES,
)
