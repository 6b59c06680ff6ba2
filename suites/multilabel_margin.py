"""The multi-label margin loss: every way in which people compute it, and the truth about each.

L_i = (1 / C) sum_{j in T, k not in T} max(0, 1 - x_j + x_k), T the labels of a row up to the first -1 of its
list; the closed forms are in `suites/oracles/multilabel_margin.py`. torch counts a label that is named twice
twice; who makes a mask of the labels counts it once, and declares it. The trap: native knows no NaN, and for
an empty batch it answers what happened to stand in memory.
"""

from __future__ import annotations

from functools import partial

from torch import nn

from harness import Contract, Implementation, Ladder, Suite, Variant, above
from suites.examples.multilabel_margin import EXAMPLES, IDENTITIES
from suites.implementations.declared import BELOW_FLOAT64, UP_TO_FLOAT32, compiled
from suites.implementations.multilabel_margin import (
    by_masks,
    exact_gradient,
    in_float64,
    naive_loop,
    native,
    stable,
    upcast,
)
from suites.known.multilabel_margin import COMPILED, LOOP, MASKS, NATIVE, UPCAST
from suites.mistakes.multilabel_margin import KNOWN_BAD
from suites.oracles.multilabel_margin import ORACLE, gradient_groups
from suites.regimes import class_scores as draw
from suites.regimes.margins import SHAPES
from suites.regimes.repeated import MOST
from suites.regimes.variants import reductions

# What these tell of a hinge, the suite multi_margin asks.
LIKE_ONE_LABEL = ("wide",)
# All pairs of classes stand in memory.
FEW_CLASSES = above(batch=64, classes=64)

SUITE = Suite(
    name="multilabel_margin",
    formula="L = (1 / C) sum_{j in T, k not in T} max(0, 1 - x_j + x_k)",
    oracle=ORACLE,
    options={"reduction": "mean", "duplicates": "counted"},
    groups=gradient_groups,
    variants=(
        *reductions(),
        Variant("duplicates", adapt=draw.repeated),
    ),
    regimes=tuple(draw.listed_regime(regime) for regime in draw.SCORES if regime.name not in LIKE_ONE_LABEL),
    ladders=(
        Ladder(
            "scale",
            partial(draw.listed_ladder, scores=draw.scaled),
            start=1.0,
            # Four labels and differences of two scores, of a batch that is added up.
            stop=lambda finfo: float(finfo.max) / 64,
            relative=0.5,
            names="largest |score|",
        ),
        Ladder(
            "classes",
            partial(draw.listed_ladder, scores=draw.level),
            # At a power of two 1 / C is exact, and so is every sum of it.
            start=3.0,
            stop=lambda finfo: float(3 << 15),
            resolution=1.0,
            relative=2.0**-6,
            classes_is_value=True,
            names="classes in a row, all of one score",
        ),
        Ladder(
            "rows",
            draw.many_lists,
            start=2.0,
            stop=lambda finfo: float(MOST),
            resolution=1.0,
            relative=2.0**-6,
            batch_is_value=True,
            names="rows in the batch, all of one loss",
        ),
    ),
    invalid=draw.INVALID_LISTS,
    shapes=SHAPES,
    implementations=(
        Implementation(native, baseline=True, known=NATIVE),
        Implementation(nn.MultiLabelMarginLoss, name="native_module", known=NATIVE),
        Implementation(naive_loop, skip=above(batch=7, classes=10), known=LOOP),
        Implementation(by_masks, contract=Contract(duplicates="once"), skip=FEW_CLASSES, known=MASKS),
        # Every label of a list is put against every class in memory.
        Implementation(stable, skip=above(batch=4096)),
        Implementation(upcast, contract=UP_TO_FLOAT32, known=UPCAST),
        compiled(
            by_masks,
            contract=Contract(dtypes=("float32",), variants=("mean",), duplicates="once"),
            skip=FEW_CLASSES,
            known=COMPILED,
        ),
        Implementation(
            in_float64,
            name="float64_control",
            control=True,
            contract=Contract(
                dtypes=BELOW_FLOAT64,
                # In every format relu knows no NaN, and the margin is lost beside large scores.
                except_regimes=("poisoned", "offset", "near_overflow"),
                duplicates="once",
            ),
            skip=FEW_CLASSES,
        ),
        Implementation(exact_gradient, control=True),
        *KNOWN_BAD,
    ),
    examples=EXAMPLES,
    identities=IDENTITIES,
)
