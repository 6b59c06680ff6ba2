"""The soft margin loss: every way in which people compute it, and the truth about each.

L = log(1 + e^(-y x)) for every entry of (N, C), y = 1 or -1; the closed forms are in
`suites/oracles/soft_margin.py`. It is binary cross-entropy of logits in other words, and torch computes it
by other means. The trap: a fifth of all float16 numbers is enough to make it infinite.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import nn

from harness import Contract, Exhaustive, Implementation, Suite, above
from suites.examples.soft_margin import EXAMPLES, IDENTITIES
from suites.implementations.declared import BELOW_FLOAT64, UP_TO_FLOAT32, compiled, float64_control
from suites.implementations.soft_margin import (
    exact_gradient,
    log_sigmoid,
    naive_loop,
    native,
    softplus,
    text_sum,
    textbook,
    upcast,
    with_logits,
)
from suites.known.soft_margin import (
    COMPILED,
    CONTROL,
    LOG_SIGMOID,
    LOOP,
    NATIVE,
    SOFTPLUS,
    TEXTBOOK,
    UNREFUSED,
    UPCAST,
    WITH_LOGITS,
)
from suites.mistakes.soft_margin import KNOWN_BAD
from suites.oracles.soft_margin import ORACLE
from suites.regimes import binary as draw
from suites.regimes.refusals import OF_MARGINS
from suites.regimes.variants import reductions

# e^709.8 overflows float64 too.
WHERE_FLOAT64_IS_GOOD = Contract(
    dtypes=BELOW_FLOAT64,
    except_regimes=("near_overflow", "infinite*", "ladder scale", "exhaustive *"),
)

SUITE = Suite(
    name="soft_margin",
    formula="L = log(1 + e^(-y x))",
    oracle=ORACLE,
    options={"reduction": "mean"},
    variants=reductions(adapt=draw.signed),
    regimes=(
        *draw.ORDINARY,
        *draw.EXTREMES,
        *draw.NOT_FINITE,
        *draw.recorded_regimes(),
    ),
    ladders=(
        replace(draw.SCALE, names="size of four x, two of them wrong"),
        replace(draw.LEAD, names="size of two x, both right"),
        draw.ROWS,
    ),
    exhaustive=(
        Exhaustive("positive", partial(draw.every_margin, label=1.0), "x at y = 1"),
        Exhaustive("negative", partial(draw.every_margin, label=-1.0), "x at y = -1"),
    ),
    invalid=OF_MARGINS,
    shapes=draw.SHAPES,
    implementations=(
        Implementation(native, baseline=True, known=NATIVE),
        Implementation(nn.SoftMarginLoss, name="native_module", known=NATIVE),
        Implementation(naive_loop, skip=above(batch=256, classes=256), known=LOOP),
        Implementation(textbook, known=TEXTBOOK),
        Implementation(text_sum, contract=Contract(variants=("mean",), reduction="sum"), known=UNREFUSED),
        Implementation(softplus, known=SOFTPLUS),
        Implementation(log_sigmoid, known=LOG_SIGMOID),
        Implementation(with_logits, known=WITH_LOGITS),
        Implementation(upcast, contract=UP_TO_FLOAT32, known=UPCAST),
        compiled(log_sigmoid, skip=above(batch=64), known=COMPILED),
        float64_control(upcast, WHERE_FLOAT64_IS_GOOD, CONTROL),
        Implementation(exact_gradient, control=True, known=UNREFUSED),
        *KNOWN_BAD,
    ),
    examples=EXAMPLES,
    identities=IDENTITIES,
)
