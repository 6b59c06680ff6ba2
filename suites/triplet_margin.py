"""The triplet margin loss: every way in which people compute it, and the truth about each.

L = max(0, d(a, p) - d(a, n) + margin) with gradients to all three vectors; the closed forms are in
`suites/oracles/triplet_margin.py`. The distance is part of the definition: torch's P-norm of x - y + 1e-6,
the printed form with squared distances and the plain root of squares each declare theirs. The trap: anchor
and positive are often the same vector, where a plain root has no slope and torch's has one given by its 1e-6.
"""

from __future__ import annotations

from torch import nn

from harness import Blind, Contract, Implementation, Ladder, Regime, Suite, Variant, above
from suites.examples.triplet_margin import EXAMPLES, IDENTITIES
from suites.implementations.declared import BELOW_FLOAT64, UP_TO_FLOAT32, compiled, float64_control
from suites.implementations.triplet_margin import (
    EPSILON,
    exact_gradient,
    naive_loop,
    native,
    root_of_squares,
    squared_distances,
    stable,
    textbook,
    upcast,
    with_distance,
)
from suites.known.triplet_margin import (
    COMPILED,
    DISTANCE,
    LOOP,
    MODULE,
    NATIVE,
    ROOT,
    SQUARED,
    STABLE,
    TEXTBOOK,
    UPCAST,
)
from suites.mistakes.triplet_margin import KNOWN_BAD
from suites.oracles.triplet_margin import ORACLE
from suites.regimes import pairs as draw
from suites.regimes.refusals import OF_TRIPLETS
from suites.regimes.repeated import rows_of
from suites.regimes.variants import reductions

# A square is a genuine overflow where its norm is none: other tops, other ladders.
SQUARES = Contract(squared=True, eps=0.0, except_regimes=("huge_triplet", "ladder length"))

# In every format the slope of clamp is 0 at NaN.
WHERE_FLOAT64_IS_GOOD = Contract(dtypes=BELOW_FLOAT64, except_regimes=("poisoned_triplet",))

SUITE = Suite(
    name="triplet_margin",
    formula="L = max(0, d(a, p) - d(a, n) + margin)",
    oracle=ORACLE,
    options={
        "reduction": "mean",
        "margin": 1.0,
        "p": 2.0,
        "swap": False,
        "eps": EPSILON,
        "squared": False,
    },
    variants=(
        *reductions(),
        Variant("swap", swap=True),
        Variant("narrow", margin=0.05),
        Variant("p1", p=1.0),
        Variant("eps_eighth", eps=0.125),
        Variant("p3_swap", p=3.0, swap=True, reduction="sum"),
    ),
    regimes=(
        Regime(draw.triplet),
        Regime(draw.learned),
        Regime(draw.learned, name="learned_128", classes=128, about="128-dimensional unit vectors."),
        Regime(draw.hard),
        Regime(draw.resting),
        Regime(draw.equal_positive),
        Regime(draw.equal_all),
        Regime(draw.moved),
        Regime(draw.tiny_triplet),
        Regime(draw.huge_triplet),
        Regime(draw.poisoned_triplet),
    ),
    ladders=(
        Ladder(
            "length",
            draw.grown_triplet,
            start=1.0,
            # Ten entries of a difference twice as large, and two rows.
            stop=lambda finfo: float(finfo.max) / 256,
            relative=0.5,
            names="largest entry of the three vectors",
        ),
        rows_of(draw.triplet, classes=2),
    ),
    invalid=OF_TRIPLETS,
    shapes=draw.SHAPES,
    implementations=(
        Implementation(native, baseline=True, known=NATIVE),
        Implementation(nn.TripletMarginLoss, name="native_module", known=MODULE),
        Implementation(with_distance, known=DISTANCE),
        Implementation(naive_loop, skip=above(batch=16), known=LOOP),
        Implementation(textbook, known=TEXTBOOK),
        Implementation(squared_distances, contract=SQUARES, known=SQUARED),
        Implementation(root_of_squares, contract=Contract(eps=0.0), known=ROOT),
        Implementation(stable, known=STABLE),
        Implementation(upcast, contract=UP_TO_FLOAT32, known=UPCAST),
        compiled(textbook, skip=above(batch=256), known=COMPILED),
        float64_control(upcast, WHERE_FLOAT64_IS_GOOD),
        Implementation(exact_gradient, control=True),
        *KNOWN_BAD,
    ),
    blind=(
        Blind(
            "at a distance of 0, or beside 1e-6, any slope is as good as another",
            check="gradient*",
            regime=("equal_*", "tiny_triplet"),
        ),
        Blind("far negatives: N is of their size, the loss is not", check="loss", regime="resting"),
    ),
    examples=EXAMPLES,
    identities=IDENTITIES,
)
