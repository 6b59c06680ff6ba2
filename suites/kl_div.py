"""The Kullback-Leibler divergence: every way in which people compute it, and the truth about each.

L_i = sum_c t_ic (log t_ic - x_ic), or sum_c e^{t_ic} (t_ic - x_ic) for targets given as logarithms; the
closed forms are in `suites/oracles/kl_div.py`. The variant "batchmean" divides by rows and is the
mathematical mean, "mean" is torch's, over all elements; both are reduction "mean" here and differ by
`mean_over`. The trap: torch returns (N, C) without reduction, the harness asks for one value per row, so
the implementations sum over classes first.
"""

from __future__ import annotations

from functools import partial

from harness import Blind, Contract, Exhaustive, Implementation, Ladder, Regime, Suite, Variant, above
from harness.sample import Shape
from harness.suite import Shapes
from suites.examples.kl_div import EXAMPLES, IDENTITIES
from suites.implementations.declared import BELOW_FLOAT64, UP_TO_FLOAT32, compiled, float64_control
from suites.implementations.kl_div import (
    EPSILON,
    NativeModule,
    double_where,
    epsilon_inside,
    exact_gradient,
    naive_loop,
    native,
    textbook,
    upcast,
    xlogy,
)
from suites.known.kl_div import (
    COMPILED,
    COMPILED_TEXTBOOK,
    COMPOSED,
    CONTROL,
    CUT,
    EPSILON_FORM,
    LOOP,
    MODULE,
    NATIVE,
    TEXTBOOK,
    UPCAST,
)
from suites.mistakes.kl_div import KNOWN_BAD
from suites.oracles.kl_div import ORACLE
from suites.regimes import distributions as draw
from suites.regimes.climbs import classes_ladder, scale_ladder
from suites.regimes.refusals import OF_DISTRIBUTIONS
from suites.regimes.repeated import rows_ladder

# In every format 0 * -inf is NaN, and so is native's slope of t log t at t = 0.
WHERE_FLOAT64_IS_GOOD = Contract(
    dtypes=BELOW_FLOAT64,
    variants=(
        "batchmean",
        "mean",
        "sum",
        "none",
        "log_target",
        "log_target_sum",
        "log_target_none",
        "from_logits",
    ),
    except_regimes=("masked", "zeros", "one_hot", "wide", "recorded_*", "exhaustive mass"),
)
# Nine compiled artefacts in a quick sweep: two forms at the usual shape and the timed one, one per variant.
COMPILED_FLOAT32 = Contract(dtypes=("float32",), variants=("batchmean",))
COMPILED_HALF = Contract(
    dtypes=("float32", "bfloat16"), variants=("batchmean", "none", "log_target_sum", "from_logits")
)


# Sixty-three rows: a number that no rung of the ladder over rows has, since a skip ends a ladder.
ONE_CLASS = Shape(63, 1)


def one_class(shape: Shape) -> str | None:
    """Says why a form with an epsilon is not asked of one class: its divergence is the epsilon alone."""
    return "of one class only the epsilon is left, below the rounding of 1" if shape == ONE_CLASS else None


