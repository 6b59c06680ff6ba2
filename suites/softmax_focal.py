"""The focal loss over classes: every way in which people compute it, and the truth about each.

L_i = alpha_t (1 - p_t)^gamma (-log p_t) with p = softmax(x_i); the closed forms are in
`suites/oracles/softmax_focal.py`. Neither the paper nor torch defines it for more than two classes: here
alpha is a weight per class, ignored rows cost nothing, and the mean is over the kept rows. The trap: at
gamma = 1/2 the slope of the factor is infinite where p_t rounds to 1, and an ignored row counts as such.
"""

from __future__ import annotations

from functools import partial

import torch

from harness import Blind, Contract, Exhaustive, Implementation, Ladder, Regime, Suite, Variant, above
from harness.sample import Shape
from harness.suite import Shapes
from suites.examples.softmax_focal import EXAMPLES, IDENTITIES
from suites.implementations.softmax_focal import (
    GAMMA,
    IGNORE,
    composed,
    exact_gradient,
    log_softmax_gather,
    naive_loop,
    off_target,
    softmax_gather,
    upcast,
)
from suites.known.softmax_focal import COMPILED, COMPOSED, LOG_SOFTMAX, LOOP, OFF_TARGET, SOFTMAX, UPCAST
from suites.mistakes.softmax_focal import KNOWN_BAD
from suites.oracles.cross_entropy import gradient_groups, ignored_rows
from suites.oracles.softmax_focal import ORACLE
from suites.regimes import classification as draw
from suites.regimes.recorded import recorded_regimes
from suites.regimes.targets import ascending_weights, relabelled

UP_TO_FLOAT32 = Contract(dtypes=("float32", "bfloat16", "float16"))
# Where 1 - p_t keeps too few bits even in float64; at gamma = 1/2 ignored rows are NaN in every format.
WHERE_FLOAT64_IS_GOOD = Contract(
    dtypes=("float32", "bfloat16", "float16"),
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
        Variant("mean"),
        Variant("sum", reduction="sum"),
        Variant("none", reduction="none"),
        Variant("weighted", alpha=ascending_weights),
        Variant("weighted_sum", alpha=ascending_weights, reduction="sum"),
        Variant("weighted_none", alpha=ascending_weights, reduction="none"),
        Variant("weighted_ignored", alpha=ascending_weights, ignore_index=-1, adapt=relabelled),
        Variant("ignore_index", ignore_index=-1, adapt=relabelled),
        Variant("gamma_zero", gamma=0.0),
        Variant("gamma_half", gamma=0.5),
    ),
    regimes=(
        Regime(draw.unit_normal),
        Regime(draw.wide),
        Regime(draw.confident),
        Regime(draw.confident_wrong),
        Regime(draw.near_overflow),
        Regime(draw.offset),
        Regime(draw.masked),
        Regime(draw.ties),
        Regime(draw.tiny),
        Regime(partial(draw.ignored, share=0.5), name="ignored_half", needs=IGNORING),
        Regime(partial(draw.ignored, share=1.0), name="ignored_all", needs=IGNORING),
        Regime(draw.poisoned, needs=IGNORING),
        Regime(draw.nan_logit),
        Regime(draw.infinite_logit),
        recorded_regimes()[2],
    ),
    ladders=(
        Ladder(
            "scale",
            draw.scaled,
            start=1.0,
            stop=lambda finfo: 0.49 * float(finfo.max),
            resolution=0.25,
            relative=2.0**-10,
            names="largest |logit|",
        ),
        Ladder(
            "gap",
            draw.two_class_gap,
            question="dead_gradient",
            start=1.0,
            step=0.25,
            stop=lambda finfo: 48.0,
            names="lead of the label over one other class",
        ),
        Ladder(
            "rows",
            partial(draw.many_rows, lead=-3.0),
            start=2.0,
            stop=lambda finfo: float(1 << 17),
            resolution=1.0,
            batch_is_value=True,
            names="rows in the batch, losses about 3",
        ),
    ),
    exhaustive=(Exhaustive("gap", draw.every_gap, "the lead x of the label in a row [x, 0]"),),
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
        Implementation(off_target, known=OFF_TARGET),
        Implementation(upcast, contract=UP_TO_FLOAT32, known=UPCAST),
        Implementation(
            off_target,
            name="compiled",
            contract=Contract(dtypes=("float32",), variants=("mean",)),
            skip=above(batch=64),
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
            "logits next to 0 give the loss of p_t = 1 / C to its last bits",
            check="loss",
            null="the constant log C",
            regime="tiny",
        ),
    ),
    examples=EXAMPLES,
    identities=IDENTITIES,
)
