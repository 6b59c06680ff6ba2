"""The multi-class margin loss: every way in which people compute it, and the truth about each.

L_i = (w_t / C) sum_{k != t} max(0, margin - x_t + x_k)^p with p 1 or 2; the closed forms are in
`suites/oracles/multi_margin.py`. The printed form with the power inside of the maximum is another loss,
`power_inside`, with a contract of its own. The trap: native knows no NaN, a broken score costs nothing and
has no gradient; and for an empty batch it answers what happened to stand in memory.
"""

from __future__ import annotations

from torch import nn

from harness import Contract, Implementation, Ladder, Suite, Variant, above
from suites.examples.multi_margin import EXAMPLES, IDENTITIES
from suites.implementations.declared import BELOW_FLOAT64, UP_TO_FLOAT32, compiled
from suites.implementations.multi_margin import (
    exact_gradient,
    in_float64,
    naive_loop,
    native,
    power_inside,
    stable,
    textbook,
    upcast,
)
from suites.known.multi_margin import COMPILED, INSIDE, LOOP, NATIVE, TEXTBOOK, UPCAST
from suites.mistakes.multi_margin import KNOWN_BAD
from suites.oracles.multi_margin import ORACLE, gradient_groups
from suites.regimes import class_scores as draw
from suites.regimes.margins import SHAPES
from suites.regimes.targets import ascending_weights
from suites.regimes.variants import reductions

SUITE = Suite(
    name="multi_margin",
    formula="L = (w_t / C) sum_{k != t} max(0, margin - x_t + x_k)^p",
    oracle=ORACLE,
    options={
        "reduction": "mean",
        "p": 1,
        "margin": 1.0,
        "weight": None,
        "power": "outside",
    },
    groups=gradient_groups,
    variants=(
        *reductions(),
        Variant("squared", p=2),
        Variant("margin", margin=0.25),
        Variant("weighted", weight=ascending_weights),
        Variant("weighted_squared", p=2, weight=ascending_weights),
        Variant("weighted_sum", weight=ascending_weights, reduction="sum"),
        Variant("weighted_none", weight=ascending_weights, reduction="none"),
        Variant("squared_margin_sum", p=2, margin=0.25, reduction="sum"),
        Variant("weighted_squared_margin_none", p=2, margin=0.25, weight=ascending_weights, reduction="none"),
    ),
    regimes=draw.SCORES,
    ladders=(
        Ladder(
            "scale",
            draw.scaled,
            start=1.0,
            # Differences of two scores reach twice their size, and a batch of four is added up.
            stop=lambda finfo: float(finfo.max) / 16,
            relative=0.5,
            names="largest |score|",
        ),
        Ladder(
            "classes",
            draw.level,
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
            draw.many_rows,
            start=2.0,
            stop=lambda finfo: float(1 << 17),
            resolution=1.0,
            relative=2.0**-6,
            batch_is_value=True,
            names="rows in the batch, all of one loss",
        ),
    ),
    invalid=draw.INVALID_LABELS,
    shapes=SHAPES,
    implementations=(
        Implementation(native, baseline=True, known=NATIVE),
        Implementation(nn.MultiMarginLoss, name="native_module", known=NATIVE),
        Implementation(naive_loop, skip=above(batch=7, classes=10), known=LOOP),
        Implementation(textbook, known=TEXTBOOK),
        Implementation(power_inside, contract=Contract(power="inside"), known=INSIDE),
        Implementation(stable),
        Implementation(
            upcast,
            contract=UP_TO_FLOAT32,
            known=UPCAST,
        ),
        compiled(
            textbook,
            # One artefact per variant: the fewest that hold every pair of options.
            contract=Contract(
                dtypes=("float32",),
                variants=(
                    "mean",
                    "none",
                    "margin",
                    "weighted_squared",
                    "weighted_sum",
                    "squared_margin_sum",
                    "weighted_squared_margin_none",
                ),
            ),
            skip=above(batch=256, classes=1024),
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
            ),
        ),
        Implementation(exact_gradient, control=True),
        *KNOWN_BAD,
    ),
    examples=EXAMPLES,
    identities=IDENTITIES,
)