SUITE = Suite(
    name="kl_div",
    formula="L = sum_c t_c (log t_c - x_c)",
    oracle=ORACLE,
    options={
        "reduction": "mean",
        "mean_over": "rows",
        "log_target": False,
        "from_logits": False,
        "epsilon": 0.0,
    },
    variants=(
        Variant("batchmean"),
        Variant("mean", mean_over="elements", adapt=draw.both_gradients),
        Variant("sum", reduction="sum", adapt=draw.both_gradients),
        Variant("none", reduction="none", adapt=draw.both_gradients),
        Variant("both_gradients", adapt=draw.both_gradients),
        Variant("log_target", log_target=True, adapt=draw.both_gradients_of_logarithms),
        Variant("log_target_sum", log_target=True, reduction="sum", adapt=draw.both_gradients_of_logarithms),
        Variant(
            "log_target_none", log_target=True, reduction="none", adapt=draw.both_gradients_of_logarithms
        ),
        Variant("from_logits", from_logits=True),
    ),
    regimes=(
        Regime(draw.independent),
        Regime(draw.wide),
        Regime(partial(draw.near, noise=1e-2), name="near"),
        Regime(partial(draw.near, noise=1e-4), name="nearer"),
        Regime(draw.near_logits),
        Regime(draw.equal),
        Regime(draw.zeros),
        Regime(draw.masked),
        Regime(draw.one_hot),
        Regime(draw.excluded),
        Regime(draw.tiny_targets),
        Regime(draw.unnormalised),
        Regime(draw.confident),
        Regime(draw.saturated),
        Regime(draw.near_overflow),
        Regime(draw.nan_input),
        Regime(draw.nan_target),
        *draw.distilled_regimes(),
    ),
    ladders=(
        # Two rows of one sign: their sum reaches twice the largest entry.
        scale_ladder(draw.scaled, "largest |x|", share=0.49),
        Ladder(
            "closeness",
            draw.closeness,
            start=0.0,
            step=1.0,
            stop=lambda finfo: 24.0,
            names="-log2 of the distance between p and q",
        ),
        rows_ladder(draw.many_rows, "rows in the batch, divergences of about 1"),
        classes_ladder(draw.many_classes, "classes in a row"),
    ),
    exhaustive=(
        Exhaustive("value", draw.every_value, "the log-probability x of a class of mass 1"),
        Exhaustive("mass", draw.every_mass, "the mass t of a class, 0 to 1, under x = -1"),
    ),
    invalid=OF_DISTRIBUTIONS,
    shapes=Shapes(
        covering=(Shape(1, 3), Shape(7, 10), ONE_CLASS, Shape(64, 1001)),
        timed=(Shape(64, 1000),),
        slow_regime="",
        clocked=("float32", "bfloat16"),
    ),
    implementations=(
        Implementation(native, baseline=True, known=NATIVE),
        Implementation(NativeModule, name="native_module", known=MODULE),
        Implementation(naive_loop, skip=above(batch=256, classes=256), known=LOOP),
        Implementation(textbook, known=TEXTBOOK),
        Implementation(xlogy, known=COMPOSED),
        Implementation(double_where, known=CUT),
        Implementation(
            epsilon_inside, contract=Contract(epsilon=EPSILON), skip=one_class, known=EPSILON_FORM
        ),
        Implementation(upcast, contract=UP_TO_FLOAT32, known=UPCAST),
        compiled(
            textbook,
            contract=COMPILED_HALF,
            skip=above(batch=64),
            known=COMPILED_TEXTBOOK,
        ),
        compiled(
            native,
            name="compiled_native",
            contract=COMPILED_FLOAT32,
            skip=above(batch=64),
            known=COMPILED,
        ),
        float64_control(upcast, WHERE_FLOAT64_IS_GOOD, CONTROL),
        Implementation(exact_gradient, control=True, known=CONTROL),
        *KNOWN_BAD,
    ),
    blind=(
        Blind(
            "of thousands of small slopes one is beyond the error bound of bfloat16",
            check="a prime number of classes: gradient of target",
            null=("zeros", "the sign flipped"),
            variant="log_target*",
            dtype="bfloat16",
        ),
        Blind(
            "p is close to q: terms of the size of N cancel, and what is left is below their rounding",
            check="loss",
            regime=("equal", "near*", "recorded_digits_distilled"),
        ),
        Blind(
            "hardly a class is left open, so p is close to q",
            check="loss",
            null="0.97 of it",
            regime="masked",
        ),
        Blind(
            "p equals q: what is left of the gradient is the rounding of the stored numbers",
            check="gradient*",
            regime="equal",
            variant=("from_logits", "sum", "both_gradients"),
        ),
        Blind(
            "p is so close to q that 3 % of what is left of the gradient are a few roundings",
            check="gradient*",
            null="0.97 of it",
            regime="nearer",
            variant="from_logits",
        ),
    ),
    examples=EXAMPLES,
    identities=IDENTITIES,
)
