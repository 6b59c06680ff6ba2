"""The margin ranking loss: every way in which people compute it, and the truth about each.

L = max(0, -y (x1 - x2) + margin) for every entry, gradients to both scores; the closed forms are in
`suites/oracles/margin_ranking.py`. The trap: equal scores without a margin stand at the kink, where one
half of all implementations answers 0 and the other y; both are right.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from harness import Blind, Contract, Exhaustive, Implementation, Ladder, Regime, Suite, Variant, above
from suites.examples.margin_ranking import EXAMPLES, IDENTITIES
from suites.implementations.declared import BELOW_FLOAT64, UP_TO_FLOAT32, compiled, float64_control
from suites.implementations.margin_ranking import (
    by_cases,
    exact_gradient,
    naive_loop,
    native,
    textbook,
    upcast,
)
from suites.known.margin_ranking import CASES, COMPILED, CONTROL, LOOP, NATIVE, TEXTBOOK, UNREFUSED, UPCAST
from suites.mistakes.margin_ranking import KNOWN_BAD
from suites.oracles.margin_ranking import ORACLE
from suites.regimes import margins as draw
from suites.regimes.refusals import OF_SIGNS
from suites.regimes.repeated import rows_of
from suites.regimes.variants import reductions

# In every format the slope of clamp is 0 at NaN.
WHERE_FLOAT64_IS_GOOD = Contract(dtypes=BELOW_FLOAT64, except_regimes=("poisoned_scores",))

SUITE = Suite(
    name="margin_ranking",
    formula="L = max(0, -y (x1 - x2) + margin)",
    oracle=ORACLE,
    options={"reduction": "mean", "margin": 0.0},
    variants=(
        *reductions(),
        Variant("margin", margin=0.5),
        Variant("margin_none", margin=0.5, reduction="none"),
    ),
    regimes=(
        Regime(draw.scores),
        Regime(draw.close_scores),
        Regime(draw.stepped_scores),
        Regime(draw.near_margin),
        Regime(draw.tiny_scores),
        Regime(draw.huge_scores),
        Regime(draw.poisoned_scores),
    ),
    ladders=(
        Ladder(
            "scale",
            draw.grown_scores,
            start=1.0,
            # Differences reach 3/2 of a score, and two of them are added.
            stop=lambda finfo: float(finfo.max) / 4,
            relative=0.5,
            names="largest |score|",
        ),
        rows_of(draw.scores, classes=1),
    ),
    exhaustive=(
        Exhaustive("positive", partial(draw.every_score, label=1), "the first score x against 0, label 1"),
        Exhaustive("negative", partial(draw.every_score, label=-1), "the first score x against 0, label -1"),
    ),
    invalid=OF_SIGNS,
    shapes=draw.SHAPES,
    implementations=(
        Implementation(native, baseline=True, known=NATIVE),
        Implementation(nn.MarginRankingLoss, name="native_module", known=NATIVE),
        Implementation(naive_loop, skip=above(batch=7, classes=10), known=LOOP),
        Implementation(textbook, known=TEXTBOOK),
        Implementation(by_cases, known=CASES),
        Implementation(upcast, contract=UP_TO_FLOAT32, known=UPCAST),
        compiled(textbook, skip=above(batch=256), known=COMPILED),
        float64_control(upcast, WHERE_FLOAT64_IS_GOOD, CONTROL),
        Implementation(exact_gradient, control=True, known=UNREFUSED),
        *KNOWN_BAD,
    ),
    blind=(
        Blind(
            "equal or evenly spaced scores: at the kink any share of the slope is right",
            check="gradient*",
            null=("zeros", "0.97 of it"),
            regime="stepped_scores",
        ),
    ),
    examples=EXAMPLES,
    identities=IDENTITIES,
)
