"""The binary focal loss: every way in which people compute it, and the truth about each.

L = alpha_t (1 - p_t)^gamma (-log p_t) for every entry of (N, C), with the options and the meaning of
`torchvision.ops.sigmoid_focal_loss`: a negative alpha means no weighting, the mean is over all elements.
torch has no such loss, so the baseline is the composition that everyone writes; the closed forms are in
`suites/oracles/sigmoid_focal.py`. The trap: the loss exists to weigh the easy elements down, and those
are the ones whose 1 - p_t the usual composition rounds away.
"""

from __future__ import annotations

from functools import partial

import torch

from harness import Blind, Contract, Exhaustive, Implementation, Ladder, Regime, Suite, Variant, above
from harness.sample import Shape
from harness.suite import Shapes
from suites.examples.sigmoid_focal import EXAMPLES, IDENTITIES
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
from suites.known.sigmoid_focal import COMPILED, COMPOSED, EXP_OF_LOSS, LOG_SPACE, LOOP, UPCAST
from suites.mistakes.sigmoid_focal import KNOWN_BAD
from suites.oracles.sigmoid_focal import ORACLE
from suites.regimes import binary as draw
from suites.regimes.focal import poisoned, rare_positives

UP_TO_FLOAT32 = Contract(dtypes=("float32", "bfloat16", "float16"))
# Where 1 - p_t keeps too few bits even in float64, or an infinite logit makes 0 * inf.
WHERE_FLOAT64_IS_GOOD = Contract(
    dtypes=("float32", "bfloat16", "float16"),
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
        Variant("mean"),
        Variant("sum", reduction="sum"),
        Variant("none", reduction="none"),
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
        Regime(draw.near_overflow),
        Regime(draw.tiny),
        Regime(draw.at_zero),
        Regime(draw.infinite),
        Regime(poisoned),
        draw.recorded_regimes()[-1],
    ),
    ladders=(
        Ladder(
            "scale",
            draw.scaled,
            start=1.0,
            stop=lambda finfo: 0.4 * float(finfo.max),
            resolution=0.25,
            relative=2.0**-10,
            names="size of four logits, two of them wrong",
        ),
        Ladder(
            "lead",
            draw.lead,
            question="dead_gradient",
            start=1.0,
            step=0.25,
            stop=lambda finfo: 48.0,
            names="size of two logits, both right",
        ),
        Ladder(
            "rows",
            draw.many_rows,
            start=2.0,
            stop=lambda finfo: float(1 << 17),
            resolution=1.0,
            batch_is_value=True,
            names="rows of one question, cross-entropies about 0.8",
        ),
    ),
    exhaustive=(
        Exhaustive("positive", partial(draw.every_logit, label=1.0), "the logit z at label 1"),
        Exhaustive("negative", partial(draw.every_logit, label=0.0), "the logit z at label 0"),
    ),
    shapes=Shapes(
        covering=(Shape(1, 3), Shape(7, 10), Shape(64, 101)),
        timed=(Shape(64, 1000),),
        slow_regime="",
        clocked=("float32", "bfloat16"),
    ),
    implementations=(
        Implementation(composed, baseline=True, known=COMPOSED),
        Implementation(naive_loop, skip=above(batch=256, classes=256), known=LOOP),
        Implementation(exp_of_loss, known=EXP_OF_LOSS),
        Implementation(log_space, known=LOG_SPACE),
        Implementation(upcast, contract=UP_TO_FLOAT32, known=UPCAST),
        Implementation(
            log_space,
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
            "logits next to 0 give one number for each label to its last bits",
            check="loss",
            regime=("tiny", "at_zero"),
        ),
    ),
    examples=EXAMPLES,
    identities=IDENTITIES,
)
