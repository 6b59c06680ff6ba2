"""The cosine embedding loss: every way in which people compute it, and the truth about each.

L = 1 - cos(a, b) for y = 1, max(0, cos(a, b) - margin) for y = -1, gradients to both vectors; the closed
forms are in `suites/oracles/cosine_embedding.py`. What guards the division is part of the definition:
torch adds 1e-12 to the squared norms (`added`), others clamp norms from below (`least`), and each is judged
by what it declares. The printed form max(0, cos + margin) is another loss, `margin_added`, with a contract
of its own; `stable_guarded` is torch's definition where native breaks. The trap: torch's documentation
mentions no guard, so short vectors lose their angle unsaid.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from harness import Blind, Contract, Implementation, Ladder, Regime, Suite, Variant, above
from suites.examples.cosine_embedding import EXAMPLES, IDENTITIES
from suites.implementations.cosine_embedding import (
    ADDED,
    NORMALIZE_LEAST,
    SIMILARITY_LEAST,
    by_similarity,
    exact_gradient,
    margin_added,
    naive_loop,
    native,
    normalised,
    stable,
    stable_guarded,
    textbook,
    upcast,
)
from suites.implementations.declared import UP_TO_FLOAT32, compiled, float64_control
from suites.known.cosine_embedding import (
    COMPILED,
    CONTROL,
    LOOP,
    MARGIN_ADDED,
    MODULE,
    NATIVE,
    NORMALISED,
    SIMILARITY,
    STABLE,
    TEXTBOOK,
    UNREFUSED,
    UPCAST,
)
from suites.mistakes.cosine_embedding import KNOWN_BAD
from suites.oracles.cosine_embedding import ORACLE
from suites.regimes import pairs as draw
from suites.regimes.refusals import OF_PAIRS
from suites.regimes.repeated import rows_of
from suites.regimes.variants import reductions

UNGUARDED = Contract(added=0.0, except_regimes=("zero_vectors",))

SUITE = Suite(
    name="cosine_embedding",
    formula="L = 1 - cos(a, b) for y = 1, max(0, cos(a, b) - margin) for y = -1",
    oracle=ORACLE,
    options={
        "reduction": "mean",
        "margin": 0.0,
        "margin_sign": "minus",
        "added": ADDED,
        "least": 0.0,
    },
    variants=(
        *reductions(),
        Variant("margin", margin=0.5),
        Variant("small_margin", reduction="sum", margin=0.1),
    ),
    regimes=(
        Regime(draw.independent),
        Regime(draw.unit, name="unit_512", classes=512, about="512-dimensional unit vectors at all angles."),
        Regime(partial(draw.similar, noise=1e-2), name="similar"),
        Regime(draw.identical),
        Regime(draw.opposite),
        Regime(draw.orthogonal),
        Regime(draw.small),
        Regime(draw.tiny),
        Regime(draw.huge),
        Regime(draw.unequal),
        Regime(draw.zero_vectors),
        Regime(draw.poisoned),
    ),
    ladders=(
        Ladder(
            "length",
            draw.grown,
            start=1.0,
            stop=lambda finfo: 0.25 * float(finfo.max),
            relative=0.5,
            names="largest entry of both vectors",
        ),
        Ladder(
            "shrinking",
            draw.halved,
            start=1.0,
            stop=lambda finfo: (
                float(-torch.log2(torch.tensor(finfo.smallest_normal, dtype=torch.float64))) - 4
            ),
            resolution=1.0,
            relative=0.1,
            names="halvings of the largest entry of both vectors",
        ),
        rows_of(draw.independent, classes=4),
    ),
    invalid=OF_PAIRS,
    shapes=draw.SHAPES,
    implementations=(
        Implementation(native, baseline=True, known=NATIVE),
        Implementation(nn.CosineEmbeddingLoss, name="native_module", known=MODULE),
        Implementation(naive_loop, skip=above(batch=16), known=LOOP),
        Implementation(textbook, known=TEXTBOOK),
        Implementation(by_similarity, contract=Contract(added=0.0, least=SIMILARITY_LEAST), known=SIMILARITY),
        Implementation(normalised, contract=Contract(added=0.0, least=NORMALIZE_LEAST), known=NORMALISED),
        Implementation(
            margin_added,
            contract=Contract(variants=("margin", "small_margin"), margin_sign="plus"),
            known=MARGIN_ADDED,
        ),
        Implementation(stable, contract=UNGUARDED, known=STABLE),
        Implementation(stable_guarded, known=UNREFUSED),
        Implementation(upcast, contract=UP_TO_FLOAT32, known=UPCAST),
        compiled(textbook, skip=above(batch=256), known=COMPILED),
        float64_control(upcast, known=CONTROL),
        Implementation(exact_gradient, control=True, known=UNREFUSED),
        *KNOWN_BAD,
    ),
    blind=(
        Blind(
            "vectors on one line: the gradient of a cosine is 0, what is left comes from the guard alone",
            check="gradient*",
            regime=("identical", "opposite"),
        ),
        Blind(
            "two numbers lie on one line: what is left of the slope comes from the guard alone",
            check="one class: gradient*",
        ),
        Blind("1 - c is 0 for vectors of one direction", check="loss", regime="identical"),
        Blind(
            "a cosine of 0 is at the kink: any share of the slope is a right gradient",
            check="gradient*",
            null=("zeros", "0.97 of it"),
            regime="orthogonal",
        ),
    ),
    examples=EXAMPLES,
    identities=IDENTITIES,
)
