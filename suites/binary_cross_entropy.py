"""Binary cross-entropy of probabilities: every way in which people compute it, and the truth about each.

L = -w [t log x + (1 - t) log(1 - x)] for every entry of (N, C); the closed forms are in
`suites/oracles/binary_cross_entropy.py`. torch documents that it keeps both logarithms above -100, which
is its contract here (`log_floor`); that it keeps x (1 - x) above 1e-12 in the gradient it does not
document, and that is a finding. The trap: 1e-12 is 0 in float16.
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial

from torch import Tensor

from harness import (
    Contract,
    Exhaustive,
    Implementation,
    Invalid,
    Ladder,
    Regime,
    Sample,
    Suite,
    Variant,
    above,
)
from suites.examples.binary_cross_entropy import EXAMPLES, IDENTITIES
from suites.implementations.binary_cross_entropy import (
    FLOOR,
    NativeModule,
    double_where,
    exact_gradient,
    floored,
    naive_loop,
    native,
    textbook,
    upcast,
)
from suites.implementations.declared import BELOW_FLOAT64, compiled, float64_control
from suites.known.binary_cross_entropy import (
    COMPILED,
    DOUBLE_WHERE,
    LOOP,
    MODULE,
    NATIVE,
    TEXTBOOK,
    UPCAST,
)
from suites.mistakes.binary_cross_entropy import KNOWN_BAD
from suites.oracles.binary_cross_entropy import ORACLE
from suites.regimes import binary as draw
from suites.regimes.variants import reductions, under_reductions

# torch refuses a NaN as it refuses 1.5: by an exception on the CPU, by the end of the context on a GPU.
REFUSED = ("nan_probability", "nan_target")
CLAMPED = Contract(except_regimes=REFUSED, log_floor=FLOOR)
CLAMPED_UP_TO_FLOAT32 = Contract(dtypes=BELOW_FLOAT64, except_regimes=REFUSED, log_floor=FLOOR)
# In float64 native's gradient is clamped where x (1 - x) is below 1e-12.
WHERE_FLOAT64_IS_GOOD = Contract(
    dtypes=BELOW_FLOAT64,
    except_regimes=(
        *REFUSED,
        "underflowing",
        "certain*",
        "sure*",
        "recorded_*",
        "ladder smallness",
        "exhaustive *",
    ),
    log_floor=FLOOR,
)


def _with_first(sample: Sample, value: float) -> Sample:
    changed: Tensor = sample["probabilities"].clone()
    changed[0, 0] = value
    return sample.replaced(probabilities=changed)


def nan_probability(sample: Sample, options: object) -> Sample:
    """The first probability is NaN."""
    return sample.replaced(probabilities=draw.first_nan(sample["probabilities"]))


def nan_target(sample: Sample, options: object) -> Sample:
    """The first target is NaN."""
    return sample.replaced(target=draw.first_nan(sample["target"]))


def above_one(sample: Sample, options: object) -> Sample:
    """The first probability is 1.5."""
    return _with_first(sample, 1.5)


def negative(sample: Sample, options: object) -> Sample:
    """The first probability is -0.5."""
    return _with_first(sample, -0.5)


SUITE = Suite(
    name="binary_cross_entropy",
    formula="L = -t log x - (1 - t) log(1 - x)",
    oracle=ORACLE,
    options={"reduction": "mean", "weight": None, "class_weights": None, "log_floor": -math.inf},
    variants=(
        *reductions(),
        *under_reductions("weighted", weight=draw.class_weight, adapt=draw.both_gradients),
        # Under "none" rows are asked in another order too, and a weight (N, C) would have to follow them.
        Variant("entry_weights", weight=draw.entry_weight),
        Variant("entry_weights_sum", reduction="sum", weight=draw.entry_weight),
        Variant("entry_weights_none", reduction="none", weight=draw.entry_weight),
        *draw.CLASS_WEIGHTS,
        Variant("both_gradients", adapt=draw.both_gradients),
    ),
    regimes=(
        Regime(draw.uniform),
        Regime(draw.uniform_soft),
        Regime(draw.calibrated),
        Regime(draw.halves),
        Regime(draw.sure),
        Regime(draw.sure_wrong),
        Regime(draw.underflowing),
        Regime(draw.certain),
        Regime(draw.certain_wrong),
        Regime(draw.nan_probability),
        Regime(draw.nan_target),
        Regime(
            partial(draw.recorded_probabilities, stage="late"),
            name="recorded_digits_late",
            batch=256,
            classes=10,
        ),
    ),
    ladders=(
        Ladder(
            "smallness",
            draw.small_probability,
            start=1.0,
            resolution=1.0,
            stop=lambda finfo: -math.log2(finfo.smallest_normal),
            names="-log2 of one probability where 1 is right",
        ),
        replace(draw.ROWS, sample=draw.many_probabilities),
    ),
    exhaustive=(
        Exhaustive("positive", partial(draw.every_probability, label=1.0), "0 <= x <= 1 at label 1"),
        Exhaustive("negative", partial(draw.every_probability, label=0.0), "0 <= x <= 1 at label 0"),
    ),
    invalid=(
        Invalid("probability_above_one", above_one),
        Invalid("probability_negative", negative),
        Invalid("probability_nan", nan_probability),
        Invalid("target_nan", nan_target),
    ),
    shapes=draw.SHAPES,
    implementations=(
        Implementation(native, baseline=True, contract=CLAMPED, known=NATIVE),
        Implementation(NativeModule, name="native_module", contract=CLAMPED, known=MODULE),
        Implementation(naive_loop, skip=above(batch=256, classes=256), known=LOOP),
        Implementation(textbook, known=TEXTBOOK),
        Implementation(double_where, known=DOUBLE_WHERE),
        Implementation(floored, contract=CLAMPED),
        Implementation(upcast, contract=CLAMPED_UP_TO_FLOAT32, known=UPCAST),
        compiled(double_where, skip=above(batch=64), known=COMPILED),
        float64_control(upcast, WHERE_FLOAT64_IS_GOOD),
        Implementation(exact_gradient, control=True),
        *KNOWN_BAD,
    ),
    examples=EXAMPLES,
    identities=IDENTITIES,
)
