"""The soft margin loss: every way in which people compute it, and the truth about each.

L = log(1 + e^(-y x)) for every entry of (N, C), y = 1 or -1; the closed forms are in
`suites/oracles/soft_margin.py`. It is binary cross-entropy of logits in other words, and torch computes it
by other means. The trap: a fifth of all float16 numbers is enough to make it infinite.
"""

from __future__ import annotations

from functools import partial

import torch
from torch import nn

from harness import Blind, Contract, Exhaustive, Implementation, Ladder, Regime, Suite, Variant, above
from harness.sample import Shape
from harness.suite import Shapes
from suites.examples.soft_margin import EXAMPLES, IDENTITIES
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
    LOG_SIGMOID,
    LOOP,
    NATIVE,
    SOFTPLUS,
    TEXTBOOK,
    UPCAST,
    WITH_LOGITS,
)
from suites.mistakes.soft_margin import KNOWN_BAD
from suites.oracles.soft_margin import ORACLE
from suites.regimes import binary as draw

UP_TO_FLOAT32 = Contract(dtypes=("float32", "bfloat16", "float16"))
# e^709.8 overflows float64 too.
WHERE_FLOAT64_IS_GOOD = Contract(
    dtypes=("float32", "bfloat16", "float16"),
    except_regimes=("near_overflow", "infinite*", "ladder scale", "exhaustive *"),
)

SUITE = Suite(
    name="soft_margin",
    formula="L = log(1 + e^(-y x))",
    oracle=ORACLE,
    options={"reduction": "mean"},
    variants=(
        Variant("mean", adapt=draw.signed),
        Variant("sum", reduction="sum", adapt=draw.signed),
        Variant("none", reduction="none", adapt=draw.signed),
    ),
    regimes=(
        Regime(draw.unit_normal),
        Regime(draw.wide),
        Regime(draw.confident),
        Regime(draw.confident_wrong),
        Regime(draw.near_overflow),
        Regime(draw.tiny),
        Regime(draw.at_zero),
        Regime(draw.infinite),
        Regime(draw.infinite_wrong),
        Regime(draw.poisoned),
        *draw.recorded_regimes(),
    ),
    ladders=(
        Ladder(
            "scale",
            draw.scaled,
            start=1.0,
            stop=lambda finfo: 0.4 * float(finfo.max),
            resolution=0.25,
            relative=2.0**-10,
            names="size of four x, two of them wrong",
        ),
        Ladder(
            "lead",
            draw.lead,
            question="dead_gradient",
            start=1.0,
            step=0.25,
            stop=lambda finfo: 48.0,
            names="size of two x, both right",
        ),
        Ladder(
            "rows",
            draw.many_rows,
            start=2.0,
            stop=lambda finfo: float(1 << 17),
            resolution=1.0,
            batch_is_value=True,
            names="rows of one question, losses about 0.8",
        ),
    ),
    exhaustive=(
        Exhaustive("positive", partial(draw.every_margin, label=1.0), "x at y = 1"),
        Exhaustive("negative", partial(draw.every_margin, label=-1.0), "x at y = -1"),
    ),
    shapes=Shapes(
        covering=(Shape(1, 3), Shape(7, 10), Shape(64, 101)),
        timed=(Shape(64, 1000),),
        slow_regime="",
        clocked=("float32", "bfloat16"),
    ),
    implementations=(
        Implementation(native, baseline=True, known=NATIVE),
        Implementation(nn.SoftMarginLoss, name="native_module", known=NATIVE),
        Implementation(naive_loop, skip=above(batch=256, classes=256), known=LOOP),
        Implementation(textbook, known=TEXTBOOK),
        Implementation(text_sum, contract=Contract(variants=("mean",), reduction="sum")),
        Implementation(softplus, known=SOFTPLUS),
        Implementation(log_sigmoid, known=LOG_SIGMOID),
        Implementation(with_logits, known=WITH_LOGITS),
        Implementation(upcast, contract=UP_TO_FLOAT32, known=UPCAST),
        Implementation(
            log_sigmoid,
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
            "margins next to 0 give a loss of log 2 to its last bits",
            check="loss",
            null="the constant log C",
            regime=("tiny", "at_zero"),
        ),
    ),
    examples=EXAMPLES,
    identities=IDENTITIES,
)
