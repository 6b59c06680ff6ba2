"""The hinge embedding loss: every way in which people compute it, and the truth about each.

L = x for y = 1, max(0, margin - x) for y = -1, for every entry; the closed forms are in
`suites/oracles/hinge_embedding.py`. The trap: its input is a distance, yet nothing checks that; negative
ones are asked as well, since torch answers them.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from harness import Contract, Exhaustive, Implementation, Ladder, Regime, Suite, Variant, above
from suites.examples.hinge_embedding import EXAMPLES, IDENTITIES
from suites.implementations.declared import BELOW_FLOAT64, UP_TO_FLOAT32, compiled, float64_control
from suites.implementations.hinge_embedding import (
    by_products,
    exact_gradient,
    naive_loop,
    native,
    textbook,
    upcast,
)
from suites.known.hinge_embedding import COMPILED, NATIVE, TEXTBOOK, UNREFUSED
from suites.mistakes.hinge_embedding import KNOWN_BAD
from suites.oracles.hinge_embedding import ORACLE
from suites.regimes import margins as draw
from suites.regimes.refusals import OF_SIGNS
from suites.regimes.repeated import rows_of
from suites.regimes.variants import reductions

# In every format the slope of clamp is 0 at NaN.
WHERE_FLOAT64_IS_GOOD = Contract(dtypes=BELOW_FLOAT64, except_regimes=("poisoned",))

SUITE = Suite(
    name="hinge_embedding",
    formula="L = x for y = 1, max(0, margin - x) for y = -1",
    oracle=ORACLE,
    options={"reduction": "mean", "margin": 1.0},
    variants=(
        *reductions(),
        Variant("wide", margin=3.0),
    ),
    regimes=(
        Regime(draw.distances),
        Regime(draw.signed),
        Regime(draw.stepped),
        Regime(draw.tiny),
        Regime(draw.huge),
        Regime(draw.poisoned),
    ),
    ladders=(
        Ladder(
            "scale",
            draw.grown,
            start=1.0,
            stop=lambda finfo: float(finfo.max) / 4,
            relative=0.5,
            names="largest |distance|",
        ),
        rows_of(draw.distances, classes=1),
    ),
    exhaustive=(
        Exhaustive("positive", partial(draw.every_distance, label=1), "the distance x under label 1"),
        Exhaustive("negative", partial(draw.every_distance, label=-1), "the distance x under label -1"),
    ),
    invalid=OF_SIGNS,
    shapes=draw.SHAPES,
    implementations=(
        Implementation(native, baseline=True, known=NATIVE),
        Implementation(nn.HingeEmbeddingLoss, name="native_module", known=NATIVE),
        Implementation(naive_loop, skip=above(batch=7, classes=10)),
        Implementation(textbook, known=TEXTBOOK),
        Implementation(by_products, known=TEXTBOOK),
        Implementation(upcast, contract=UP_TO_FLOAT32, known=NATIVE),
        compiled(textbook, skip=above(batch=256), known=COMPILED),
        float64_control(upcast, WHERE_FLOAT64_IS_GOOD, UNREFUSED),
        Implementation(exact_gradient, control=True, known=UNREFUSED),
        *KNOWN_BAD,
    ),
    examples=EXAMPLES,
    identities=IDENTITIES,
)
